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

use serde::{Deserialize, Serialize};

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

/// Why a task is [`TaskState::Waiting`]. A task has one reason at a time; unfinished parents come first, then the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// A parent is unfinished.
    Parents,
    /// Its start time is ahead.
    Time,
    /// A retry backs off, or the body snoozed.
    Retry,
    /// No server knows its kind, key or runtime version.
    Parked,
    /// Added inside a caller's transaction with parents; the engine settles it after the commit.
    Unsettled,
}

impl WaitReason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Parents, Self::Time, Self::Retry, Self::Parked, Self::Unsettled];

    /// The number both databases store.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The reason of a stored number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    /// The words shown to people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parents => "parent unfinished",
            Self::Time => "start time ahead",
            Self::Retry => "backing off",
            Self::Parked => "parked",
            Self::Unsettled => "parents being settled",
        }
    }
}

/// What a child does when a parent of it fails or is cancelled for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnParentFailure {
    /// It falls with the parent: failed under a failed one, cancelled under a cancelled one.
    #[default]
    Fail,
    /// It runs all the same (a clean-up, a report).
    Run,
    /// It keeps waiting until someone retries the parent.
    Wait,
}

impl OnParentFailure {
    /// The number both databases store.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The policy of a stored number.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Fail),
            1 => Some(Self::Run),
            2 => Some(Self::Wait),
            _ => None,
        }
    }
}

/// The language a task is written in; a server claims its own only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A Rust function in a server's own process.
    #[default]
    Rust,
    /// A Python function in a child process.
    Python,
}

impl Runtime {
    /// The number both databases store.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The runtime of a stored number.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Rust),
            1 => Some(Self::Python),
            _ => None,
        }
    }

    /// The word shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
        }
    }
}
