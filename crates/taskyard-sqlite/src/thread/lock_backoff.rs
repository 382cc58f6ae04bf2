//! Waits for a lock that another process holds: short pauses with jitter, up to a deadline.

use std::time::{Duration, Instant};

/// Time after which a locked file is reported to the caller.
pub(crate) const BUSY_MAX: Duration = Duration::from_secs(30);

/// A wait for a lock.
#[derive(Debug)]
pub(crate) struct LockBackoff {
    until: Instant,
    pause_us: u64,
}

impl LockBackoff {
    /// Starts a wait that ends [`BUSY_MAX`] after `since`.
    pub(crate) fn since(since: Instant) -> Self {
        Self { until: since + BUSY_MAX, pause_us: 50 }
    }

    /// Pauses, or returns false if the time is over.
    pub(crate) fn pause(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        // Half to all of the pause: two processes that wait for each other's gap must not run in step.
        let pause = self.pause_us / 2 + rand::random_range(0..=self.pause_us / 2);
        std::thread::sleep(Duration::from_micros(pause));
        // At most 2 ms: a busy writer leaves a gap of that length (see `writer`).
        self.pause_us = (self.pause_us * 3 / 2).min(2_000);
        true
    }
}
