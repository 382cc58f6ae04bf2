//! The seven states of a task and what may follow what.
//!
//! ```text
//!             parents done, time come, unparked
//!   waiting ─────────────────────────────────► enqueued ◄───────────── released, rescued
//!      │  ▲ ◄──────── parked ─────────────────── │  │ claim                    │
//!      │  └────────── retry, snooze ──────────┐  │  ▼                          │
//!      │                                      └── doing ───────────────────────┘
//!      ▼ parent fell, cancel                        │
//!   failed, cancelled ◄─────────────────────────────┼──► done, failed, stopped, cancelled
//!      └── retry by a person ──► enqueued or waiting (same row, same id; also from stopped)
//! ```
//!
//! A state is stored as the small number in [`TaskState::code`]; both stores use the same numbers.

use crate::words::words;

words! {
    /// Where a task is in its life.
    #[derive(PartialOrd, Ord)]
    TaskState "state" {
        /// Not runnable yet; [`WaitReason`] says why.
        Waiting = "waiting",
        /// Runnable now.
        Enqueued = "enqueued",
        /// Claimed under a live lease.
        Doing = "doing",
        /// A person stopped the run; kept for a manual retry.
        Stopped = "stopped",
        /// The function returned; its result is stored.
        Done = "done",
        /// Retries are spent, a parent failed, or it killed its worker too often: a dead letter.
        Failed = "failed",
        /// Cancelled before or during its run, or expired before it started.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether `wait()` ends here: nothing but a person's retry leaves this state.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Done | Self::Failed | Self::Cancelled)
    }
}

words! {
    /// Why a task is [`TaskState::Waiting`]. A task has one reason at a time; unfinished parents come first, then the time.
    WaitReason "reason to wait" {
        /// A parent is unfinished.
        Parents = "parent unfinished",
        /// Its start time is ahead.
        Time = "start time ahead",
        /// A retry backs off, or the body snoozed.
        Retry = "backing off",
        /// No server knows its kind, key or runtime version.
        Parked = "parked",
        /// Added inside a caller's transaction with parents; the engine settles it after the commit.
        Unsettled = "parents being settled",
    }
}

words! {
    /// What a child does when a parent of it fails or is cancelled for good.
    #[derive(Default)]
    OnParentFailure "on_parent_failure" {
        /// It falls with the parent: failed under a failed one, cancelled under a cancelled one.
        #[default]
        Fail = "fail",
        /// It runs all the same (a clean-up, a report).
        Run = "run",
        /// It keeps waiting until someone retries the parent.
        Wait = "wait",
    }
}

words! {
    /// The language a task is written in; a server claims its own only.
    #[derive(Default)]
    Runtime "runtime" {
        /// A Rust function in a server's own process.
        #[default]
        Rust = "rust",
        /// A Python function in a child process.
        Python = "python",
    }
}
