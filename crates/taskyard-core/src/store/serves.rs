//! The builds and queues that a server reports, and the report of one regrouping step: rule 18 of the store.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::state::Runtime;

/// The builds and queues that a server serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serves {
    /// For each runtime that it serves, the fingerprint of its build: two servers with the same one know the same kinds.
    pub builds: Vec<(Runtime, String)>,
    /// The queues that it claims from; `None` for all.
    pub queues: Option<Vec<String>>,
}

impl Serves {
    /// The fingerprint of a build that knows exactly these kinds.
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
    /// How many groups there are.
    pub groups: usize,
    /// Whether another step has something to do.
    pub more: bool,
}

/// Why tasks are parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedReason {
    /// The text.
    pub reason: String,
    /// How many.
    pub count: u64,
}
