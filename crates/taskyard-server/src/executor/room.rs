//! How much to claim: as much as can start soon, so that another server may take the rest.
//!
//! Free places count at once. Beyond them about 50 ms of work is kept in hand, from the pace of recent tasks: no-ops
//! come in batches of a thousand, tasks that take a second come one by one. A claim waits until at least half of that
//! is wanted, so that short tasks do not cost a claim each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time of work to keep in hand.
const IN_HAND: Duration = Duration::from_millis(50);

/// A pace at which nothing is claimed ahead.
const SLOW_NS: u64 = 1_000_000_000;

/// How long one task keeps one worker busy: a moving average in nanoseconds, 0 = unknown.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// `count` tasks took `spent` of a worker's time. Racing updates may lose one; it is an estimate.
    pub fn note(&self, spent: Duration, count: u32) {
        if count == 0 {
            return;
        }
        let each = u64::try_from((spent / count).as_nanos()).unwrap_or(u64::MAX >> 3).clamp(1, u64::MAX >> 3);
        let before = self.0.load(Ordering::Relaxed);
        let after = if before == 0 { each } else { (before * 3 + each) / 4 };
        self.0.store(after.max(1), Ordering::Relaxed);
    }

    /// Claimed tasks could not start in time: the pace is not what it was. It is learnt anew from what ends.
    pub fn is_slow(&self) {
        self.0.store(SLOW_NS, Ordering::Relaxed);
    }

    /// How many tasks `workers` do in the time to keep in hand.
    pub fn prefetch(&self, workers: usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => 0,
            each => usize::try_from(workers as u64 * IN_HAND.as_nanos() as u64 / each).unwrap_or(usize::MAX),
        }
    }

    /// Whether `waiting` tasks are more than half of what is to be in hand.
    pub fn is_behind(&self, waiting: usize, workers: usize) -> bool {
        waiting > self.prefetch(workers) / 2
    }
}

/// How many to claim: `free` places, `prefetch` beyond them, `waiting` in hand already.
pub(crate) fn room(free: usize, prefetch: usize, waiting: usize) -> usize {
    let wanted = free.saturating_add(prefetch).saturating_sub(waiting);
    let worth_it = (prefetch / 2).max(1);
    if wanted >= worth_it { wanted } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_tasks_come_one_by_one_and_quick_ones_in_batches() {
        let pace = Pace::default();
        assert_eq!(pace.prefetch(2), 0, "nothing is known");
        pace.note(Duration::from_millis(1), 1_000);
        assert_eq!(pace.prefetch(2), 100_000);
        for _ in 0..30 {
            pace.note(Duration::from_secs(1), 1);
        }
        assert_eq!(pace.prefetch(2), 0, "one long task each");
        pace.note(Duration::from_millis(1), 1_000);
        pace.is_slow();
        assert_eq!(pace.prefetch(2), 0);
        assert_eq!(room(3, 0, 0), 3);
        assert_eq!(room(3, 0, 3), 0);
        assert_eq!(room(0, 1_000, 600), 0, "not worth a claim yet");
        assert_eq!(room(0, 1_000, 400), 600);
    }
}
