//! The exit of a server.

use crate::loops::state::State;

/// Why a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A stop was requested.
    Stopped,
    /// The server was aborted, as if killed.
    Aborted,
    /// Too many threads were abandoned; a supervisor should start a fresh process.
    Abandoned,
    /// An internal fault; a supervisor should start a fresh process.
    Broken,
    /// The database cannot be used again through this process (the SQLite file was deleted, moved or replaced, or the
    /// store was closed). Nothing of the running tasks was stored.
    DatabaseLost,
}

/// The result of running a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerExit {
    /// Why the server ended.
    pub reason: ExitReason,
    /// Number of ends of attempts that were not written in time; their tasks run again once the lease is over.
    pub unwritten: usize,
}

impl ServerExit {
    pub(crate) fn new(reason: ExitReason, state: &State) -> Self {
        Self { reason, unwritten: state.unwritten() }
    }

    /// Returns the exit code for a supervisor: 0 after a stop, 1 after an abort, 75 (try again) if a fresh process is
    /// needed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.reason {
            ExitReason::Stopped => 0,
            ExitReason::Aborted => 1,
            ExitReason::Abandoned | ExitReason::Broken | ExitReason::DatabaseLost => 75,
        }
    }
}
