//! The declaration of a `#[task]` function: its kind, its source location, and how its body is created from a context.
//!
//! The macros generate these values as statics; decoding the arguments is up to the generated code.

use std::any::{Any, TypeId, type_name};
use std::fmt;

use crate::{AsyncBody, BodyResult, LocalBody, TaskContext};

/// The way in which a function's body is run. Each function decodes the payload itself. A panic fails the attempt.
#[derive(Clone, Copy)]
pub enum Run {
    /// Polled on the runtime that called `serve`, together with the other tasks of that runtime; dropped when it is
    /// cancelled.
    Async(fn(TaskContext) -> AsyncBody),
    /// Polled on a worker thread with a runtime of its own, together with other bodies; dropped when it is cancelled.
    Local(fn(TaskContext) -> LocalBody),
    /// Called on a thread of its own. A cancel is visible to the body only when it checks for one.
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

/// The type of a state value that a function takes from its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateType {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

impl StateType {
    /// Returns the state type of `T`.
    #[must_use]
    pub fn of<T: Any>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// A function that tasks may run, as declared by `#[task]`.
#[derive(Clone, Copy)]
pub struct TaskDef {
    /// The full path of the function; the same in every process that is built from the same source.
    #[doc(hidden)]
    pub kind: fn() -> &'static str,
    /// Former kinds of the function: stored calls of these run it too.
    #[doc(hidden)]
    pub aliases: &'static [&'static str],
    /// The names of the parameters, in order.
    #[doc(hidden)]
    pub names: &'static [&'static str],
    /// The state types that the parameters take from the server. A parameter that is not a state value, such as a
    /// `TaskContext`, returns `None`.
    #[doc(hidden)]
    pub states: &'static [fn() -> Option<StateType>],
    /// The function that creates or runs the body.
    #[doc(hidden)]
    pub run: Run,
    /// `file:line` of the function, for messages.
    #[doc(hidden)]
    pub location: &'static str,
}

impl TaskDef {
    /// Returns the kind.
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
