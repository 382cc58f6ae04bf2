//! Where a body panicked: a hook in front of the application's own notes the place while a task is running on the
//! thread, because the caught payload carries the message only. Panics outside of tasks pass through untouched.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use taskyard_core::Failure;

use crate::TaskContext;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook, once per process.
pub(crate) fn watch_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if TaskContext::current().is_some() {
                let place = info.location().map_or_else(|| "unknown place".into(), |at| format!("panicked at {at}"));
                // Costs nothing unless RUST_BACKTRACE asks for it.
                let trace = Backtrace::capture();
                let text = match trace.status() {
                    BacktraceStatus::Captured => format!("{place}\n{trace}"),
                    _ => place,
                };
                let _ = PLACE.try_with(|slot| slot.replace(Some(text)));
            }
            before(info);
        }));
    });
}

/// Runs a piece of a body; a panic becomes a failure.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    // The body is never touched again after a panic, so it cannot show a broken state to anyone.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| failure(payload.as_ref()))
}

fn failure(payload: &(dyn Any + Send)) -> Failure {
    let traceback = PLACE.try_with(RefCell::take).ok().flatten();
    Failure { error_type: "Panicked".into(), message: message(payload), traceback }
}

/// What was said at the panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the task panicked with a value that is not text".into())
}
