//! Requirements on the types of a task function, each with one message.
//!
//! The compiler's own error about an argument would name a trait of serde in generated code, several times. Here is one
//! trait for each role. The expansions require it at the type that the user wrote, and are constructed so that nothing
//! else in them causes an error about the same type.

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

/// A return type that includes an error.
#[diagnostic::on_unimplemented(
    message = "`retry_if` asks about the error of a task, and `{Self}` is not a `Result`",
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
    /// Takes the parameter from the context.
    ///
    /// # Errors
    /// [`TaskError`] if the server does not have it.
    fn supply(context: &TaskContext) -> Result<Self, TaskError>;

    /// Returns the type of the state, if the parameter is a state.
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

/// Compiles if the argument can be stored.
pub fn is_stored<A: StoredArgument>() {}

/// Compiles if a server supplies the parameter.
pub fn is_supplied<T: Supplied>() {}

/// Compiles if the task has an error that `retry_if` can receive.
pub fn asks_about_an_error<R: Fallible>() {}
