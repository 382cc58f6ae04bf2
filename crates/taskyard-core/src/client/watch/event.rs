//! The events of a watched task.

use jiff::Timestamp;
use serde::Serialize;

use super::super::Progress;
use crate::{Failure, TaskId, TaskState, WaitReason};

/// Type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The current state of the task; the first event of a new watch.
    Snapshot,
    /// The task reached a state that is not final.
    Status,
    /// An attempt ended, but not the task.
    Retry,
    /// The task reported progress. Only the latest report is returned.
    Progress,
    /// The task is done.
    Completed,
    /// The task failed for good: a dead letter.
    Failed,
    /// The task was cancelled, or expired.
    Cancelled,
    /// The task was stopped by a user; it may be retried.
    Stopped,
}

impl EventKind {
    /// Returns whether this is the last event of a task.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Stopped)
    }

    /// Returns the event type of a final state.
    #[must_use]
    pub const fn of_end(state: TaskState) -> Option<Self> {
        match state {
            TaskState::Done => Some(Self::Completed),
            TaskState::Failed => Some(Self::Failed),
            TaskState::Cancelled => Some(Self::Cancelled),
            TaskState::Stopped => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// An event of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Id of the task.
    pub task_id: TaskId,
    /// Sequence number of the event; the same in every process. A watch resumes after it.
    pub seq: u64,
    /// The new state of the task, as stored.
    pub state: TaskState,
    /// The state as web applications show it: `queued`, `scheduled`, `waiting`, `retrying`, `running`, `completed`,
    /// `failed`, `cancelled`, `expired`, `stopped`.
    pub status: &'static str,
    /// Reason for waiting.
    pub wait_reason: Option<WaitReason>,
    /// The attempt that the event is about (0 before the first).
    pub attempt: u32,
    /// Progress reported by the task.
    pub progress: Option<Progress>,
    /// The error, without traceback.
    pub error: Option<Failure>,
    /// Earliest start of the next attempt.
    pub run_at: Option<Timestamp>,
    /// When the task was added.
    pub created_at: Timestamp,
    /// When the attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When the attempt or the task ended.
    pub finished_at: Option<Timestamp>,
    /// Time of the event, as far as it is stored.
    pub ts: Timestamp,
}

/// Returns the state as web applications show it.
pub(super) fn status(
    state: TaskState,
    reason: Option<WaitReason>,
    error: Option<&Failure>,
    failures: u32,
) -> &'static str {
    match state {
        TaskState::Waiting => match reason {
            Some(WaitReason::Time) => "scheduled",
            // A snoozed task has not failed.
            Some(WaitReason::Retry) if failures > 0 => "retrying",
            Some(WaitReason::Retry) => "scheduled",
            _ => "waiting",
        },
        TaskState::Enqueued => "queued",
        TaskState::Doing => "running",
        TaskState::Stopped => "stopped",
        TaskState::Done => "completed",
        TaskState::Failed => "failed",
        TaskState::Cancelled if error.is_some_and(|error| error.error_type == "Expired") => "expired",
        TaskState::Cancelled => "cancelled",
    }
}
