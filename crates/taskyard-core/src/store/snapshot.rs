//! Snapshots of tasks for watchers, which read many at once and often: state, context, and the attempts that have
//! ended. Payloads and results are not read.

use crate::task::{AttemptOutcome, Failure};
use crate::{TaskId, TaskState, Timestamp, WaitReason};

/// Requests a snapshot of a task, without the parts that the watcher already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The task.
    pub id: TaskId,
    /// Ended attempts up to this number are omitted, except the last one.
    pub attempts_known: u32,
    /// [`TaskSnapshot::context_revision`] of the context that the watcher has.
    pub context_known: Option<i64>,
}

/// Snapshot of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSnapshot {
    /// The task.
    pub id: TaskId,
    /// Current state.
    pub state: TaskState,
    /// Reason for waiting; only in `waiting`.
    pub wait_reason: Option<WaitReason>,
    /// Number of claims.
    pub attempt: u32,
    /// Attempts in which the body failed.
    pub failures: u32,
    /// When it was added.
    pub created_at: Timestamp,
    /// Earliest start, if one was given or a retry backs off.
    pub run_at: Option<Timestamp>,
    /// When its last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// The last failure, without its traceback.
    pub error: Option<Failure>,
    /// A number that changes with the context; `None` without a context.
    pub context_revision: Option<i64>,
    /// The context's bytes; `None` if the watcher has them.
    pub context: Option<Vec<u8>>,
    /// Ended attempts with rows of their own, oldest first, above the requested number; always includes the last one.
    pub ended: Vec<EndedAttempt>,
}

/// An attempt that has ended, with the data a watcher needs.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedAttempt {
    /// Attempt number, from 1.
    pub number: u32,
    /// Outcome of the attempt.
    pub outcome: AttemptOutcome,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Error, without the traceback.
    pub error: Option<Failure>,
}
