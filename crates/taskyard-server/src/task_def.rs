//! What a `#[task]` function is to the server: its kind, where it stands, and how a body is made from a context.
//!
//! The macros write these as statics; nothing here knows how arguments are decoded.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::{TaskContext, TaskError};

/// A result's JSON bytes, or how the attempt went wrong.
pub type BodyResult = Result<Vec<u8>, TaskError>;

/// An async body that may move between threads.
pub type AsyncBody = Pin<Box<dyn Future<Output = BodyResult> + Send>>;

/// An async body that stays on the thread that made it.
pub type LocalBody = Pin<Box<dyn Future<Output = BodyResult>>>;

/// How a function's body is run. Each decodes the payload itself. It may panic; that fails the attempt.
#[derive(Clone, Copy)]
pub enum Run {
    /// Polled on the runtime that called `serve`, beside whatever else runs there; dropped when it is cancelled.
    Async(fn(TaskContext) -> AsyncBody),
    /// Polled on a worker thread with a runtime of its own, beside others; dropped when it is cancelled.
    Local(fn(TaskContext) -> LocalBody),
    /// Called on a thread of its own; it sees a cancel only by asking.
    Blocking(fn(TaskContext) -> BodyResult),
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Run::Async",
            Self::Local(_) => "Run::Local",
            Self::Blocking(_) => "Run::Blocking",
        })
    }
}

/// The type of a value that a function takes from its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateType {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

impl StateType {
    /// The one of values of this type.
    #[must_use]
    pub fn of<T: Any>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// A function that tasks may run, as `#[task]` declares it.
#[derive(Clone, Copy)]
pub struct TaskDef {
    /// The full path of the function; the same in every process that is built from the same source.
    #[doc(hidden)]
    pub kind: fn() -> &'static str,
    /// Kinds under which it was known before: stored calls of these are its own.
    #[doc(hidden)]
    pub aliases: &'static [&'static str],
    /// The parameters' names, in order.
    #[doc(hidden)]
    pub names: &'static [&'static str],
    /// The state that its parameters take from the server; a parameter that is none, such as a `TaskContext`, returns `None`.
    #[doc(hidden)]
    pub states: &'static [fn() -> Option<StateType>],
    /// How its body is made and run.
    #[doc(hidden)]
    pub run: Run,
    /// `file:line` of the function, for messages.
    #[doc(hidden)]
    pub location: &'static str,
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
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
