//! Test values: tasks, servers, requests, failures. Plain values, no store.

use std::time::Duration;

use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{Beat, ClaimRequest, NewServer};
use taskyard_core::task::{Failure, LogLine, NewTask, Start, Unique, UniqueHold};
use taskyard_core::{ClaimId, ServerId, TaskId};

/// Lease of the servers created here.
pub const LEASE: Duration = Duration::from_secs(30);

/// Returns a task with every option at its default.
#[must_use]
pub fn task() -> NewTask {
    NewTask::new("testkit::body", br#"{"args": [], "kwargs": {}}"#.to_vec())
}

/// Returns `count` tasks with default options.
#[must_use]
pub fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

/// Returns a task of this kind.
#[must_use]
pub fn of_kind(kind: &str) -> NewTask {
    NewTask { kind: kind.into(), ..task() }
}

/// Returns a task in this queue.
#[must_use]
pub fn in_queue(queue: &str) -> NewTask {
    NewTask { queue: queue.into(), ..task() }
}

/// Returns a task of this priority.
#[must_use]
pub fn of_priority(priority: i32) -> NewTask {
    NewTask { priority, ..task() }
}

/// Returns a Python task.
#[must_use]
pub fn python() -> NewTask {
    NewTask { runtime: Runtime::Python, ..task() }
}

/// Returns a task that starts this long after it was added.
#[must_use]
pub fn delayed(delay: Duration) -> NewTask {
    NewTask { start: Start::After(delay), ..task() }
}

/// Returns a task that is cancelled unless it has started this long after it was added.
#[must_use]
pub fn expiring(after: Duration) -> NewTask {
    NewTask { expires: Some(after), ..task() }
}

/// Returns a task with these parents, which falls with them.
#[must_use]
pub fn child_of(parents: &[TaskId]) -> NewTask {
    NewTask { parents: parents.to_vec(), ..task() }
}

/// Returns a task with these parents and this policy.
#[must_use]
pub fn child_with(policy: OnParentFailure, parents: &[TaskId]) -> NewTask {
    NewTask { on_parent_failure: policy, ..child_of(parents) }
}

/// Returns `length` tasks, each the parent of the next.
#[must_use]
pub fn chain(length: usize) -> Vec<NewTask> {
    let mut chain: Vec<NewTask> = tasks(length);
    for at in 1..length {
        chain[at].parents = vec![chain[at - 1].id];
    }
    chain
}

/// Returns a task with a unique key.
#[must_use]
pub fn unique(key: &str, hold: UniqueHold) -> NewTask {
    NewTask { unique: Some(Unique { key: key.into(), hold }), ..task() }
}

/// Returns the ids of these tasks.
#[must_use]
pub fn ids(tasks: &[NewTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

/// Returns a failure of the type `ValueError` with a traceback.
#[must_use]
pub fn failure(message: &str) -> Failure {
    Failure {
        error_type: "ValueError".into(),
        message: message.into(),
        traceback: Some(format!("Traceback:\n  in body\nValueError: {message}")),
    }
}

/// Returns a log line at the level info.
#[must_use]
pub fn line(message: &str) -> LogLine {
    LogLine { level: 20, logger: "testkit".into(), message: message.into(), fields: None, traceback: None }
}

/// Returns a server that enters with [`LEASE`].
#[must_use]
pub fn server() -> NewServer {
    NewServer {
        id: ServerId::generate(),
        name: "testkit".into(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        lease: LEASE,
        workers_max: 4,
        serves: None,
    }
}

/// Returns a heartbeat that renews [`LEASE`].
#[must_use]
pub fn beat(server: ServerId) -> Beat {
    Beat { server, lease: LEASE, workers_max: 4, workers_active: 0, workers_idle: 4, tasks_running: 0 }
}

/// Returns a claim request for up to `limit` Rust tasks of any queue.
#[must_use]
pub fn request(server: ServerId, limit: usize) -> ClaimRequest {
    ClaimRequest {
        server,
        claim: ClaimId::generate(),
        runtime: Runtime::Rust,
        queues: None,
        limit,
        alone: false,
        cursor: None,
    }
}
