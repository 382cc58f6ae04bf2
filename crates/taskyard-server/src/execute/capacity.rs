//! Size of claims: as many tasks as can start soon, so that other servers may take the rest.
//!
//! Free slots count at once. In addition, about 50 ms of work is held ready, estimated from the duration of recent
//! tasks: no-ops come in batches of a thousand, tasks that take a second come one by one. A claim waits until at least
//! half of that is needed, so that short tasks do not cost a claim each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Amount of work to hold ready.
const IN_HAND: Duration = Duration::from_millis(50);

/// Duration per task, in nanoseconds, at which nothing is claimed ahead.
const SLOW_NS: u64 = 1_000_000_000;

/// Time for which one task occupies one worker: a moving average in nanoseconds, 0 = unknown.
#[derive(Debug, Default)]
pub(crate) struct ThroughputEstimate(AtomicU64);

impl ThroughputEstimate {
    /// Records that `count` tasks took `spent` of a worker's time. Concurrent updates may be lost, which an estimate
    /// tolerates.
    pub fn note(&self, spent: Duration, count: u32) {
        if count == 0 {
            return;
        }
        let each = u64::try_from((spent / count).as_nanos()).unwrap_or(u64::MAX >> 3).clamp(1, u64::MAX >> 3);
        let before = self.0.load(Ordering::Relaxed);
        let after = if before == 0 { each } else { (before * 3 + each) / 4 };
        self.0.store(after.max(1), Ordering::Relaxed);
    }

    /// Resets the estimate because claimed tasks could not start in time. It recovers with the next tasks that end.
    pub fn is_slow(&self) {
        self.0.store(SLOW_NS, Ordering::Relaxed);
    }

    /// Returns how many tasks `workers` complete in the amount of work to hold ready.
    pub fn prefetch(&self, workers: usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => 0,
            each => usize::try_from(workers as u64 * IN_HAND.as_nanos() as u64 / each).unwrap_or(usize::MAX),
        }
    }

    /// Returns true if `waiting` tasks are more than half of the amount to hold ready.
    pub fn is_behind(&self, waiting: usize, workers: usize) -> bool {
        waiting > self.prefetch(workers) / 2
    }
}

/// Returns how many tasks to claim, with `free` slots, `prefetch` tasks to hold ready and `waiting` tasks held already.
pub(crate) fn capacity(free: usize, prefetch: usize, waiting: usize) -> usize {
    let wanted = free.saturating_add(prefetch).saturating_sub(waiting);
    let worth_it = (prefetch / 2).max(1);
    if wanted >= worth_it { wanted } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_tasks_come_one_by_one_and_quick_ones_in_batches() {
        let throughput = ThroughputEstimate::default();
        assert_eq!(throughput.prefetch(2), 0, "nothing is known");
        throughput.note(Duration::from_millis(1), 1_000);
        assert_eq!(throughput.prefetch(2), 100_000);
        for _ in 0..30 {
            throughput.note(Duration::from_secs(1), 1);
        }
        assert_eq!(throughput.prefetch(2), 0, "one long task each");
        throughput.note(Duration::from_millis(1), 1_000);
        throughput.is_slow();
        assert_eq!(throughput.prefetch(2), 0);
        assert_eq!(capacity(3, 0, 0), 3);
        assert_eq!(capacity(3, 0, 3), 0);
        assert_eq!(capacity(0, 1_000, 600), 0, "not worth a claim yet");
        assert_eq!(capacity(0, 1_000, 400), 600);
    }
}
