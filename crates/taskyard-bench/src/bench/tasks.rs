//! The tasks that are measured, in a task set of their own that no other server runs.

use std::time::Duration;

use taskyard::task;

taskyard::task_set!(
    /// The tasks that the bench's servers run.
    pub(super) BENCH_TASKS
);

/// Does nothing.
#[task(set = BENCH_TASKS, queue = "bench", kind = "taskyard::bench::noop")]
pub(super) async fn noop(number: i64) {
    let _ = number;
}

/// Returns the nanoseconds between `sent` and its first instruction.
#[task(set = BENCH_TASKS, queue = "bench", kind = "taskyard::bench::stamp")]
pub(super) async fn stamp(sent: u64) -> u64 {
    monotonic().saturating_sub(sent)
}

/// Returns the system's monotonic clock in nanoseconds, which all processes of a machine share.
pub(super) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32).as_nanos())
        .unwrap_or(u64::MAX)
}
