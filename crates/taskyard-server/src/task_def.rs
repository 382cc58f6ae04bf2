//! What a `#[task]` function is to the server: its kind, where it stands, and how a body is made from a context.
//!
//! The macros write these as statics; nothing here knows how arguments are decoded.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::{TaskContext, TaskError};

/// A result's JSON bytes, or how the attempt went wrong.
pub type BodyResult = Result<Vec<u8>, TaskError>;

/// An async body. It is made and polled on its lane only, so it need not be `Send`.
pub type AsyncBody = Pin<Box<dyn Future<Output = BodyResult>>>;

/// A blocking body, run on a thread of its own.
pub type BlockingBody = Box<dyn FnOnce() -> BodyResult + Send>;

/// One run of a task's function, ready to go.
pub enum Body {
    /// Polled on a lane beside others; dropped when it is cancelled.
    Async(AsyncBody),
    /// Called on a thread of its own; it sees a cancel only by asking.
    Blocking(BlockingBody),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Body::Async",
            Self::Blocking(_) => "Body::Blocking",
        })
    }
}

/// A function that tasks may run.
#[derive(Clone, Copy)]
pub struct TaskDef {
    /// The full path of the function; the same in every process that is built from the same source.
    pub kind: fn() -> &'static str,
    /// The parameters' names, in order.
    pub names: &'static [&'static str],
    /// Decodes the payload and makes the body. It may panic; that fails the attempt.
    pub run: fn(TaskContext) -> Body,
    /// `file:line` of the function, for messages.
    pub location: &'static str,
    /// Whether `run` gives a [`Body::Blocking`], so that a lane need not be asked.
    pub blocking: bool,
}

impl TaskDef {
    /// The kind's text.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        (self.kind)()
    }
}

impl fmt::Debug for TaskDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDef")
            .field("kind", &self.kind())
            .field("location", &self.location)
            .field("blocking", &self.blocking)
            .finish_non_exhaustive()
    }
}
