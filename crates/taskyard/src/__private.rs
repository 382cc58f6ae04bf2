//! What the macros' expansions name. Not part of the public interface.

use std::future::Future;

pub use linkme;
use serde::Serialize;
use serde::de::DeserializeOwned;
use taskyard_core::client::Call;
pub use taskyard_server::{Body, BodyResult, Registry, TaskContext, TaskDef, TaskError};

/// Every task function of the program, across crates.
#[linkme::distributed_slice]
pub static TASKS: [TaskDef];

/// A registry of all of them.
#[must_use]
pub fn registry() -> Registry {
    TASKS.iter().fold(Registry::new(), Registry::register)
}

/// A parameter that the server supplies.
pub trait Supplied: Sized {
    /// Takes it from the context.
    ///
    /// # Errors
    /// The server has none.
    fn supply(context: &TaskContext) -> Result<Self, TaskError>;
}

impl Supplied for TaskContext {
    fn supply(context: &TaskContext) -> Result<Self, TaskError> {
        Ok(context.clone())
    }
}

/// The path of a function from a type inside it: unlike `module_path!`, it names enclosing functions too.
#[must_use]
pub fn kind_of<T: ?Sized>(suffix: &str) -> &'static str {
    let path = std::any::type_name::<T>();
    path.strip_suffix(suffix).unwrap_or(path)
}

/// Decodes the arguments.
///
/// # Errors
/// Which argument does not fit; it is not retried, since it will never fit.
pub fn decode<A: DeserializeOwned>(context: &TaskContext, names: &[&str]) -> Result<A, TaskError> {
    taskyard_core::payload::decode_args(context.payload(), names)
        .map_err(|error| TaskError::fail(error.to_string()).with_type("InvalidArguments"))
}

/// Encodes the value of a body that cannot fail.
///
/// # Errors
/// A value that cannot be stored.
pub fn finish_value<T: Serialize>(value: T, context: &TaskContext) -> BodyResult {
    use taskyard_core::Error;
    taskyard_core::payload::encode_result(&value, &context.limits()).map_err(|error| {
        let name = if matches!(error, Error::OverLimit { .. }) { "ResultTooLarge" } else { "ResultNotRepresentable" };
        TaskError::fail(error.to_string()).with_type(name)
    })
}

/// Encodes the value of a body that can fail.
///
/// # Errors
/// The body's error, or a value that cannot be stored.
pub fn finish_result<T: Serialize, E: Into<TaskError>>(result: Result<T, E>, context: &TaskContext) -> BodyResult {
    finish_value(result.map_err(Into::into)?, context)
}

/// The type of a local task's result.
#[derive(Debug)]
pub struct ResultOf<T>(std::marker::PhantomData<fn() -> T>);

/// Infers the type of a closure's result without calling it.
pub fn result_of<F, C: Closure<F, T>, T>(_: C) -> ResultOf<T> {
    ResultOf(std::marker::PhantomData)
}

/// An async closure of any number of captures.
pub trait Closure<F, T> {}

macro_rules! closures {
    ($(($($name:ident),*))*) => {
        $(impl<Function, Fut, Value, Failure, $($name),*> Closure<(Fut, Failure, $($name,)*), Value> for Function
        where
            Function: Fn($($name),*) -> Fut,
            Fut: Future<Output = Result<Value, Failure>>,
        {
        })*
    };
}

closures!(()(A1)(A1, A2)(A1, A2, A3)(A1, A2, A3, A4)(A1, A2, A3, A4, A5)(A1, A2, A3, A4, A5, A6)(
    A1, A2, A3, A4, A5, A6, A7
)(A1, A2, A3, A4, A5, A6, A7, A8));

/// The call of a local task.
pub fn local_call<A: Serialize, T>(kind: &str, captures: &A, _: ResultOf<T>) -> Call<T> {
    Call::new(kind, captures)
}
