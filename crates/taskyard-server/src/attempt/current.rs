//! The attempt that the calling thread currently works for. Set around each poll of an async body and around the whole
//! of a blocking one, and never left set while other code runs on the thread.

use std::cell::RefCell;
use std::sync::Arc;

use super::Attempt;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Attempt>>> = const { RefCell::new(None) };
}

pub(crate) fn current() -> Option<Arc<Attempt>> {
    CURRENT.try_with(|current| current.try_borrow().ok().and_then(|current| current.clone())).ok().flatten()
}

/// Returns whether this thread runs a body now.
pub(crate) fn is_current() -> bool {
    current().is_some()
}

/// Makes a body that waits for another task release its concurrency slot, and the end of an attempt wait for its body's additions.
pub(crate) fn install() {
    taskyard_core::concurrency_slot::install(|| current()?.release_slot());
    taskyard_core::client::additions::install(|| Some(current()?.additions()));
}

/// Restores the previous attempt when it is dropped.
pub(crate) struct Entered(Option<Arc<Attempt>>);

/// Makes an attempt current until the guard is dropped.
pub(crate) fn enter(attempt: &Arc<Attempt>) -> Entered {
    Entered(CURRENT.with(|current| current.replace(Some(attempt.clone()))))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        // The replaced handle may be the last one: it is dropped after the borrow has ended.
        let _gone = CURRENT.try_with(|current| current.replace(before));
    }
}
