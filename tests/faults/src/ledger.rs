//! Append-only, synced files of events, one per process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use taskyard::TaskId;

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A producer is about to add a task.
    Adding {
        /// The task.
        task: TaskId,
    },
    /// The addition was acknowledged.
    Added {
        /// The task.
        task: TaskId,
    },
    /// A body began.
    Started {
        /// The task.
        task: TaskId,
        /// The attempt's number.
        attempt: u32,
        /// The attempt's token.
        token: String,
        /// The process.
        process: u32,
    },
    /// A body returned.
    Ended {
        /// The task.
        task: TaskId,
        /// The attempt's token.
        token: String,
        /// The process.
        process: u32,
    },
    /// An observer saw a final state.
    Observed {
        /// The task.
        task: TaskId,
        /// The state.
        state: String,
        /// The result's bytes as text.
        result: Option<String>,
    },
}

/// A ledger to write to.
#[derive(Debug)]
pub struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens `name` in a directory for appending.
    ///
    /// # Errors
    /// The system's.
    pub fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(format!("{name}.ledger"));
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Writes events and syncs them.
    ///
    /// # Panics
    /// If the ledger cannot be written: a test without its ledger shows nothing.
    pub fn write(&self, events: &[Event]) {
        let mut text = String::new();
        for event in events {
            text.push_str(&serde_json::to_string(event).expect("an event is plain data"));
            text.push('\n');
        }
        let mut file = self.0.lock().expect("no writer panics");
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).expect("the ledger can be written");
    }
}

/// Reads every ledger of a directory; a last line that a kill cut off is left out.
///
/// # Errors
/// The system's.
pub fn read_all(directory: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ledger") {
            for line in BufReader::new(File::open(path)?).lines() {
                if let Ok(event) = serde_json::from_str(&line?) {
                    events.push(event);
                }
            }
        }
    }
    Ok(events)
}
