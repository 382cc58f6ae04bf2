//! Errors of task bodies, and the retry behaviour that they request.
//!
//! Any error converts with `?`. The name of its type is stored, because retry policies refer to types by name, and its
//! chain of causes becomes the traceback text. [`TaskError`] does not implement `std::error::Error`, which would
//! conflict with the blanket conversion; [`TaskFailure`] does, for bodies that return `anyhow::Error` or `Box<dyn
//! Error>`.

mod task_failure;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
pub use task_failure::TaskFailure;
use taskyard_core::Failure;

/// The reason why an attempt did not return a result.
///
/// ```
/// # #[tokio::main] async fn main() -> taskyard::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
/// use std::time::Duration;
/// use taskyard::{Error, TaskError, TaskState, task};
///
/// #[task]
/// async fn fetch(status: u16) -> Result<u16, TaskError> {
///     match status {
///         404 => Err(TaskError::fail("there is no such page")), // no retry
///         429 => Err(TaskError::retry_after(Duration::from_secs(60), "too many requests")), // one retry less
///         503 => Err(TaskError::snooze(Duration::from_secs(60))), // at no cost
///         500.. => Err(TaskError::new("ServerError", format!("status {status}"))), // the retry policy decides
///         _ => Ok(status),
///     }
/// }
///
/// let tasks = queue.add_tasks([404, 429, 503].map(fetch)).await?;
/// queue.drain().await?;
/// assert!(matches!(tasks[0].wait().await, Err(Error::TaskFailed { error_type, .. }) if error_type == "Fail"));
/// let (failed, snoozed) = (tasks[1].record().await?, tasks[2].record().await?);
/// assert_eq!([failed.state, snoozed.state], [TaskState::Waiting; 2]);
/// assert_eq!([failed.failures, snoozed.failures], [1, 0]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TaskError {
    pub(crate) directive: RetryDirective,
    failure: Failure,
    /// Further type names that retry policies match.
    also: Vec<String>,
}

/// Maximum length of a chain of causes, because a chain that loops back would never end.
const CAUSES_MAX: usize = 100;

/// The retry behaviour that the body requests. Its names are words on the wire from a child, with pauses in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryDirective {
    /// Follow the task's retry policy.
    Policy,
    /// Run again after this pause, if a retry is left.
    After(#[serde(with = "millis")] Duration),
    /// Do not retry.
    Never,
    /// Run again later without consuming a retry.
    Snooze(#[serde(with = "millis")] Duration),
    /// The body was cancelled: it noticed that it was to end or, in a child, other code of the process cancelled it.
    Cancelled,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(pause: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

impl TaskError {
    /// Fails the attempt. The task runs again after `pause` if a retry is left.
    #[must_use]
    pub fn retry_after(pause: Duration, message: impl Into<String>) -> Self {
        Self { directive: RetryDirective::After(pause), failure: Failure::new("Retry", message), also: Vec::new() }
    }

    /// Fails the task without further retries.
    #[must_use]
    pub fn fail(message: impl Into<String>) -> Self {
        Self { directive: RetryDirective::Never, failure: Failure::new("Fail", message), also: Vec::new() }
    }

    /// Runs the task again after `pause` without consuming a retry.
    #[must_use]
    pub fn snooze(pause: Duration) -> Self {
        Self {
            directive: RetryDirective::Snooze(pause),
            failure: Failure::new("Snooze", format!("snoozed for {pause:?}")),
            also: Vec::new(),
        }
    }

    /// Fails the attempt with this error type and message; the retry policy decides what follows.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { directive: RetryDirective::Policy, failure: Failure::new(error_type, message), also: Vec::new() }
    }

    /// Replaces the name of the error's type, which retry policies match.
    #[must_use]
    pub fn with_type(mut self, error_type: impl Into<String>) -> Self {
        self.failure.error_type = error_type.into();
        self
    }

    /// Replaces the traceback text.
    #[must_use]
    pub fn with_traceback(mut self, traceback: impl Into<String>) -> Self {
        self.failure.traceback = Some(traceback.into());
        self
    }

    /// Prevents a retry under the task's policy. An error that requests a retry itself ([`Self::retry_after`],
    /// [`Self::snooze`]) is unchanged.
    ///
    /// ```
    /// use taskyard::TaskError;
    ///
    /// fn parse(text: &str) -> Result<u32, TaskError> {
    ///     text.parse().map_err(|error| TaskError::from(error).without_retry()) // would fail again
    /// }
    /// assert_eq!(parse("7").ok(), Some(7));
    /// assert_eq!(parse("x").unwrap_err().message(), "invalid digit found in string");
    /// ```
    #[must_use]
    pub fn without_retry(self) -> Self {
        if self.directive == RetryDirective::Policy { self.with_directive(RetryDirective::Never) } else { self }
    }

    /// Converts to a `std::error::Error`, for a function that returns `anyhow::Error`, `Box<dyn Error + Send + Sync>`
    /// or similar: `.map_err(TaskError::into_error)?`. The requested retry behaviour is preserved when a body returns
    /// the error, also under further context.
    ///
    /// ```
    /// use taskyard::TaskError;
    ///
    /// fn name_of(user: u64) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    ///     if user == 0 { Err(TaskError::fail("no such user").into_error())? }
    ///     Ok("Ada".into())
    /// }
    /// assert_eq!(name_of(0).unwrap_err().to_string(), "no such user");
    /// ```
    #[must_use]
    pub fn into_error(self) -> TaskFailure {
        TaskFailure::new(self)
    }

    /// Returns the name of the error's type.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.failure.error_type
    }

    /// Returns the message, one line of text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.failure.message
    }

    /// Returns the chain of causes or the backtrace.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.failure.traceback.as_deref()
    }

    /// Fails the attempt with `failure`; the retry policy decides what follows.
    pub(crate) fn of(failure: Failure) -> Self {
        Self { directive: RetryDirective::Policy, failure, also: Vec::new() }
    }

    /// Replaces the requested retry behaviour.
    pub(crate) fn with_directive(self, directive: RetryDirective) -> Self {
        Self { directive, ..self }
    }

    /// Replaces the message.
    pub(crate) fn saying(mut self, message: String) -> Self {
        self.failure.message = message;
        self
    }

    pub(crate) fn cancelled() -> Self {
        Self {
            directive: RetryDirective::Cancelled,
            failure: Failure::new("Cancelled", "the task was asked to end"),
            also: Vec::new(),
        }
    }

    /// Adds further type names for retry policies.
    pub(crate) fn being_also(self, also: Vec<String>) -> Self {
        Self { also, ..self }
    }

    /// Returns every name of the error's type, the most specific first.
    pub(crate) fn names(&self) -> Vec<&str> {
        std::iter::once(self.failure.error_type.as_str()).chain(self.also.iter().map(String::as_str)).collect()
    }

    /// Takes the message and chain of `outer`, an error whose innermost cause this is.
    fn under(mut self, outer: &(dyn StdError + 'static)) -> Self {
        let message = outer.to_string();
        if message != self.failure.message {
            self.failure.traceback = chain(outer);
            self.failure.message = message;
        }
        self
    }

    pub(crate) fn into_failure(self) -> Failure {
        self.failure
    }
}

impl<E> From<E> for TaskError
where
    E: Into<Box<dyn StdError + Send + Sync + 'static>>,
{
    fn from(error: E) -> Self {
        let name = type_name(std::any::type_name::<E>());
        let error: Box<dyn StdError + Send + Sync> = error.into();
        if let Some(inner) = TaskFailure::find(error.as_ref()) {
            return inner.clone().under(error.as_ref());
        }
        let traceback = chain(error.as_ref());
        let failure = Failure { error_type: name.to_owned(), message: error.to_string(), traceback };
        Self { directive: RetryDirective::Policy, failure, also: Vec::new() }
    }
}

/// Returns "Error" for texts and boxed errors, whose type names are not informative.
fn type_name(name: &'static str) -> &'static str {
    let nameless = name.starts_with('&') || name.contains("dyn ") || name.ends_with("String") || name.contains("Cow<");
    if nameless { "Error" } else { name }
}

/// Returns an error and its causes, one per line; `None` without causes.
fn chain(error: &(dyn StdError + 'static)) -> Option<String> {
    use fmt::Write as _;
    let mut cause = error.source()?;
    let mut text = error.to_string();
    for _ in 0..CAUSES_MAX {
        if let Some(inner) = TaskFailure::carried(cause) {
            // The first line of the inner traceback was already written as the cause.
            let rest = inner.traceback().and_then(|traceback| traceback.split_once('\n'));
            text.extend(rest.iter().flat_map(|(_, rest)| ["\n", rest]));
            break;
        }
        let _ = write!(text, "\ncaused by: {cause}");
        match cause.source() {
            Some(next) => cause = next,
            None => break,
        }
    }
    Some(text)
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.failure.error_type, self.failure.message)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(traceback) = &self.failure.traceback {
            write!(f, "\n{traceback}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse() -> Result<i32, TaskError> {
        Ok("x".parse::<i32>()?)
    }

    fn text() -> Result<(), TaskError> {
        Err("no such user")?
    }

    #[test]
    fn any_error_converts_and_keeps_its_name() {
        let error = parse().unwrap_err();
        assert_eq!(error.error_type(), "core::num::error::ParseIntError");
        assert_eq!(error.message(), "invalid digit found in string");
        let error = text().unwrap_err();
        assert_eq!((error.error_type(), error.message()), ("Error", "no such user"));
        assert_eq!(error.with_type("NoUser").error_type(), "NoUser");
    }

    #[test]
    fn what_an_error_asks_for_survives_other_errors_around_it() {
        #[derive(Debug)]
        struct Around(TaskFailure);
        impl fmt::Display for Around {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot send")
            }
        }
        impl StdError for Around {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let pause = Duration::from_secs(5);
        let failure = TaskError::retry_after(pause, "busy").into_error();
        assert_eq!((failure.to_string().as_str(), failure.error_type()), ("busy", "Retry"));
        let error = TaskError::from(failure.clone());
        assert_eq!((error.directive, error.message(), error.traceback()), (RetryDirective::After(pause), "busy", None));
        let error = TaskError::from(Around(failure));
        assert_eq!(
            (error.directive, error.error_type(), error.message()),
            (RetryDirective::After(pause), "Retry", "cannot send")
        );
        assert_eq!(error.traceback(), Some("cannot send\ncaused by: busy"));
        let error = TaskError::from(Around(
            parse().unwrap_err().without_retry().with_traceback("bad\ncaused by: x").into_error(),
        ));
        assert_eq!((error.directive, error.error_type()), (RetryDirective::Never, "core::num::error::ParseIntError"));
        assert_eq!(error.traceback(), Some("cannot send\ncaused by: invalid digit found in string\ncaused by: x"));
        let boxed: Box<dyn StdError + Send + Sync> = TaskError::cancelled().into_error().into();
        assert_eq!(TaskError::from(boxed).without_retry().directive, RetryDirective::Cancelled);
    }

    #[test]
    fn the_chain_of_causes_is_the_traceback() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot read the port")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let error = TaskError::from(Outer("x".parse::<i32>().unwrap_err()));
        assert_eq!(error.traceback(), Some("cannot read the port\ncaused by: invalid digit found in string"));
    }
}
