//! A server in figures.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use taskyard_core::{ServerId, TaskState};

use crate::state::{Lease, Phase, State};

/// What a server does now, and has done since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Its id now.
    pub id: ServerId,
    /// Its label.
    pub name: String,
    /// Whether it claims: it is not stopping, and its lease is good.
    pub claiming: bool,
    /// Whether it is stopping.
    pub stopping: bool,
    /// The most workers it runs.
    pub workers_max: usize,
    /// Workers that run something.
    pub workers_active: usize,
    /// Workers that exist and run nothing.
    pub workers_idle: usize,
    /// Tasks that run.
    pub tasks_running: usize,
    /// Tasks that were claimed and have not started.
    pub tasks_unstarted: usize,
    /// Ends of attempts on their way to the database.
    pub ends_unwritten: usize,
    /// Of these, ends that the database refuses; they are kept and tried again.
    pub ends_held: usize,
    /// Threads given up that have not come back.
    pub threads_abandoned: usize,
    /// Questions of child processes that wait for their answers.
    pub questions_open: usize,
    /// Attempts by the state their end left, in the order of [`TaskState::ALL`].
    pub ended_by_state: [u64; 7],
    /// Writes that came too late: another attempt had the lease.
    pub ends_lost: u64,
    /// Claims that took something.
    pub claims: u64,
    /// Tasks claimed.
    pub claimed: u64,
    /// Writes of ends.
    pub writes: u64,
    /// Tasks given back because they could not start soon.
    pub given_back: u64,
    /// Tasks of lost servers that this one freed.
    pub rescued: u64,
    /// How often it was declared dead and entered anew.
    pub reborn: u64,
}

impl ServerStatus {
    /// Attempts whose end left this state.
    #[must_use]
    pub fn ended(&self, state: TaskState) -> u64 {
        TaskState::ALL.iter().position(|other| *other == state).map_or(0, |index| self.ended_by_state[index])
    }
}

pub(super) fn status(state: &State) -> ServerStatus {
    let (figures, counters, config) = (state.figures(), &state.counters, state.config());
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    ServerStatus {
        id: state.id(),
        name: config.name.clone(),
        claiming: state.may_claim() && *state.lease.borrow() == Lease::Good,
        stopping: state.phase() > Phase::Running,
        workers_max: config.workers,
        workers_active: figures.workers_active,
        workers_idle: figures.workers_idle,
        tasks_running: figures.running,
        tasks_unstarted: figures.unstarted,
        ends_unwritten: state.unwritten(),
        ends_held: counters.held.load(Ordering::Acquire),
        threads_abandoned: figures.abandoned,
        questions_open: figures.questions,
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
