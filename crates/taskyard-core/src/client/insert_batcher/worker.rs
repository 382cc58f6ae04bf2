//! Blocking a thread while a multi-threaded runtime continues.
//!
//! A worker thread of the runtime must hand over its other tasks before it blocks, because the writer may be one of
//! them. Any other thread must not do so: inside a `LocalSet`, `block_in_place` panics. Tokio has no function that
//! tells the two apart, but their behaviour differs: of two tasks spawned by a worker the second stays on it until it
//! yields, and no other worker runs it; tasks spawned by any other thread go to the workers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Maximum time for the workers to run the tasks which show that this thread is not a worker.
const PROBE_MAX: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether this thread is known to be a worker, so that it is not probed again.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Runs code that blocks this thread, while the runtime continues.
pub(super) fn wait<R>(runtime: &Handle, block: impl Fn() -> R) -> R {
    // The future of `block_on`, or a thread that only entered the runtime.
    if tokio::task::try_id().is_none() || !is_worker(runtime) {
        return block();
    }
    if cfg!(panic = "unwind") {
        // If all workers were busy so long that this thread was taken for a worker, it panics before it blocks.
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
