//! [`TaskFailure`], a [`TaskError`] that implements `std::error::Error`.
//!
//! Wrappers such as `anyhow::Error` hide the type of the error that they contain from a downcast, but not its source.
//! The source of a [`TaskFailure`] is therefore the carried error, which is found through any number of wrappers.

use std::error::Error as StdError;
use std::fmt;

use super::{CAUSES_MAX, RetryDirective, TaskError};

/// A [`TaskError`] that implements `std::error::Error`, so that `?` accepts it in functions that return
/// `anyhow::Error`, `Box<dyn Error>` or similar types; created by [`TaskError::into_error`]. A body that returns it,
/// also under further context, ends as if it had returned the `TaskError`.
///
/// ```
/// use std::time::Duration;
/// use taskyard::{TaskError, TaskFailure};
///
/// let failure: TaskFailure = TaskError::fail("no such user").into_error();
/// assert_eq!((failure.error_type(), failure.to_string().as_str()), ("Fail", "no such user"));
/// assert!(TaskError::snooze(Duration::from_secs(60)).into_error().is_snooze());
/// ```
#[derive(Clone)]
pub struct TaskFailure(Carried);

/// The error that a failure carries.
#[derive(Clone)]
struct Carried(TaskError);

impl TaskFailure {
    pub(super) fn new(error: TaskError) -> Self {
        Self(Carried(error))
    }

    /// Returns the name of the error's type.
    #[must_use]
    pub fn error_type(&self) -> &str {
        self.0.0.error_type()
    }

    /// Returns the message, one line of text.
    #[must_use]
    pub fn message(&self) -> &str {
        self.0.0.message()
    }

    /// Returns the chain of causes or the backtrace.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.0.0.traceback()
    }

    /// Returns true if the error requests a later run at no cost ([`TaskError::snooze`]); it is not a failure.
    #[must_use]
    pub fn is_snooze(&self) -> bool {
        matches!(self.0.0.directive, RetryDirective::Snooze(_))
    }

    /// Returns true if the body ended because of a cancellation; it is not a failure.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.0.directive == RetryDirective::Cancelled
    }

    /// Returns the carried error of the first failure among this error and its causes.
    pub(super) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TaskError> {
        let mut next = Some(error);
        for _ in 0..CAUSES_MAX {
            if let Some(carried) = next.and_then(Self::carried) {
                return Some(carried);
            }
            next = next?.source();
        }
        None
    }

    /// Returns the carried error if `source` is the source of a failure.
    pub(super) fn carried<'a>(source: &'a (dyn StdError + 'static)) -> Option<&'a TaskError> {
        source.downcast_ref::<Carried>().map(|carried| &carried.0)
    }
}

impl StdError for TaskFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.0, f)
    }
}

impl StdError for Carried {}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an error of type {}", self.0.error_type())
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
