//! Clock of the database on one connection: the host's time, offset or frozen according to the row of `ty_clock`.
//!
//! [`Clock::set`] is called with that row at the start of every transaction, so that a test clock set by one process
//! applies to all. SQL reads the clock as `taskyard_now()`. No other time decides anything in this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// Value of `frozen_at` for "not frozen".
const RUNNING: i64 = i64::MIN;

/// Clock of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    offset_us: Arc<AtomicI64>,
    frozen_at: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { offset_us: Arc::default(), frozen_at: Arc::new(AtomicI64::new(RUNNING)) }
    }
}

impl Clock {
    /// Applies the row of `ty_clock`.
    pub(crate) fn set(&self, offset_us: i64, frozen_at: Option<i64>) {
        self.offset_us.store(offset_us, Ordering::Relaxed);
        self.frozen_at.store(frozen_at.unwrap_or(RUNNING), Ordering::Relaxed);
    }

    /// Returns the time in microseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        match self.frozen_at.load(Ordering::Relaxed) {
            RUNNING => host_now().saturating_add(self.offset_us.load(Ordering::Relaxed)),
            frozen_at => frozen_at,
        }
    }

    /// Registers the SQL function `taskyard_now()`.
    pub(crate) fn register(&self, connection: &Connection) -> rusqlite::Result<()> {
        let clock = self.clone();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        connection.create_scalar_function(c"taskyard_now", 0, flags, move |_| Ok(clock.now()))
    }
}

fn host_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}
