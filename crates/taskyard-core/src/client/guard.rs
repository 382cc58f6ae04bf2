//! Ends what waits for a task of the client's runtime, if that task ends before its time.

use super::RUNTIME_ENDED;
use crate::Error;

/// Runs `looking`. If it ends early, with its runtime or by a panic, `ended` gets the error; a panic is reported as `broke`. Guarded from the
/// call on: a runtime may end before it has polled this once.
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
    /// By value: the future must own the guard as a whole, or it would be dropped at the call.
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
