//! Time. Every instant that matters to the protocol is the database's, read through one function (`taskyard.now()` in
//! PostgreSQL, `taskyard_now()` in SQLite). A process's own clock only measures how long the process has been waiting.

use std::time::Duration;

use crate::{Error, Result};

/// An instant, with the microsecond precision of both databases.
pub use jiff::Timestamp;

/// Returns a time limit in whole milliseconds, as both databases store it, rounded up so that a short limit never
/// becomes 0.
#[must_use]
pub fn limit_millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The first instant of year 1 in microseconds since the Unix epoch. Python and the user interfaces support none before
/// it.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;

/// Refuses an instant before year 1.
///
/// # Errors
/// [`Error::InvalidArgument`] that names `what`.
pub(crate) fn check_instant(what: &'static str, at: Timestamp) -> Result<()> {
    if at.as_microsecond() < FIRST_MICROS {
        return Err(Error::InvalidArgument { what, why: format!("{at} is before year 1") });
    }
    Ok(())
}

/// Refuses a duration of more than a hundred years.
///
/// # Errors
/// [`Error::InvalidArgument`] that names `what`.
pub(crate) fn check_duration(what: &'static str, duration: Option<Duration>) -> Result<()> {
    match duration {
        Some(duration) if duration > crate::duration::MAX => {
            Err(Error::InvalidArgument { what, why: format!("{} s is over a hundred years", duration.as_secs()) })
        }
        _ => Ok(()),
    }
}

/// Returns `timestamp` as microseconds since the Unix epoch.
#[must_use]
pub fn to_micros(timestamp: Timestamp) -> i64 {
    timestamp.as_microsecond()
}

/// Returns the instant of microseconds since the Unix epoch; `None` outside of the years -9999 to 9999.
#[must_use]
pub fn from_micros(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_before_the_first_are_refused() {
        let first: Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(check_instant("run_at", first), Ok(()));
        let before = first.checked_sub(Duration::from_micros(1)).unwrap();
        assert!(check_instant("run_at", before).unwrap_err().to_string().contains("before year 1"));
    }

    #[test]
    fn a_limit_is_rounded_up() {
        for (nanos, millis) in [(0, 0), (1, 1), (400_000, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(limit_millis(Duration::from_nanos(nanos)), millis, "{nanos} ns");
        }
        assert_eq!(limit_millis(Duration::MAX), u64::MAX);
    }
}
