//! Time. Every instant that decides anything is the database's, read through one function of ours (`taskyard.now()`
//! in PostgreSQL, `taskyard_now()` in SQLite); a process's own clock only measures how long it has been waiting.

/// An instant, in microseconds as both databases keep it.
pub use jiff::Timestamp;

/// `timestamp` as microseconds since the Unix epoch.
#[must_use]
pub fn to_micros(timestamp: Timestamp) -> i64 {
    timestamp.as_microsecond()
}

/// Microseconds since the Unix epoch as an instant; `None` outside the years -9999 to 9999.
#[must_use]
pub fn from_micros(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}
