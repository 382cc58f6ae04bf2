//! What the types of a task function must be, each said once, in a sentence of ours.
//!
//! The compiler's own refusal of an argument names a trait of serde, in an expansion that nobody wrote, several times over. Here
//! is one trait for each role. The expansions ask for it where the user wrote the type, and are built so that nothing else of
//! them refuses the same type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskyard_server::{StateType, TaskContext, TaskError};

/// A parameter that is part of the stored call.
#[diagnostic::on_unimplemented(
    message = "a task's argument is stored, and `{Self}` cannot be",
    label = "derive `serde::Serialize` and `serde::Deserialize` for it, or pass what finds it, such as its id"
)]
pub trait StoredArgument {}

#[diagnostic::do_not_recommend]
impl<A: Serialize + DeserializeOwned> StoredArgument for A {}

/// The value that a body returns.
#[diagnostic::on_unimplemented(
    message = "a task's result is stored, and `{Self}` cannot be",
    label = "derive `serde::Serialize` and `serde::Deserialize` for it, or return what finds it, such as its id"
)]
pub trait StoredResult: Serialize {}

#[diagnostic::do_not_recommend]
impl<R: Serialize> StoredResult for R {}

/// The error that a body returns.
#[diagnostic::on_unimplemented(
    message = "a task's error becomes a `TaskError`, and `{Self}` does not convert into one",
    label = "implement `std::error::Error` for it, `Send` and `Sync` (`Box<dyn Error + Send + Sync>`), or return a `TaskError`"
)]
pub trait BodyError: Into<TaskError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<TaskError>> BodyError for E {}

/// A type that may fail.
#[diagnostic::on_unimplemented(
    message = "`retry_if` asks about the error of a task, and `{Self}` is no `Result`",
    label = "return a `Result`, or leave `retry_if` out"
)]
pub trait Fallible {}

impl<T, E> Fallible for Result<T, E> {}

/// A parameter that the server supplies.
#[diagnostic::on_unimplemented(
    message = "a task is given `taskyard::State<T>` and `taskyard::TaskContext` by its server, and `{Self}` is neither",
    label = "take `taskyard::State<T>`: an extractor of a web framework reads a request, and a task has none"
)]
pub trait Supplied: Sized {
    /// Takes it from the context.
    ///
    /// # Errors
    /// The server has none.
    fn supply(context: &TaskContext) -> Result<Self, TaskError>;

    /// The state that it is, if it is one.
    #[must_use]
    fn state() -> Option<StateType> {
        None
    }
}

impl Supplied for TaskContext {
    fn supply(context: &TaskContext) -> Result<Self, TaskError> {
        Ok(context.clone())
    }
}

/// Compiles if it can be stored.
pub fn is_stored<A: StoredArgument>() {}

/// Compiles if a server supplies it.
pub fn is_supplied<T: Supplied>() {}

/// Compiles if there is an error to ask about.
pub fn asks_about_an_error<R: Fallible>() {}
