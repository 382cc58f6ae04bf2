//! Progress of the tasks in this process for the progress bars: which files are open, how far each is, how much was read.
//!
//! Only for display; the database is authoritative.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskyard::TaskId;

/// The meter of this process; a static, because task bodies have no other way to reach the command.
pub(super) static METER: Meter =
    Meter { bytes: AtomicU64::new(0), open: Mutex::new(BTreeMap::new()), done: Mutex::new(Vec::new()) };

/// Bytes read, open files, and tasks whose bodies have returned.
pub(super) struct Meter {
    bytes: AtomicU64,
    open: Mutex<BTreeMap<TaskId, Arc<Reading>>>,
    done: Mutex<Vec<TaskId>>,
}

/// A file that is being read.
pub(super) struct Reading {
    /// Path for display.
    pub(super) name: String,
    /// Size in bytes when it was opened.
    pub(super) total: AtomicU64,
    /// Bytes read so far.
    pub(super) read: AtomicU64,
}

/// Keeps a file in the list of open files until this is dropped.
pub(super) struct Guard {
    id: TaskId,
    reading: Arc<Reading>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Adds a file to the list of open files.
    pub(super) fn enter(&self, id: TaskId, name: String) -> Guard {
        let reading = Arc::new(Reading { name, total: AtomicU64::new(0), read: AtomicU64::new(0) });
        lock(&self.open).insert(id, Arc::clone(&reading));
        Guard { id, reading }
    }

    /// Returns the bytes read in this process.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the files that are being read, the oldest task first.
    pub(super) fn open(&self) -> Vec<(TaskId, Arc<Reading>)> {
        lock(&self.open).iter().map(|(id, reading)| (*id, Arc::clone(reading))).collect()
    }

    /// Returns the tasks whose bodies have returned since the last call.
    pub(super) fn take_done(&self) -> Vec<TaskId> {
        std::mem::take(&mut lock(&self.done))
    }
}

impl Guard {
    /// Records how much of the file was read, and its size.
    pub(super) fn advance(&self, read: u64, total: u64) {
        self.reading.total.store(total, Ordering::Relaxed);
        let before = self.reading.read.swap(read, Ordering::Relaxed);
        METER.bytes.fetch_add(read.saturating_sub(before), Ordering::Relaxed);
    }

    /// Records that the body has returned successfully.
    pub(super) fn done(self) {
        let mut done = lock(&METER.done);
        // In a server without a display nothing takes the list, so its length is bounded.
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
