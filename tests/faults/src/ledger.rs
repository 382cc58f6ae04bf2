//! Append-only, synced files of events, one per process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use taskyard::TaskId;

/// An event.
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
    /// The addition was refused permanently: the task must not exist.
    Refused {
        /// The task.
        task: TaskId,
    },
    /// Another task held the unique key: this one must not exist, and the holder was stored.
    Merged {
        /// The task that was to be added.
        task: TaskId,
        /// The task that held the key.
        holder: TaskId,
    },
    /// A producer is about to cancel a task.
    Cancelling {
        /// The task.
        task: TaskId,
    },
    /// A body started.
    Started {
        /// The task.
        task: TaskId,
        /// Number of the attempt.
        attempt: u32,
        /// Token of the attempt.
        token: String,
        /// Id of the process.
        process: u32,
    },
    /// A body returned.
    Ended {
        /// The task.
        task: TaskId,
        /// Token of the attempt.
        token: String,
        /// Id of the process.
        process: u32,
    },
    /// An observer saw a final state.
    Observed {
        /// The task.
        task: TaskId,
        /// The state.
        state: String,
        /// Bytes of the result, as text.
        result: Option<String>,
    },
}

/// A ledger to write to.
#[derive(Debug)]
pub struct Ledger {
    file: Mutex<File>,
    syncs: bool,
}

impl Ledger {
    /// Opens `name` in a directory for appending. With `FAULTS_UNSYNCED` in the environment it is not synced, which
    /// only a power cut would show: data written by a killed process stay.
    ///
    /// # Errors
    /// The I/O error of opening the file.
    pub fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(format!("{name}.ledger"));
        let file = Mutex::new(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(Self { file, syncs: std::env::var_os("FAULTS_UNSYNCED").is_none() })
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
        let mut file = self.file.lock().expect("no writer panics");
        let synced = |file: &mut File| if self.syncs { file.sync_data() } else { Ok(()) };
        file.write_all(text.as_bytes()).and_then(|()| synced(&mut file)).expect("the ledger can be written");
    }
}

/// Reads a ledger; skips a last line that a kill cut off.
///
/// # Errors
/// The I/O error of opening or reading the file.
pub fn read_file(path: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        if let Ok(event) = serde_json::from_str(&line?) {
            events.push(event);
        }
    }
    Ok(events)
}

/// Reads every ledger of a directory.
///
/// # Errors
/// The I/O error of reading the directory or a ledger.
pub fn read_all(directory: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ledger") {
            events.extend(read_file(&path)?);
        }
    }
    Ok(events)
}
