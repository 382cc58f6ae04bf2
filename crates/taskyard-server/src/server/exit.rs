//! How a server ended.

use crate::state::State;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to.
    Stopped,
    /// It was dropped like a killed one.
    Aborted,
    /// Too many threads were given up; a supervisor should start a fresh process.
    Abandoned,
    /// A fault of its own; a supervisor should start a fresh process.
    Broken,
    /// The database cannot be used again through this process (the SQLite file was deleted, moved or replaced, or the store was
    /// closed). Nothing of what ran was stored.
    DatabaseLost,
}

/// The end of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerExit {
    /// Why it ended.
    pub reason: ExitReason,
    /// Ends of attempts that the database did not take in time; their tasks run again once the lease is over.
    pub unwritten: usize,
}

impl ServerExit {
    pub(crate) fn new(reason: ExitReason, state: &State) -> Self {
        Self { reason, unwritten: state.unwritten() }
    }

    /// The exit code for a supervisor: 0 after a stop, 75 (try again) when a fresh process is needed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.reason {
            ExitReason::Stopped => 0,
            ExitReason::Aborted => 1,
            ExitReason::Abandoned | ExitReason::Broken | ExitReason::DatabaseLost => 75,
        }
    }
}
