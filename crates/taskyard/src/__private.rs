//! What the macros' expansions name. Not part of the public interface.

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

/// Every task function of the program that belongs to no set, across crates.
#[linkme::distributed_slice]
pub static TASKS: [TaskDef];

/// A registry of all of them.
#[must_use]
pub fn registry() -> Registry {
    TASKS.iter().fold(Registry::new(), Registry::register)
}

/// Takes a parameter from the server.
#[derive(Debug)]
pub struct Supply<T>(PhantomData<fn() -> T>);

impl<T: Supplied> Supply<T> {
    /// Takes it from the context.
    ///
    /// # Errors
    /// The server has none.
    pub fn supply(context: &TaskContext) -> Result<T, TaskError> {
        T::supply(context)
    }

    /// The state that it is, if it is one.
    #[must_use]
    pub fn state() -> Option<StateType> {
        T::state()
    }
}

/// Stands in for [`Supply`] of a type that is not [`Supplied`], so that [`checks`] is the only place that refuses it.
pub trait NotSupplied<T> {
    /// Never called.
    ///
    /// # Errors
    /// None.
    fn supply(_: &TaskContext) -> Result<T, TaskError> {
        unreachable!("it does not compile")
    }

    /// Never called.
    fn state() -> Option<StateType> {
        None
    }
}

impl<T> NotSupplied<T> for Supply<T> {}

/// Makes an async body that may move between threads. Its name is what the compiler shows where a body cannot: hold no `Rc`, lock
/// guard or the like across an `.await`, or declare the task `#[task(local)]`.
pub fn must_be_send_or_declared_local<B>(body: B) -> AsyncBody
where
    B: Future<Output = BodyResult> + Send + 'static,
{
    Box::pin(body)
}

/// The path of a function from a type inside it: unlike `module_path!`, it names enclosing functions too.
#[must_use]
pub fn kind_of<T: ?Sized>(suffix: &str) -> &'static str {
    let path = std::any::type_name::<T>();
    path.strip_suffix(suffix).unwrap_or(path)
}

/// The arguments of a function, as a tuple.
#[derive(Debug)]
pub struct Arguments<A>(PhantomData<fn() -> A>);

impl<A: Serialize + DeserializeOwned> Arguments<A> {
    /// Describes a call with these.
    pub fn call<T>(kind: &str, arguments: &A) -> Call<T> {
        Call::new(kind, arguments).declared()
    }

    /// Decodes those of a stored call.
    ///
    /// # Errors
    /// Which argument does not fit; it is not retried, since it will never fit.
    pub fn decode(context: &TaskContext, names: &[&str]) -> Result<A, TaskError> {
        taskyard_core::payload::decode_args(context.payload(), names)
            .map_err(|error| TaskError::fail(error.to_string()).with_type("InvalidArguments"))
    }
}

/// Stands in for [`Arguments`] that cannot be stored, so that [`checks`] is the only place that refuses them.
pub trait NotStored<A> {
    /// Never called.
    fn call<T>(_: &str, _: &A) -> Call<T> {
        unreachable!("it does not compile")
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    fn decode(_: &TaskContext, _: &[&str]) -> Result<A, TaskError> {
        unreachable!("it does not compile")
    }
}

impl<A> NotStored<A> for Arguments<A> {}

/// What a body returned; decides by its type, under whatever name, whether the body may have failed.
///
/// The inherent items are those of a `Result`. For all other types they do not exist, and the ones of [`Plain`] are
/// found in their place. This works only where the type is known, which it is in the macros' expansions.
#[derive(Debug)]
pub struct Returned<R>(pub R);

impl<T, E> Returned<Result<T, E>> {
    /// A `Result` may be a failure.
    pub const FALLIBLE: bool = true;

    /// Encodes the value, or passes the body's error on.
    ///
    /// # Errors
    /// The body's error, or a value that cannot be stored.
    pub fn finish(self, context: &TaskContext) -> BodyResult
    where
        T: StoredResult,
        E: BodyError,
    {
        encode(&self.0.map_err(Into::into)?, context)
    }

    /// The same; an error of which the function says `false` is not retried.
    ///
    /// # Errors
    /// As [`Self::finish`].
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

/// What [`Returned`] does for types that are no `Result`.
pub trait Plain {
    /// The type that the body returns.
    type Value;

    /// A value is never a failure.
    const FALLIBLE: bool = false;

    /// Encodes the value.
    ///
    /// # Errors
    /// A value that cannot be stored.
    fn finish(self, context: &TaskContext) -> BodyResult
    where
        Self::Value: StoredResult;

    /// Stands in for the one of a `Result`; [`checks`] refuses it.
    ///
    /// # Errors
    /// None: it does not compile.
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

/// The type of the result of a body that returns this. `FALLIBLE` is [`Returned::FALLIBLE`] of the type; it keeps the
/// two implementations apart, which would overlap without it.
pub trait Output<const FALLIBLE: bool> {
    /// What is stored.
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

/// The type that a local task's closure returns.
#[derive(Debug)]
pub struct ResultOf<R>(PhantomData<fn() -> R>);

/// Infers what a closure returns without calling it.
pub fn result_of<F, C: Closure<F, R>, R>(_: C) -> ResultOf<R> {
    ResultOf(PhantomData)
}

impl<T, E> ResultOf<Result<T, E>> {
    /// The call of a local task that may fail.
    pub fn of(self, call: Call<T>) -> Call<T> {
        call
    }
}

/// What [`ResultOf`] does for types that are no `Result`.
pub trait PlainResult {
    /// The type that the closure returns.
    type Value;

    /// The call of a local task.
    fn of(self, call: Call<Self::Value>) -> Call<Self::Value>;
}

impl<R> PlainResult for ResultOf<R> {
    type Value = R;

    fn of(self, call: Call<R>) -> Call<R> {
        call
    }
}

/// An async closure of up to sixteen captures.
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
