//! Blocking a thread that has a runtime of several threads.
//!
//! A worker thread of the runtime must hand its other tasks over before it blocks: the writer may be one of them. Any
//! other thread must not try to: inside a `LocalSet`, `block_in_place` panics. Tokio does not say which of both a thread
//! is, but shows it: of two tasks that a worker spawns the second stays with it until it yields, and is run by nobody
//! else; those of another thread go to the workers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How long the workers may take to run a task that shows that this thread is none of them.
const PROBE_MAX: Duration = Duration::from_millis(100);

thread_local! {
    /// Known to be a worker: it is not found out again.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Runs what blocks this thread, while the runtime goes on.
pub(super) fn wait<R>(runtime: &Handle, block: impl Fn() -> R) -> R {
    // The future of `block_on`, or a thread that only entered the runtime.
    if tokio::task::try_id().is_none() || !is_worker(runtime) {
        return block();
    }
    if cfg!(panic = "unwind") {
        // If all workers were busy for so long that this thread was taken for one of them, it panics before it blocks.
        catch_unwind(AssertUnwindSafe(|| tokio::task::block_in_place(&block))).unwrap_or_else(|_| {
            IS_WORKER.set(false);
            block()
        })
    } else {
        block()
    }
}

fn is_worker(runtime: &Handle) -> bool {
    if IS_WORKER.get() {
        return true;
    }
    let (ran, runs) = mpsc::channel();
    let until = Instant::now() + PROBE_MAX;
    for _ in 0..2 {
        let ran = ran.clone();
        runtime.spawn(async move { ran.send(()).is_ok() });
    }
    let elsewhere = (0..2).all(|_| runs.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok());
    IS_WORKER.set(!elsewhere);
    !elsewhere
}
