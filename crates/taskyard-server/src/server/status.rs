//! Status and counters of a server.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use taskyard_core::{ServerId, TaskState};

use crate::loops::state::{Lease, Phase, State};

/// A server's current activity, and its counters since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// The server's current id.
    pub id: ServerId,
    /// The server's label.
    pub name: String,
    /// True if the server claims tasks: it is not stopping and its lease is good.
    pub claiming: bool,
    /// True if the server is stopping.
    pub stopping: bool,
    /// Maximum number of workers.
    pub workers_max: usize,
    /// Number of workers that are running a task.
    pub workers_active: usize,
    /// Number of workers that exist and are idle.
    pub workers_idle: usize,
    /// Number of running tasks.
    pub tasks_running: usize,
    /// Number of claimed tasks that have not started.
    pub tasks_unstarted: usize,
    /// Number of ends of attempts that are not written yet.
    pub ends_unwritten: usize,
    /// Number of unwritten ends that the database refuses; they are stored in memory and retried.
    pub ends_held: usize,
    /// Number of abandoned threads that have not returned.
    pub threads_abandoned: usize,
    /// Number of requests of child processes that wait for a response.
    pub questions_open: usize,
    /// Number of attempts by the task state after their end, in the order of [`TaskState::ALL`].
    pub ended_by_state: [u64; 7],
    /// Number of writes that came too late, because another attempt had the lease.
    pub ends_lost: u64,
    /// Number of claims that returned tasks.
    pub claims: u64,
    /// Number of claimed tasks.
    pub claimed: u64,
    /// Number of writes of ends.
    pub writes: u64,
    /// Number of tasks released because they could not start soon.
    pub given_back: u64,
    /// Number of tasks of dead servers that this server released.
    pub rescued: u64,
    /// Number of times that the server was declared dead and registered again.
    pub reborn: u64,
}

impl ServerStatus {
    /// Returns the number of attempts that ended in this state.
    #[must_use]
    pub fn ended(&self, state: TaskState) -> u64 {
        TaskState::ALL.iter().position(|other| *other == state).map_or(0, |index| self.ended_by_state[index])
    }
}

pub(super) fn status(state: &State) -> ServerStatus {
    let (stats, counters, config) = (state.stats(), &state.counters, state.config());
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    ServerStatus {
        id: state.id(),
        name: config.name.clone(),
        claiming: state.may_claim() && *state.lease.borrow() == Lease::Good,
        stopping: state.phase() > Phase::Running,
        workers_max: config.max_workers,
        workers_active: stats.workers_active,
        workers_idle: stats.workers_idle,
        tasks_running: stats.running,
        tasks_unstarted: stats.unstarted,
        ends_unwritten: state.unwritten(),
        ends_held: counters.held.load(Ordering::Acquire),
        threads_abandoned: stats.abandoned,
        questions_open: stats.questions,
        ended_by_state: std::array::from_fn(|index| read(&counters.by_state[index])),
        ends_lost: read(&counters.lost),
        claims: read(&counters.claims),
        claimed: read(&counters.claimed),
        writes: read(&counters.writes),
        given_back: read(&counters.given_back),
        rescued: read(&counters.rescued),
        reborn: read(&counters.reborn),
    }
}
