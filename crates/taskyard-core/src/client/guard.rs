//! Reports an error to waiters if the background task of the client's runtime that they wait for ends prematurely.

use super::RUNTIME_ENDED;
use crate::Error;

/// Runs `looking`. If it ends prematurely, with its runtime or by a panic, `ended` is called with the error; a panic is
/// reported as `broke`. The guard exists from the call on, because a runtime may end before it has polled the future
/// once.
pub(super) fn guarded(
    looking: impl Future<Output = ()> + Send,
    broke: &'static str,
    ended: impl FnOnce(Error) + Send,
) -> impl Future<Output = ()> + Send {
    let guard = Guard { broke, ended: Some(ended) };
    async move {
        looking.await;
        guard.disarm();
    }
}

struct Guard<F: FnOnce(Error)> {
    broke: &'static str,
    ended: Option<F>,
}

impl<F: FnOnce(Error)> Guard<F> {
    /// By value: the future must own the guard as a whole, or the guard would be dropped at the call.
    fn disarm(mut self) {
        self.ended = None;
    }
}

impl<F: FnOnce(Error)> Drop for Guard<F> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let is_panic = std::thread::panicking();
            ended(if is_panic { Error::Database(self.broke.into()) } else { RUNTIME_ENDED });
        }
    }
}
