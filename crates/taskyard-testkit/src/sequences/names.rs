//! Translates the model's numbers into the store's names, and back.

use std::collections::HashMap;
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store;
use taskyard_core::task::{self, Failure, LogLine, NewTask, UniqueHold};
use taskyard_core::time::from_micros;
use taskyard_core::{ClaimId, ServerId, TaskId, Timestamp};

use crate::model::{Addition, Blame, ClaimNo, Hold, Outcome, QueueNo, ServerNo, Start, TaskNo, Token};

/// Instant of the model's second 0: 2030-01-01 in microseconds.
const START_MICROS: i64 = 1_893_456_000_000_000;

/// The real names of the model's numbers: each number is an index.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) tasks: Vec<TaskId>,
    pub(super) servers: Vec<ServerId>,
    pub(super) claims: Vec<ClaimId>,
    pub(super) tokens: HashMap<Token, taskyard_core::Token>,
}

/// Returns a second of the model as an instant.
pub(super) fn instant(second: i64) -> Timestamp {
    from_micros(START_MICROS + second * 1_000_000).expect("the model's seconds are few")
}

/// Returns a length of the model as a duration.
pub(super) fn seconds(length: i64) -> Duration {
    Duration::from_secs(u64::try_from(length).expect("lengths are not negative"))
}

pub(super) fn queue(number: QueueNo) -> String {
    if number.0 == 0 { "default".into() } else { format!("queue-{}", number.0) }
}

pub(super) fn runtime(python: bool) -> Runtime {
    if python { Runtime::Python } else { Runtime::Rust }
}

pub(super) fn key(number: u8) -> String {
    format!("key-{number}")
}

pub(super) fn parked(number: u8) -> String {
    format!("kind `missing::{number}`")
}

pub(super) fn context(number: u8) -> Vec<u8> {
    format!("{{\"step\":{number}}}").into_bytes()
}

pub(super) fn result(number: u8) -> Vec<u8> {
    format!("[{number}]").into_bytes()
}

pub(super) fn lines(count: u8) -> Vec<LogLine> {
    let line = |number| LogLine {
        level: 20,
        logger: "sequence".into(),
        message: format!("line {number}"),
        fields: None,
        traceback: None,
    };
    (0..count).map(line).collect()
}

/// Returns the error of a body that fails with this number.
pub(super) fn failure(number: u8) -> Failure {
    Failure {
        error_type: format!("Error{number}"),
        message: format!("it broke: {number}"),
        traceback: Some(format!("trace {number}")),
    }
}

impl Names {
    pub(super) fn task(&self, number: TaskNo) -> TaskId {
        self.tasks[usize::from(number.0)]
    }

    pub(super) fn task_number(&self, id: TaskId) -> Option<TaskNo> {
        self.tasks.iter().position(|known| *known == id).map(|at| TaskNo(at as u16))
    }

    pub(super) fn server(&self, number: ServerNo) -> ServerId {
        self.servers[usize::from(number.0)]
    }

    pub(super) fn claim(&self, number: ClaimNo) -> ClaimId {
        self.claims[usize::from(number.0)]
    }

    /// Returns the texts of a task's error fields.
    pub(super) fn blame(&self, blame: Blame) -> Failure {
        let died = |message: &str, given: Option<u8>| Failure {
            traceback: given.and_then(|given| failure(given).traceback),
            ..Failure::new("WorkerDied", message)
        };
        match blame {
            Blame::Given(number) => failure(number),
            Blame::ParentFailed(root) => {
                Failure::new("ParentTaskFailed", format!("parent task {} failed", self.task(root)))
            }
            Blame::ParentCancelled(root) => {
                Failure::new("ParentTaskCancelled", format!("parent task {} was cancelled", self.task(root)))
            }
            Blame::DiedThrice(given) => died("worker died 3 times", given),
            Blame::DiedOnce(given) => died("worker died and the task may run only once", given),
            Blame::LostOnce => Failure::new("ServerLost", "server was lost and the task may run only once"),
            Blame::Lost(server) => Failure::new("ServerLost", format!("server {} was lost", self.server(server))),
            Blame::CutShort => Failure::new("CutShort", "the task was cut short and may run only once"),
            Blame::Expired => Failure::new("Expired", "the task expired before it started"),
            Blame::KeyHeld(holder) => {
                let holder = self.task(holder);
                Failure::new(
                    "UniqueKeyHeld",
                    format!("not retried with its parent: its unique key is held by task {holder}"),
                )
            }
        }
    }

    /// Returns a new task as the store takes it.
    pub(super) fn addition(&self, new: &Addition) -> NewTask {
        let hold = |hold| match hold {
            Hold::Finished => UniqueHold::UntilFinished,
            Hold::Started => UniqueHold::UntilStarted,
            Hold::For(length) => UniqueHold::For(seconds(length)),
        };
        NewTask {
            id: self.task(new.id),
            runtime: runtime(new.python),
            queue: queue(new.queue),
            priority: new.priority.into(),
            context: new.context.map(context),
            payload_encoded: new.python,
            parents: new.parents.iter().map(|parent| self.task(*parent)).collect(),
            on_parent_failure: new.on_parent_failure,
            start: match new.start {
                Start::Now => task::Start::Now,
                Start::After(length) => task::Start::After(seconds(length)),
                Start::At(second) => task::Start::At(instant(second)),
            },
            expires: new.expires.map(seconds),
            unique: new.unique.map(|(number, held)| task::Unique { key: key(number.0), hold: hold(held) }),
            auto_remove: new.auto_remove,
            at_most_once: new.at_most_once,
            ..NewTask::new("sequence", b"{\"args\":[],\"kwargs\":{}}".to_vec())
        }
    }
}

/// Returns an end of an attempt as the store takes it.
pub(super) fn outcome(outcome: Outcome) -> store::Outcome {
    match outcome {
        Outcome::Done(number) => store::Outcome::Done { result: result(number) },
        Outcome::Failed(number) => store::Outcome::Failed(failure(number)),
        Outcome::Retry { after, error } => store::Outcome::Retry { after: seconds(after), error: failure(error) },
        Outcome::Snooze { after } => store::Outcome::Snooze { after: seconds(after) },
        Outcome::Released => store::Outcome::Released,
        Outcome::CutShort => store::Outcome::CutShort,
        Outcome::Parked(number) => store::Outcome::Parked { reason: parked(number) },
        Outcome::Refused => store::Outcome::Refused { reason: parked(0), build: String::new() },
        Outcome::Crashed(number) => store::Outcome::Crashed(failure(number)),
        Outcome::Beside => store::Outcome::Beside,
        Outcome::Interrupted => store::Outcome::Interrupted,
        Outcome::Expired => store::Outcome::Expired,
        Outcome::Lost(number) => store::Outcome::Lost(failure(number)),
    }
}
