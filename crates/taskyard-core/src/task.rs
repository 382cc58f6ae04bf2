//! A task before it is stored ([`NewTask`]), as it is read back ([`TaskRecord`]), and what it leaves behind.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::payload::shown;
use crate::retry::RetryPolicy;
use crate::state::{OnParentFailure, Runtime};
use crate::words::words;
use crate::{ServerId, TaskId, TaskState, Timestamp, WaitReason};

/// When a task may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Start {
    /// As soon as its parents are done.
    #[default]
    Now,
    /// This long after it was added, by the database's clock (the interval travels, not an instant).
    After(Duration),
    /// At this instant of the database's clock.
    At(Timestamp),
}

/// How long a unique key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UniqueHold {
    /// Until the task is done, failed, cancelled or stopped.
    UntilFinished,
    /// Until a server starts it.
    UntilStarted,
    /// This long after it was added, whatever becomes of it.
    For(Duration),
}

/// While the key is held, adding another task with it gives the existing one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// The key (at most 255 bytes); the caller scopes it.
    pub key: String,
    /// How long it is held.
    pub hold: UniqueHold,
}

/// A task to be added. Every field is decided: defaults were filled in by the process that adds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Made by the client.
    pub id: TaskId,
    /// The function's name: the path in Rust, `module:qualname` in Python.
    pub kind: String,
    /// Which servers may claim it.
    pub runtime: Runtime,
    /// A label for people; the kind if `None`.
    pub name: Option<String>,
    /// The named lane.
    pub queue: String,
    /// Higher first; first in, first out within one.
    pub priority: i32,
    /// JSON `{"args": [...], "kwargs": {...}}`, kept as these exact bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Encoded by the Python client, which escapes data: type tags in the payload are values. Otherwise the payload is
    /// plain JSON, and whatever looks like a tag is data.
    pub payload_encoded: bool,
    /// The first context, a JSON object.
    #[serde(with = "serde_bytes")]
    pub context: Option<Vec<u8>>,
    /// The same as `payload_encoded`, for the first context.
    pub context_encoded: bool,
    /// Tasks that must be done first, without doubles.
    pub parents: Vec<TaskId>,
    /// What happens to it when one of them fails.
    pub on_parent_failure: OnParentFailure,
    /// When it may start.
    pub start: Start,
    /// Cancelled if it has not started this long after it was added.
    pub expires: Option<Duration>,
    /// Retries, backoff, which errors.
    pub retry: RetryPolicy,
    /// The longest one attempt may take; `None` = no limit.
    pub timeout: Option<Duration>,
    /// At most one at a time with this key.
    pub unique: Option<Unique>,
    /// Removed 60 s after it finished and its children ended.
    pub auto_remove: bool,
    /// The first crash or loss makes it a dead letter instead of a second run.
    pub at_most_once: bool,
    /// Labels for filters.
    pub tags: Vec<String>,
}

impl NewTask {
    /// A task with every option at its default.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: Vec<u8>) -> Self {
        Self {
            id: TaskId::generate(),
            kind: kind.into(),
            runtime: Runtime::Rust,
            name: None,
            queue: "default".into(),
            priority: 0,
            payload,
            payload_encoded: false,
            context: None,
            context_encoded: false,
            parents: Vec::new(),
            on_parent_failure: OnParentFailure::Fail,
            start: Start::Now,
            expires: None,
            retry: RetryPolicy::default(),
            timeout: Some(Duration::from_secs(300)),
            unique: None,
            auto_remove: false,
            at_most_once: false,
            tags: Vec::new(),
        }
    }

    /// Which of its parts are plain JSON, as the stores keep it: bits of the module `plain`.
    #[must_use]
    pub fn plain_parts(&self) -> i16 {
        let payload = if self.payload_encoded { 0 } else { plain::PAYLOAD };
        let context = if self.context_encoded { 0 } else { plain::CONTEXT };
        payload | context
    }

    /// Another task stands in for some of its parents, where they are named and where their results are arguments: each is
    /// asked for by `stands_in`. Doubles go.
    pub fn rename_parents(&mut self, stands_in: impl Fn(TaskId) -> TaskId) {
        let mut seen = std::collections::HashSet::new();
        for parent in std::mem::take(&mut self.parents) {
            let other = stands_in(parent);
            if other != parent {
                crate::payload::references::rename(&mut self.payload, parent, other);
            }
            if seen.insert(other) {
                self.parents.push(other);
            }
        }
    }

    /// Roughly what it occupies in memory, for the bound on waiting additions.
    #[must_use]
    pub fn weight(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.kind.len()
            + self.queue.len()
            + self.payload.len()
            + self.context.as_ref().map_or(0, Vec::len)
            + self.parents.len() * 16
    }
}

/// How the stores keep which parts of a task are plain JSON: bits of one number, 0 for rows from before there were any.
pub mod plain {
    /// The payload is plain JSON.
    pub const PAYLOAD: i16 = 1;
    /// The result is plain JSON. (That of a Rust task always is.)
    pub const RESULT: i16 = 2;
    /// A database role that may only add tasks added it.
    pub const RESTRICTED: i16 = 4;
    /// The first context is plain JSON.
    pub const CONTEXT: i16 = 8;
}

/// How a body, or the engine in its place, says that an attempt went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error's type, as the body's language names it, or one of ours: `TimeoutError`, `ParentTaskFailed`,
    /// `WorkerDied`, `ServerLost`, `Panicked`, `ResultTooLarge`, `Expired`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// One line for people.
    pub message: String,
    /// Traceback, chain of causes or backtrace, as text.
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure without a traceback.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error_type: error_type.into(), message: message.into(), traceback: None }
    }
}

/// A task as stored. Both stores give the same record for the same history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// The function's name.
    pub kind: String,
    /// The language.
    pub runtime: Runtime,
    /// The label, the kind if none was given.
    pub name: String,
    /// The named lane.
    pub queue: String,
    /// Higher first.
    pub priority: i32,
    /// Where it is in its life.
    pub state: TaskState,
    /// Why it waits; only in `waiting`.
    pub wait_reason: Option<WaitReason>,
    /// What it waits for, in words: the unknown kind, the parent's state.
    pub waiting_for: Option<String>,
    /// Claims so far (a released or parked one is not counted).
    pub attempt: u32,
    /// Attempts in which the body failed.
    pub failures: u32,
    /// Attempts lost with their server.
    pub lost: u32,
    /// Deaths of a worker that ran nothing else.
    pub crashes: u32,
    /// Its next attempt runs with nothing beside it in its worker.
    pub alone: bool,
    /// A cancel was asked for and not yet carried out.
    pub cancel_requested: bool,
    /// Why, if whoever cancelled it, or asked for it, said so.
    pub cancel_reason: Option<String>,
    /// A stop was asked for and not yet carried out.
    pub stop_requested: bool,
    /// The arguments' exact bytes.
    #[serde(serialize_with = "bytes_as_json")]
    pub payload: Vec<u8>,
    /// Type tags in the payload are values, see [`NewTask::payload_encoded`].
    pub payload_encoded: bool,
    /// The result's exact bytes (JSON), in `done`.
    #[serde(serialize_with = "optional_bytes_as_json")]
    pub result: Option<Vec<u8>>,
    /// Type tags in the result are values: a Python worker encoded it.
    pub result_encoded: bool,
    /// Type tags in the context are values; also of a task that has none.
    pub context_encoded: bool,
    /// The last failure.
    pub error: Option<Failure>,
    /// Its parents, in the order given.
    pub parents: Vec<TaskId>,
    /// What happens to it when one of them fails.
    pub on_parent_failure: OnParentFailure,
    /// The task whose failure or cancellation took this one down.
    pub fallen_from: Option<TaskId>,
    /// Retries and backoff.
    pub retry: RetryPolicy,
    /// The longest one attempt may take, in milliseconds; `None` = no limit.
    pub timeout_ms: Option<u64>,
    /// Labels.
    pub tags: Vec<String>,
    /// Removed soon after it finished.
    pub auto_remove: bool,
    /// Never run twice.
    pub at_most_once: bool,
    /// The unique key it was added with.
    pub unique_key: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// The earliest start, if one was given or a retry backs off.
    pub run_at: Option<Timestamp>,
    /// When it must have started.
    pub expires_at: Option<Timestamp>,
    /// When its last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// The server that runs, or last ran it.
    pub server: Option<ServerId>,
}

/// The exact bytes; only a serializer of `serde_json` that writes text keeps them.
fn bytes_as_json<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    shown::stored(bytes).serialize(serializer)
}

fn optional_bytes_as_json<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => bytes_as_json(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

words! {
    /// How one attempt ended.
    AttemptOutcome "outcome" {
        /// It still runs.
        Doing = "doing",
        /// The body returned.
        Done = "done",
        /// The body failed.
        Failed = "failed",
        /// Its server was lost.
        Lost = "lost",
        /// Its worker died.
        Crashed = "crashed",
        /// The body asked to be run later.
        Snoozed = "snoozed",
        /// A person stopped it.
        Stopped = "stopped",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

/// One run of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// The attempt's number, from 1.
    pub number: u32,
    /// The server that ran it.
    pub server: Option<ServerId>,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What went wrong.
    pub error: Option<Failure>,
}

/// One line that a task logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Python's numbers: 10 debug, 20 info, 30 warning, 40 error, 50 critical (5 = Rust's trace).
    pub level: i16,
    /// The logger's name, or the Rust target.
    pub logger: String,
    /// The message.
    pub message: String,
    /// Structured fields, a JSON object.
    pub fields: Option<Vec<u8>>,
    /// Traceback text.
    pub traceback: Option<String>,
}

/// A line with where and when it was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredLogLine {
    /// Grows with every line of the database; `logs -f` resumes after the last one it has.
    pub sequence: i64,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

impl StoredLogLine {
    /// The line for programs: its fields as the object that they are.
    #[must_use]
    pub fn to_json(&self) -> shown::Object {
        shown::Object::from([
            ("sequence", shown::value(&self.sequence)),
            ("attempt", shown::value(&self.attempt)),
            ("created_at", shown::value(&self.created_at)),
            ("level", shown::value(&self.line.level)),
            ("logger", shown::value(&self.line.logger)),
            ("message", shown::value(&self.line.message)),
            ("fields", self.line.fields.as_deref().map_or_else(|| shown::value(&()), shown::stored)),
            ("traceback", shown::value(&self.line.traceback)),
        ])
    }
}
