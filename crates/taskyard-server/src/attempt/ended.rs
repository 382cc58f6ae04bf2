//! [`Ended`]: the end of an attempt on its way to the database.

use std::time::Instant;

use taskyard_core::store::{Finish, Outcome, WriteReply};
use taskyard_core::task::LogLine;
use taskyard_core::{ClaimId, Error};
use tokio::sync::oneshot;

use super::FailureLog;

/// The end of an attempt that is to be written.
#[derive(Debug)]
pub(crate) struct Ended {
    pub finish: Finish,
    pub claim: ClaimId,
    /// Receives the store's reply.
    pub answer: Option<oneshot::Sender<WriteReply>>,
    /// The error of the database, if this end was refused by itself. Boxed: ends are moved often and refused rarely.
    pub refusal: Option<Box<Refusal>>,
    /// Logged once the end is stored, if it is a failure that is not logged elsewhere.
    pub failure: Option<Box<FailureLog>>,
}

/// An end that the database refuses although nothing else is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// When the end was first refused by itself, and how many ends this server had written by then.
    pub since: (Instant, u64),
    pub error: Error,
}

impl Ended {
    /// Takes the end out and leaves one that writes nothing.
    pub fn take_finish(&mut self) -> Finish {
        let (id, token) = (self.finish.id, self.finish.token);
        let nothing = Finish { id, token, outcome: Outcome::Released, context: None, logs: Vec::new() };
        std::mem::replace(&mut self.finish, nothing)
    }

    /// Logs a failure that was stored as `finish` with this reply.
    pub fn log_failure(&self, finish: &Finish, reply: WriteReply) {
        if let Some(failure) = &self.failure {
            failure.write(finish, reply);
        }
    }

    /// Returns the approximate size in bytes of the end in a statement.
    pub fn weight(&self) -> usize {
        let outcome = match &self.finish.outcome {
            Outcome::Done { result } => result.len(),
            Outcome::Failed(error) | Outcome::Retry { error, .. } | Outcome::Crashed(error) => {
                error.message.len() + error.traceback.as_ref().map_or(0, String::len)
            }
            _ => 0,
        };
        let logs: usize = self.finish.logs.iter().map(line_bytes).sum();
        64 + outcome + logs + self.finish.context.as_ref().map_or(0, Vec::len)
    }
}

/// Returns the size in bytes that a line counts against the limits.
pub(crate) fn line_bytes(line: &LogLine) -> usize {
    line.message.len()
        + line.logger.len()
        + line.fields.as_ref().map_or(0, Vec::len)
        + line.traceback.as_ref().map_or(0, String::len)
}
