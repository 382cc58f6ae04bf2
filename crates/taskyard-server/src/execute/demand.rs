//! Requests for tasks, in servers that claim only on request; `on_demand.rs` serves them.

use std::time::Instant;

use taskyard_core::TaskId;
use tokio::sync::oneshot;

/// A message of a child process about the tasks that it takes.
#[derive(Debug)]
pub(crate) enum DemandMessage {
    /// Requests tasks.
    Wants(TakeRequest),
    /// Withdraws the request of this name.
    Waives((u64, u64)),
}

/// A request for tasks.
#[derive(Debug)]
pub(crate) struct TakeRequest {
    /// The child, and the number that it gave to the request.
    pub name: (u64, u64),
    /// Maximum number of tasks.
    pub limit: usize,
    /// The queues to take from; `None` for all that the server serves.
    pub queues: Option<Vec<String>>,
    /// When to stop waiting for the first task.
    pub until: Instant,
    /// Set once the request was considered for a claim.
    pub has_looked: bool,
    /// Receives the ids of the tasks that were claimed and sent; dropped without a value when the server stops.
    pub reply: oneshot::Sender<Vec<TaskId>>,
}

impl TakeRequest {
    pub fn is_over(&self, now: Instant) -> bool {
        self.has_looked && self.until <= now
    }
}
