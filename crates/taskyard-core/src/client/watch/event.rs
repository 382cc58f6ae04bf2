//! What a watcher is told.

use jiff::Timestamp;
use serde::Serialize;

use super::super::Progress;
use crate::{Failure, TaskId, TaskState, WaitReason};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Where the task is, for one who knows nothing yet.
    Snapshot,
    /// It came to a state that does not end it.
    Status,
    /// An attempt ended, and did not end the task.
    Retry,
    /// It says that it got further. Only the latest is told.
    Progress,
    /// It is done.
    Completed,
    /// It failed for good: a dead letter.
    Failed,
    /// It was cancelled, or expired.
    Cancelled,
    /// A person stopped it; it may be retried.
    Stopped,
}

impl EventKind {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Stopped)
    }

    /// The kind that tells of a final state.
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

/// One event of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// To whom.
    pub task_id: TaskId,
    /// Its place among the task's events; the same in every process. A watch resumes after it.
    pub seq: u64,
    /// The state that the task came to, as stored.
    pub state: TaskState,
    /// The same as web applications show it: `queued`, `scheduled`, `waiting`, `retrying`, `running`, `completed`,
    /// `failed`, `cancelled`, `expired`, `stopped`.
    pub status: &'static str,
    /// Why it waits.
    pub wait_reason: Option<WaitReason>,
    /// The attempt that it tells of (0 before the first).
    pub attempt: u32,
    /// How far the task says it is.
    pub progress: Option<Progress>,
    /// What went wrong, without traceback.
    pub error: Option<Failure>,
    /// The earliest start of the next attempt.
    pub run_at: Option<Timestamp>,
    /// When the task was added.
    pub created_at: Timestamp,
    /// When the attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it happened, as far as that is stored.
    pub ts: Timestamp,
}

/// The word for a state that web applications show.
pub(super) fn status(
    state: TaskState,
    reason: Option<WaitReason>,
    error: Option<&Failure>,
    failures: u32,
) -> &'static str {
    match state {
        TaskState::Waiting => match reason {
            Some(WaitReason::Time) => "scheduled",
            // One that snoozed has not failed.
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
