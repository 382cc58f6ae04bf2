//! Locations of panics in bodies: a panic hook in front of the application's own stores the location while a task is
//! running on the thread, because the caught payload contains only the message. Panics outside of tasks are not
//! affected.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use taskyard_core::Failure;

thread_local! {
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook, once per process. `runs_task` tells whether the thread runs a body now.
pub(crate) fn record_locations(runs_task: fn() -> bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if runs_task() {
                let location =
                    info.location().map_or_else(|| "unknown location".into(), |at| format!("panicked at {at}"));
                // Captures nothing unless RUST_BACKTRACE is set.
                let trace = Backtrace::capture();
                let text = match trace.status() {
                    BacktraceStatus::Captured => format!("{location}\n{trace}"),
                    _ => location,
                };
                let _ = LOCATION.try_with(|slot| slot.replace(Some(text)));
            }
            before(info);
        }));
    });
}

/// Runs a piece of a body; a panic is returned as a failure.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    // The body is never used again after a panic, so a broken state cannot be observed.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| failure(payload.as_ref()))
}

fn failure(payload: &(dyn Any + Send)) -> Failure {
    let traceback = LOCATION.try_with(RefCell::take).ok().flatten();
    Failure { error_type: "Panicked".into(), message: message(payload), traceback }
}

/// Returns the panic message.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the task panicked with a value that is not text".into())
}
