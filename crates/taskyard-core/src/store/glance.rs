//! What somebody who watches tasks looks at, many at once and often: where each is, what its context says, and which of
//! its attempts have ended. Payloads and results are not read for it.

use crate::task::{AttemptOutcome, Failure};
use crate::{TaskId, TaskState, Timestamp, WaitReason};

/// One task to be looked at, and what the asker has seen of it, which need not be told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlanceAt {
    /// The task.
    pub id: TaskId,
    /// Ended attempts up to this number are known. The last one is told all the same.
    pub attempts_known: u32,
    /// [`Glance::context_revision`] as it was last told.
    pub context_known: Option<i64>,
}

/// A task as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// The task.
    pub id: TaskId,
    /// Where it is in its life.
    pub state: TaskState,
    /// Why it waits; only in `waiting`.
    pub wait_reason: Option<WaitReason>,
    /// Claims so far.
    pub attempt: u32,
    /// Attempts in which the body failed.
    pub failures: u32,
    /// When it was added.
    pub created_at: Timestamp,
    /// The earliest start, if one was given or a retry backs off.
    pub run_at: Option<Timestamp>,
    /// When its last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// The last failure, without its traceback.
    pub error: Option<Failure>,
    /// A number that differs when the context does; none without a context.
    pub context_revision: Option<i64>,
    /// The context's bytes, unless they are those that the asker knows.
    pub context: Option<Vec<u8>>,
    /// Ended attempts that are kept as rows, oldest first, above the number known; the last one in any case.
    pub ended: Vec<EndedAttempt>,
}

/// An attempt that has ended, as far as a watcher needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What went wrong, without its traceback.
    pub error: Option<Failure>,
}
