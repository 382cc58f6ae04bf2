//! The tasks that are measured: a set of their own, unknown to every other server.

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

/// Answers how many nanoseconds after `sent` its first instruction ran.
#[task(set = BENCH_TASKS, queue = "bench", kind = "taskyard::bench::stamp")]
pub(super) async fn stamp(sent: u64) -> u64 {
    monotonic().saturating_sub(sent)
}

/// The system's monotonic clock in nanoseconds: one clock for all processes of a machine.
pub(super) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32).as_nanos())
        .unwrap_or(u64::MAX)
}
