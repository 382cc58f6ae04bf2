//! From how a body ended to what is written: retry or dead letter, snooze, release. The only place of that policy.

use taskyard_core::Failure;
use taskyard_core::store::{Claimed, Outcome};

use super::{Attempt, Interrupt};
use crate::task_error::Wish;
use crate::{BodyResult, TaskError};

/// How a body ended, as its executor saw it.
pub(crate) enum End {
    /// It returned.
    Returned(BodyResult),
    /// It panicked; the message, and where if that is known.
    Panicked(Failure),
    /// It was given up at its time limit.
    TimedOut,
    /// It was dropped because it was asked to end.
    Interrupted(Interrupt),
}

/// What the database is to be told.
pub(crate) fn judge(attempt: &Attempt, end: End) -> Outcome {
    let claimed = &attempt.claimed;
    match end {
        // A request to cancel or stop loses against nothing but a success that is written.
        End::Returned(Ok(_)) if attempt.interrupted() == Some(Interrupt::Asked) => Outcome::Interrupted,
        End::Returned(Ok(result)) => accept(attempt, result),
        End::Returned(Err(error)) => refuse(attempt, error),
        End::Panicked(failure) => retry_or_fail(claimed, TaskError::of(failure)),
        End::TimedOut | End::Interrupted(Interrupt::Timeout) => {
            retry_or_fail(claimed, TaskError::of(timed_out(attempt)))
        }
        End::Interrupted(Interrupt::Asked) => Outcome::Interrupted,
        // It had begun, or there would be nothing to interrupt.
        End::Interrupted(Interrupt::Release) => Outcome::CutShort,
    }
}

fn accept(attempt: &Attempt, result: Vec<u8>) -> Outcome {
    let max = attempt.engine.limits().result_bytes_max;
    if result.len() > max {
        let message = format!(
            "the result takes {} bytes, over the limit of {max} (setting result_bytes_max): store it elsewhere and \
             return its place, or raise the setting",
            result.len()
        );
        return Outcome::Failed(Failure::new("ResultTooLarge", message));
    }
    Outcome::Done { result }
}

fn refuse(attempt: &Attempt, error: TaskError) -> Outcome {
    let claimed = &attempt.claimed;
    match error.wish {
        Wish::Policy => retry_or_fail(claimed, error),
        Wish::Never => Outcome::Failed(error.into_failure()),
        Wish::Snooze(after) => Outcome::Snooze { after },
        Wish::After(after) if claimed.failures < claimed.retry.max_retries => {
            Outcome::Retry { after, error: error.into_failure() }
        }
        Wish::After(_) => Outcome::Failed(error.into_failure()),
        // The body saw the request and ended by itself.
        Wish::Cancelled => match attempt.interrupted() {
            Some(why) => judge(attempt, End::Interrupted(why)),
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
