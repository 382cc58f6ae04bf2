//! Items that the expansions of the macros refer to. Not part of the public interface.

pub mod checks;

use std::future::Future;
use std::marker::PhantomData;

use checks::{BodyError, StoredResult, Supplied};
pub use linkme;
use serde::Serialize;
use serde::de::DeserializeOwned;
use taskyard_core::client::Call;
pub use taskyard_server::{
    AsyncBody, BodyResult, LocalBody, Registry, Run, StateType, TaskContext, TaskDef, TaskError, block_on,
};

/// Every task function of the program that is in no set, across crates.
#[linkme::distributed_slice]
pub static TASKS: [TaskDef];

/// Returns a registry of all of these tasks.
#[must_use]
pub fn registry() -> Registry {
    TASKS.iter().fold(Registry::new(), Registry::register)
}

/// Supplies a parameter of a task from its server.
#[derive(Debug)]
pub struct Supply<T>(PhantomData<fn() -> T>);

impl<T: Supplied> Supply<T> {
    /// Takes the parameter from the context.
    ///
    /// # Errors
    /// [`TaskError`] if the server does not have it.
    pub fn supply(context: &TaskContext) -> Result<T, TaskError> {
        T::supply(context)
    }

    /// Returns the type of the state, if the parameter is a state.
    #[must_use]
    pub fn state() -> Option<StateType> {
        T::state()
    }
}

/// Replaces [`Supply`] for a type that is not [`Supplied`], so that only [`checks`] reports the error.
pub trait NotSupplied<T> {
    /// Never called.
    ///
    /// # Errors
    /// Never.
    fn supply(_: &TaskContext) -> Result<T, TaskError> {
        unreachable!("it does not compile")
    }

    /// Never called.
    fn state() -> Option<StateType> {
        None
    }
}

impl<T> NotSupplied<T> for Supply<T> {}

/// Boxes an async body that may move between threads. The compiler shows this function's name for a body that cannot
/// move: do not hold an `Rc`, lock guard or similar across an `.await`, or declare the task `#[task(local)]`.
pub fn must_be_send_or_declared_local<B>(body: B) -> AsyncBody
where
    B: Future<Output = BodyResult> + Send + 'static,
{
    Box::pin(body)
}

/// Returns the path of a function, given a type inside it. Unlike `module_path!`, this includes enclosing functions.
#[must_use]
pub fn kind_of<T: ?Sized>(suffix: &str) -> &'static str {
    let path = std::any::type_name::<T>();
    path.strip_suffix(suffix).unwrap_or(path)
}

/// The arguments of a function, as a tuple.
#[derive(Debug)]
pub struct Arguments<A>(PhantomData<fn() -> A>);

impl<A: Serialize + DeserializeOwned> Arguments<A> {
    /// Creates a call with these arguments.
    pub fn call<T>(kind: &str, arguments: &A) -> Call<T> {
        Call::new(kind, arguments).declared()
    }

    /// Decodes the arguments of a stored call.
    ///
    /// # Errors
    /// [`TaskError`] that names the invalid argument. It is not retried, because the argument will never be valid.
    pub fn decode(context: &TaskContext, names: &[&str]) -> Result<A, TaskError> {
        taskyard_core::payload::decode_args(context.payload(), names)
            .map_err(|error| TaskError::fail(error.to_string()).with_type("InvalidArguments"))
    }
}

/// Replaces [`Arguments`] for types that cannot be stored, so that only [`checks`] reports the error.
pub trait NotStored<A> {
    /// Never called.
    fn call<T>(_: &str, _: &A) -> Call<T> {
        unreachable!("it does not compile")
    }

    /// Never called.
    ///
    /// # Errors
    /// Never.
    fn decode(_: &TaskContext, _: &[&str]) -> Result<A, TaskError> {
        unreachable!("it does not compile")
    }
}

impl<A> NotStored<A> for Arguments<A> {}

/// The value that a body returned. Its type, under any name, determines whether the body may fail.
///
/// The inherent items are those of a `Result`. For all other types they do not exist, and the items of [`Plain`] are
/// used instead. This works only where the type is known, as it is in the expansions of the macros.
#[derive(Debug)]
pub struct Returned<R>(pub R);

impl<T, E> Returned<Result<T, E>> {
    /// Whether the body may fail: it returns a `Result`.
    pub const FALLIBLE: bool = true;

    /// Encodes the value, or passes the body's error on.
    ///
    /// # Errors
    /// The body's error, or [`TaskError`] for a value that cannot be stored.
    pub fn finish(self, context: &TaskContext) -> BodyResult
    where
        T: StoredResult,
        E: BodyError,
    {
        encode(&self.0.map_err(Into::into)?, context)
    }

    /// Encodes the value, or passes the body's error on. An error for which `retry_if` returns `false` is not retried.
    ///
    /// # Errors
    /// Those of [`Self::finish`].
    pub fn finish_asking(self, context: &TaskContext, retry_if: fn(&E) -> bool) -> BodyResult
    where
        T: StoredResult,
        E: BodyError,
    {
        let value = self.0.map_err(|error| {
            let retried = retry_if(&error);
            let error: TaskError = error.into();
            if retried { error } else { error.without_retry() }
        })?;
        encode(&value, context)
    }
}

/// The items of [`Returned`] for types that are not a `Result`.
pub trait Plain {
    /// The type that the body returns.
    type Value;

    /// Whether the body may fail: a plain value is never a failure.
    const FALLIBLE: bool = false;

    /// Encodes the value.
    ///
    /// # Errors
    /// [`TaskError`] for a value that cannot be stored.
    fn finish(self, context: &TaskContext) -> BodyResult
    where
        Self::Value: StoredResult;

    /// Replaces the method of a `Result`; [`checks`] reports the error.
    ///
    /// # Errors
    /// Never: it does not compile.
    fn finish_asking<F>(self, _: &TaskContext, _: F) -> BodyResult
    where
        Self: Sized,
    {
        unreachable!("it does not compile")
    }
}

impl<R> Plain for Returned<R> {
    type Value = R;

    fn finish(self, context: &TaskContext) -> BodyResult
    where
        R: StoredResult,
    {
        encode(&self.0, context)
    }
}

/// The result type of a body that returns this type. `FALLIBLE` is [`Returned::FALLIBLE`] of the type; it separates the
/// two implementations, which would overlap without it.
pub trait Output<const FALLIBLE: bool> {
    /// The type of the stored result.
    type Value;
}

impl<T, E> Output<true> for Result<T, E> {
    type Value = T;
}

impl<R> Output<false> for R {
    type Value = R;
}

fn encode<T: Serialize>(value: &T, context: &TaskContext) -> BodyResult {
    use taskyard_core::Error;
    taskyard_core::payload::encode_result(value, &context.limits()).map_err(|error| {
        let name = if matches!(error, Error::OverLimit { .. }) { "ResultTooLarge" } else { "ResultNotRepresentable" };
        TaskError::fail(error.to_string()).with_type(name)
    })
}

/// The return type of a local task's closure.
#[derive(Debug)]
pub struct ResultOf<R>(PhantomData<fn() -> R>);

/// Infers the return type of a closure without calling it.
pub fn result_of<F, C: Closure<F, R>, R>(_: C) -> ResultOf<R> {
    ResultOf(PhantomData)
}

impl<T, E> ResultOf<Result<T, E>> {
    /// Returns the call of a local task that may fail.
    pub fn of(self, call: Call<T>) -> Call<T> {
        call
    }
}

/// The method of [`ResultOf`] for types that are not a `Result`.
pub trait PlainResult {
    /// The return type of the closure.
    type Value;

    /// Returns the call of a local task.
    fn of(self, call: Call<Self::Value>) -> Call<Self::Value>;
}

impl<R> PlainResult for ResultOf<R> {
    type Value = R;

    fn of(self, call: Call<R>) -> Call<R> {
        call
    }
}

/// An async closure with up to sixteen captures.
#[diagnostic::on_unimplemented(
    message = "the closure of `local!` returns a future",
    label = "write `|name: Type| async move {{ .. }}`"
)]
pub trait Closure<F, R> {}

macro_rules! closures {
    ($(($($name:ident),*))*) => {
        $(impl<Function, Fut, $($name),*> Closure<(Fut, $($name,)*), Fut::Output> for Function
        where
            Function: Fn($($name),*) -> Fut,
            Fut: Future,
        {
        })*
    };
}

closures!(()(A1)(A1, A2)(A1, A2, A3)(A1, A2, A3, A4)(A1, A2, A3, A4, A5)(A1, A2, A3, A4, A5, A6)(
    A1, A2, A3, A4, A5, A6, A7
)(A1, A2, A3, A4, A5, A6, A7, A8)(A1, A2, A3, A4, A5, A6, A7, A8, A9)(
    A1, A2, A3, A4, A5, A6, A7, A8, A9, A10
)(A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11)(A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12)(
    A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13
)(A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14)(
    A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15
)(A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16));
