//! Logs failed attempts: a warning if the task runs again, an error once it is a dead letter.
//!
//! The line is written after the end is stored, because the store decides what follows a crash. Errors raised by a body
//! in a child process are not logged here: the child logs them with their traceback
//! ([`super::Attempt::log_elsewhere`]).
//!
//! Reasons for parking are logged here too, once each: [`ParkedLog`].

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::SystemTime;

use taskyard_core::seal::key_of_reason;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Claimed, Finish, Outcome, WriteReply};
use taskyard_core::{Namespace, TaskState, Timestamp};

use crate::attempt::parked_reason::kind_of_reason;
use crate::primitives::lock::lock;

/// Maximum number of parking reasons that are logged; bounded because names in rows may be arbitrary.
const REASONS_MAX: usize = 100;

/// The data of the log line that the end itself does not contain.
#[derive(Debug)]
pub(crate) struct FailureLog {
    kind: String,
    attempt: u32,
    next: Option<Timestamp>,
}

impl FailureLog {
    /// Returns `None` if this outcome is not a failure.
    pub fn of(claimed: &Claimed, outcome: &Outcome) -> Option<Box<Self>> {
        let next = match outcome {
            Outcome::Retry { after, .. } => Timestamp::try_from(SystemTime::now() + *after).ok(),
            Outcome::Failed(_) | Outcome::Crashed(_) | Outcome::Lost(_) | Outcome::Beside | Outcome::CutShort => None,
            _ => return None,
        };
        Some(Box::new(Self { kind: claimed.kind.clone(), attempt: claimed.attempt, next }))
    }

    /// Logs the end of an attempt after the store has accepted it with `reply`.
    pub fn write(&self, finish: &Finish, reply: WriteReply) {
        let (WriteReply::Applied(state) | WriteReply::AlreadyApplied(state)) = reply else { return };
        let is_dead = state == TaskState::Failed;
        let (error_type, error) = match &finish.outcome {
            Outcome::Failed(error) | Outcome::Retry { error, .. } | Outcome::Crashed(error) | Outcome::Lost(error) => {
                (error.error_type.as_str(), error.message.as_str())
            }
            Outcome::Beside => ("WorkerDied", "the worker died while it ran this task and others; it runs alone next"),
            Outcome::CutShort if is_dead => ("CutShort", "its body was ended, and the task may run only once"),
            _ => return,
        };
        let (task, kind, attempt) = (finish.id, self.kind.as_str(), self.attempt);
        if is_dead {
            tracing::error!(%task, kind, attempt, error_type, error, "a task has failed for good");
        } else if let (TaskState::Waiting, Some(next)) = (state, self.next) {
            tracing::warn!(%task, kind, attempt, error_type, error, %next, "an attempt failed; the task runs again");
        } else if matches!(state, TaskState::Waiting | TaskState::Enqueued) {
            tracing::warn!(%task, kind, attempt, error_type, error, "an attempt failed; the task runs again at once");
        }
    }
}

/// The reasons for parking that this server has already logged.
#[derive(Debug)]
pub(crate) struct ParkedLog {
    /// Fingerprint of the functions of this process.
    rust_build: String,
    namespace: Option<Namespace>,
    logged: Mutex<HashSet<String>>,
}

impl ParkedLog {
    pub fn new(rust_build: String, namespace: Option<Namespace>) -> Self {
        Self { rust_build, namespace, logged: Mutex::default() }
    }

    /// Logs the reason if the outcome parks the task.
    pub fn note(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused { reason, build } if *build == self.rust_build => self.write(reason, Runtime::Rust),
            Outcome::Refused { reason, .. } | Outcome::Parked { reason } => self.write(reason, Runtime::Python),
            _ => {}
        }
    }

    /// Logs, the first time only, a reason for which tasks cannot run here and how to fix it.
    fn write(&self, reason: &str, runtime: Runtime) {
        {
            let mut logged = lock(&self.logged);
            if logged.len() > REASONS_MAX || !logged.insert(reason.to_owned()) {
                return;
            }
            if logged.len() > REASONS_MAX {
                tracing::warn!(
                    "tasks are parked for more than {REASONS_MAX} reasons; further ones are not logged (`taskyard queue status` \
                     shows them)"
                );
                return;
            }
        }
        if let Some(kind) = kind_of_reason(reason) {
            let (program, load) = match runtime {
                Runtime::Python => ("application", "load it by --app, or name its module by --include"),
                Runtime::Rust => ("program", "link the crate that declares it (`use my_tasks as _;`)"),
            };
            let named =
                self.namespace.as_ref().map_or_else(String::new, |name| format!(", whose namespace is `{name}`,"));
            tracing::warn!(
                "this {program}{named} has no function `{kind}`; its tasks wait for a server that has: {load}"
            );
        } else if key_of_reason(reason).is_some() {
            tracing::warn!(
                "tasks wait for a server with {reason}: give this server the secret that their client signs with, as \
                 TASKYARD_SECRET or in TASKYARD_SECRETS_ACCEPTED"
            );
        } else if let Some(version) = reason.strip_prefix("python ") {
            tracing::warn!(
                "tasks wait for a server that runs Python {version}, with which their values were serialised"
            );
        } else {
            tracing::warn!("tasks are parked: {reason}");
        }
    }
}
