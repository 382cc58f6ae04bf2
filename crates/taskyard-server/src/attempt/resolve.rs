//! Maps the way a body ended to the outcome that is written: retry, dead letter, snooze or release. This policy exists
//! in no other place.

use taskyard_core::Failure;
use taskyard_core::store::{Claimed, Outcome};

use super::{Attempt, Interrupt};
use crate::attempt::task_error::RetryDirective;
use crate::{BodyResult, TaskError};

/// The end of a body, as observed by its executor.
pub(crate) enum End {
    /// The body returned.
    Returned(BodyResult),
    /// The body panicked. Contains the message, and the location if known.
    Panicked(Failure),
    /// The body was abandoned at its time limit.
    TimedOut,
    /// The body was dropped because of an interrupt.
    Interrupted(Interrupt),
}

/// Returns the outcome to write for this end.
pub(crate) fn resolve_outcome(attempt: &Attempt, end: End) -> Outcome {
    let claimed = &attempt.claimed;
    let end = match (end, attempt.failure_while_settling()) {
        // The body had failed; only its wait for additions was ended from outside.
        (End::TimedOut | End::Interrupted(_), Some(failure)) => End::Returned(Err(failure.clone())),
        (end, _) => end,
    };
    match end {
        // A requested cancel or stop takes precedence over a success that is not written yet.
        End::Returned(Ok(_)) if attempt.interrupted() == Some(Interrupt::Asked) => Outcome::Interrupted,
        End::Returned(Ok(result)) => accept(attempt, result),
        End::Returned(Err(error)) => refuse(attempt, error),
        End::Panicked(failure) => retry_or_fail(claimed, TaskError::of(failure)),
        End::TimedOut | End::Interrupted(Interrupt::Timeout) => {
            retry_or_fail(claimed, TaskError::of(timed_out(attempt)))
        }
        End::Interrupted(Interrupt::Asked) => Outcome::Interrupted,
        // A body that can be interrupted has begun, so the outcome is not a release.
        End::Interrupted(Interrupt::Release) => Outcome::CutShort,
    }
}

fn accept(attempt: &Attempt, result: Vec<u8>) -> Outcome {
    let max = attempt.host.limits().result_bytes_max;
    if result.len() > max {
        let message = format!(
            "the result takes {} bytes, over the limit of {max} (setting result_bytes_max): store it elsewhere and \
             return its location, or raise the setting",
            result.len()
        );
        return Outcome::Failed(Failure::new("ResultTooLarge", message));
    }
    Outcome::Done { result }
}

fn refuse(attempt: &Attempt, error: TaskError) -> Outcome {
    let claimed = &attempt.claimed;
    match error.directive {
        RetryDirective::Policy => retry_or_fail(claimed, error),
        RetryDirective::Never => Outcome::Failed(error.into_failure()),
        RetryDirective::Snooze(after) => Outcome::Snooze { after },
        RetryDirective::After(after) if claimed.failures < claimed.retry.max_retries => {
            Outcome::Retry { after, error: error.into_failure() }
        }
        RetryDirective::After(_) => Outcome::Failed(error.into_failure()),
        // The body noticed the request and ended by itself.
        RetryDirective::Cancelled => match attempt.interrupted() {
            Some(why) => resolve_outcome(attempt, End::Interrupted(why)),
            None => retry_or_fail(claimed, error),
        },
    }
}

pub(super) fn retry_or_fail(claimed: &Claimed, error: TaskError) -> Outcome {
    let pause = claimed.retry.next_pause(claimed.failures.saturating_add(1), &error.names(), rand::random::<f64>());
    let error = error.into_failure();
    match pause {
        Some(after) => Outcome::Retry { after, error },
        None => Outcome::Failed(error),
    }
}

fn timed_out(attempt: &Attempt) -> Failure {
    let limit = attempt.claimed.timeout.map_or(0.0, |timeout| timeout.as_secs_f64());
    let mut message = format!("the task did not end within its timeout of {limit} s");
    if attempt.is_settling() {
        message.push_str(": its body had ended, and tasks that it added were not stored by then");
    }
    Failure::new("TimeoutError", message)
}
