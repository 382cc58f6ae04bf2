//! The stored form of an attempt's end: as columns, and as a row if it was set aside.

use std::time::Duration;

use super::{Finish, Outcome};
use crate::Timestamp;
use crate::task::Failure;

/// The end of an attempt that the row of its task does not accept, set aside with the database's reason.
#[derive(Clone, Debug, PartialEq)]
pub struct EndAside {
    /// The end, without log lines.
    pub finish: Finish,
    /// The database's message.
    pub reason: String,
    /// When it was first set aside.
    pub since: Timestamp,
}

/// An [`Outcome`] as columns, the same in every store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutcomeColumns {
    /// Code of the outcome.
    pub code: i16,
    /// The result of a successful attempt.
    pub result: Option<Vec<u8>>,
    /// The pause in microseconds.
    pub after_us: Option<i64>,
    /// The error type.
    pub error_type: Option<String>,
    /// The error's message, or the reason of a parked task.
    pub error_message: Option<String>,
    /// The error's traceback.
    pub error_traceback: Option<String>,
}

impl From<&Outcome> for OutcomeColumns {
    fn from(outcome: &Outcome) -> Self {
        let pause = |after: &Duration| Some(i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
        let (code, after_us, error) = match outcome {
            Outcome::Done { .. } => (0, None, None),
            Outcome::Failed(error) => (1, None, Some(error)),
            Outcome::Retry { after, error } => (2, pause(after), Some(error)),
            Outcome::Snooze { after } => (3, pause(after), None),
            Outcome::Released => (4, None, None),
            // Stored as parked, which programs of any version can read.
            Outcome::Parked { .. } | Outcome::Refused { .. } => (5, None, None),
            Outcome::Crashed(error) => (6, None, Some(error)),
            Outcome::Beside => (7, None, None),
            Outcome::Interrupted => (8, None, None),
            Outcome::Expired => (9, None, None),
            Outcome::CutShort => (10, None, None),
            Outcome::Lost(error) => (11, None, Some(error)),
        };
        Self {
            code,
            result: if let Outcome::Done { result } = outcome { Some(result.clone()) } else { None },
            after_us,
            error_type: error.map(|error| error.error_type.clone()),
            error_message: match outcome {
                Outcome::Parked { reason } | Outcome::Refused { reason, .. } => Some(reason.clone()),
                _ => error.map(|error| error.message.clone()),
            },
            error_traceback: error.and_then(|error| error.traceback.clone()),
        }
    }
}

impl OutcomeColumns {
    /// Returns the outcome; `None` for an unknown code.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        let after = Duration::from_micros(u64::try_from(self.after_us.unwrap_or(0)).unwrap_or(0));
        let error = Failure {
            error_type: self.error_type.unwrap_or_default(),
            message: self.error_message.unwrap_or_default(),
            traceback: self.error_traceback,
        };
        Some(match self.code {
            0 => Outcome::Done { result: self.result.unwrap_or_default() },
            1 => Outcome::Failed(error),
            2 => Outcome::Retry { after, error },
            3 => Outcome::Snooze { after },
            4 => Outcome::Released,
            5 => Outcome::Parked { reason: error.message },
            6 => Outcome::Crashed(error),
            7 => Outcome::Beside,
            8 => Outcome::Interrupted,
            9 => Outcome::Expired,
            10 => Outcome::CutShort,
            11 => Outcome::Lost(error),
            _ => return None,
        })
    }
}
