//! The seven states of a task and the transitions between them.
//!
//! ```text
//!             parents done, time come, unparked
//!   waiting ─────────────────────────────────► enqueued ◄───────────── released, rescued
//!      │  ▲ ◄──────── parked ─────────────────── │  │ claim                    │
//!      │  └────────── retry, snooze ──────────┐  │  ▼                          │
//!      │                                      └── doing ───────────────────────┘
//!      ▼ parent failed, cancel                      │
//!   failed, cancelled ◄─────────────────────────────┼──► done, failed, stopped, cancelled
//!      └── manual retry ───────► enqueued or waiting (same row, same id; also from stopped)
//! ```
//!
//! A state is stored as the small integer of [`TaskState::code`]; both stores use the same numbers.

use crate::words::words;

words! {
    /// The state of a task.
    #[derive(PartialOrd, Ord)]
    TaskState {
        /// Not runnable yet, for a [`WaitReason`].
        Waiting = "waiting",
        /// Runnable now.
        Enqueued = "enqueued",
        /// Claimed by a server under a live lease.
        Doing = "doing",
        /// Stopped by a user during its run; can be retried by hand.
        Stopped = "stopped",
        /// The function returned, and its result is stored.
        Done = "done",
        /// Retries are exhausted, a parent failed, or the task killed its worker too often: a dead letter.
        Failed = "failed",
        /// Cancelled before or during its run, or expired before it started.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Returns whether `wait()` ends in this state. Only a manual retry leaves it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Done | Self::Failed | Self::Cancelled)
    }
}

words! {
    /// Why a task is [`TaskState::Waiting`]. A task has one reason at a time; unfinished parents take precedence over
    /// the time.
    WaitReason {
        /// A parent is unfinished.
        Parents = "parent unfinished",
        /// Start time is in the future.
        Time = "start time ahead",
        /// A retry backs off, or the body snoozed.
        Retry = "backing off",
        /// No server supports its kind, key or runtime version.
        Parked = "parked",
        /// Added inside a caller's transaction with parents; the engine settles it after the commit.
        Unsettled = "parents being settled",
    }
}

words! {
    /// Behaviour of a child whose parent fails or is cancelled for good.
    #[derive(Default)]
    OnParentFailure {
        /// Ends with the parent: failed under a failed one, cancelled under a cancelled one.
        #[default]
        Fail = "fail",
        /// Runs all the same (a clean-up, a report).
        Run = "run",
        /// Keeps waiting until the parent is retried.
        Wait = "wait",
    }
}

words! {
    /// The language a task is written in. A server claims only tasks of its own runtimes.
    #[derive(Default)]
    Runtime {
        /// A Rust function in a server's own process.
        #[default]
        Rust = "rust",
        /// A Python function in a child process.
        Python = "python",
    }
}
