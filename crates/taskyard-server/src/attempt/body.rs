//! The types of a body: what it is while it runs, and what it returns.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Attempt;
use super::task_error::TaskError;

/// The result as JSON bytes, or the error that ended the attempt.
pub type BodyResult = Result<Vec<u8>, TaskError>;

/// An async body that may move between threads.
pub type AsyncBody = Pin<Box<dyn Future<Output = BodyResult> + Send>>;

/// An async body that stays on the thread that created it.
pub type LocalBody = Pin<Box<dyn Future<Output = BodyResult>>>;

/// The function of an attempt, by which layers create its body. A trait, because a function takes a context, and that is a handle of an
/// attempt.
pub(crate) trait Function: Sync {
    /// Creates the body as a future that layers may wrap.
    fn body(&self, attempt: &Arc<Attempt>) -> AsyncBody;
}
