//! A [`TaskError`] that is a `std::error::Error`.
//!
//! Wrappers such as `anyhow::Error` hide the type of the error that they hold from a downcast of their box, but not its source.
//! So the source of a [`TaskFailure`] is what it carries, and is found through any number of wrappers.

use std::error::Error as StdError;
use std::fmt;

use super::{CAUSES_MAX, TaskError, Wish};

/// A [`TaskError`] as a `std::error::Error`, so that `?` takes it in functions that return `anyhow::Error`, `Box<dyn Error>` or any
/// other that is made of errors; made by [`TaskError::into_error`]. A body that returns it, also under further context, ends as
/// one that returns the `TaskError`.
#[derive(Clone)]
pub struct TaskFailure(Carried);

/// What a failure carries.
#[derive(Clone)]
struct Carried(TaskError);

impl TaskFailure {
    pub(super) fn new(error: TaskError) -> Self {
        Self(Carried(error))
    }

    /// The name of the error's type.
    #[must_use]
    pub fn error_type(&self) -> &str {
        self.0.0.error_type()
    }

    /// One line for people.
    #[must_use]
    pub fn message(&self) -> &str {
        self.0.0.message()
    }

    /// The chain of causes or the backtrace.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.0.0.traceback()
    }

    /// Whether it asks to run later at no cost ([`TaskError::snooze`]): nothing has failed.
    #[must_use]
    pub fn is_snooze(&self) -> bool {
        matches!(self.0.0.wish, Wish::Snooze(_))
    }

    /// Whether the body has ended because it was asked to: nothing has failed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.0.wish == Wish::Cancelled
    }

    /// What a failure carries that is this error or one of its causes.
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

    /// What a failure carries whose source this is.
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
