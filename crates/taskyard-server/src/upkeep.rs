//! Maintenance that any server performs for all: promoting due tasks, processing cascades, settling children that were
//! added in callers' transactions, rescuing, pruning, releasing parked tasks, maintaining the groups of refused kinds,
//! setting queues apart, ageing, schedules, ends that were set aside, and comparing the running tasks with the
//! database.
//!
//! Every step is bounded and atomic in the store, and any number of servers may perform it at once. Nothing here runs a
//! task; it only makes rows claimable. Each duty is a file; all of them begin in [`run`], but `deaths`, which continues while a server
//! drains.

mod ageing;
pub(crate) mod deaths;
mod kinds;
mod parked;
mod prune;
mod queues_apart;
mod ranges;
mod reconcile;
mod rescue;
mod schedules;
mod set_aside;
mod timers;

use std::future::Future;
use std::sync::Arc;

use taskyard_core::Result;
use taskyard_core::store::StepReport;

use crate::loops::state::{Phase, State};

/// Runs until the server stops.
pub(crate) async fn run(state: Arc<State>) {
    tokio::select! {
        () = timers::promote(&state) => {}
        () = timers::cascade(&state) => {}
        () = rescue::run(&state) => {}
        () = prune::run(&state) => {}
        () = ranges::run(&state) => {}
        () = parked::run(&state) => {}
        () = queues_apart::run(&state) => {}
        () = kinds::run(&state) => {}
        () = ageing::run(&state) => {}
        () = schedules::run(&state) => {}
        () = set_aside::run(&state) => {}
        () = set_aside::note(&state) => {}
        () = reconcile::run(&state) => {}
        // A draining server leaves this to others: it needs every connection for the tasks that are ending.
        () = state.reached(Phase::Draining) => {}
    }
}

/// Repeats a step while there is more to do. Returns the number of affected tasks, or `None` if the database is
/// unavailable.
async fn exhaust<F>(what: &str, mut step: impl FnMut() -> F) -> Option<usize>
where
    F: Future<Output = Result<StepReport>>,
{
    let mut tasks = 0;
    loop {
        match step().await {
            Ok(report) => {
                tasks += report.tasks;
                if !report.more {
                    return Some(tasks);
                }
            }
            Err(error) => {
                tracing::warn!(%error, what, "upkeep failed; trying again later");
                return None;
            }
        }
    }
}
