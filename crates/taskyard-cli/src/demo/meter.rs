//! What the bodies in this process are at, for the bars: which files are open, how far each is, how much was read.
//!
//! Only for show. What was done is what the database says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskyard::TaskId;

/// The one of this process; bodies have no other way to the command that runs in it.
pub(super) static METER: Meter =
    Meter { bytes: AtomicU64::new(0), open: Mutex::new(BTreeMap::new()), done: Mutex::new(Vec::new()) };

/// Counts and lists.
pub(super) struct Meter {
    bytes: AtomicU64,
    open: Mutex<BTreeMap<TaskId, Arc<Reading>>>,
    done: Mutex<Vec<TaskId>>,
}

/// One file that is being read.
pub(super) struct Reading {
    /// Its path for people.
    pub(super) name: String,
    /// Its size when it was opened.
    pub(super) total: AtomicU64,
    /// What was read of it.
    pub(super) read: AtomicU64,
}

/// Keeps a file on the list until it is dropped.
pub(super) struct Guard {
    id: TaskId,
    reading: Arc<Reading>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Puts a file on the list.
    pub(super) fn enter(&self, id: TaskId, name: String) -> Guard {
        let reading = Arc::new(Reading { name, total: AtomicU64::new(0), read: AtomicU64::new(0) });
        lock(&self.open).insert(id, Arc::clone(&reading));
        Guard { id, reading }
    }

    /// All bytes read in this process.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The files being read, the oldest first.
    pub(super) fn open(&self) -> Vec<(TaskId, Arc<Reading>)> {
        lock(&self.open).iter().map(|(id, reading)| (*id, Arc::clone(reading))).collect()
    }

    /// The tasks whose bodies have returned since the last call.
    pub(super) fn take_done(&self) -> Vec<TaskId> {
        std::mem::take(&mut lock(&self.done))
    }
}

impl Guard {
    /// How far it is.
    pub(super) fn advance(&self, read: u64, total: u64) {
        self.reading.total.store(total, Ordering::Relaxed);
        let before = self.reading.read.swap(read, Ordering::Relaxed);
        METER.bytes.fetch_add(read.saturating_sub(before), Ordering::Relaxed);
    }

    /// The body returns its figures.
    pub(super) fn done(self) {
        let mut done = lock(&METER.done);
        // Nobody reads it in a plain server; it must not grow there.
        if done.len() >= 100_000 {
            done.clear();
        }
        done.push(self.id);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&METER.open).remove(&self.id);
    }
}
