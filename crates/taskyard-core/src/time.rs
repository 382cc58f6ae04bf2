//! Time. Every instant that decides anything is the database's, read through one function of ours (`taskyard.now()`
//! in PostgreSQL, `taskyard_now()` in SQLite); a process's own clock only measures how long it has been waiting.

use std::time::Duration;

/// An instant, in microseconds as both databases keep it.
pub use jiff::Timestamp;

/// A time limit in whole milliseconds, as both databases store it: rounded up, so that a short limit never becomes 0.
#[must_use]
pub fn limit_millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_rounded_up() {
        for (nanos, millis) in [(0, 0), (1, 1), (400_000, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(limit_millis(Duration::from_nanos(nanos)), millis, "{nanos} ns");
        }
        assert_eq!(limit_millis(Duration::MAX), u64::MAX);
    }
}
