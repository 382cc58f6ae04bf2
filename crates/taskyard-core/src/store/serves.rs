//! The builds and queues that a server reports, and the report of one regrouping step: rule 18 of the store.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::state::Runtime;

/// The builds and queues that a server serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serves {
    /// Fingerprint of the build for each runtime that it serves. Servers with the same fingerprint support the same
    /// kinds.
    pub builds: Vec<(Runtime, String)>,
    /// The queues that it claims from; `None` for all.
    pub queues: Option<Vec<String>>,
}

impl Serves {
    /// Returns the fingerprint of a build that supports exactly these kinds.
    #[must_use]
    pub fn fingerprint_of(mut kinds: Vec<String>) -> String {
        kinds.sort_unstable();
        let mut hash = Sha256::new();
        for kind in kinds {
            hash.update(kind.len().to_le_bytes());
            hash.update(kind);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The result of one regrouping step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegroupReport {
    /// Runnable tasks that were moved to the group of their kind.
    pub moved: usize,
    /// Runnable tasks that were parked, because every live build had refused their kind.
    pub parked: usize,
    /// Number of groups.
    pub groups: usize,
    /// Whether another step has something to do.
    pub more: bool,
}

/// A reason for which tasks are parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedReason {
    /// Text of the reason.
    pub reason: String,
    /// Number of tasks parked for it.
    pub count: u64,
}
