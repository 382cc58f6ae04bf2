//! Waits for a lock that another process holds: short pauses with jitter, up to a deadline.

use std::time::{Duration, Instant};

use taskyard_core::backoff::{Backoff, FILE_LOCK};

/// Time after which a locked file is reported to the caller.
pub(crate) const BUSY_MAX: Duration = Duration::from_secs(30);

/// A wait for a lock.
#[derive(Debug)]
pub(crate) struct LockBackoff {
    until: Instant,
    backoff: Backoff,
}

impl LockBackoff {
    /// Starts a wait that ends [`BUSY_MAX`] after `since`.
    pub(crate) fn since(since: Instant) -> Self {
        Self { until: since + BUSY_MAX, backoff: Backoff::new(FILE_LOCK) }
    }

    /// Pauses, or returns false if the time is over.
    pub(crate) fn pause(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        std::thread::sleep(self.backoff.next_pause());
        true
    }
}
