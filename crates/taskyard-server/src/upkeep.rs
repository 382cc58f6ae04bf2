//! What any server does for all: moving what has become due, working off cascades, settling children that were added
//! in callers' transactions, rescuing, pruning, releasing what was parked, keeping the groups of kinds, setting queues apart, ageing, schedules, ends
//! that were set aside, and comparing what runs with what the database says.
//!
//! Every step is bounded and atomic in the store, and any number of servers may do the same at once. Nothing here runs
//! a task; it only makes rows claimable.

mod ageing;
mod apart;
mod aside;
pub(crate) mod deaths;
mod holdings;
mod kinds;
mod parked;
mod prune;
mod ranges;
mod rescue;
mod schedules;
mod timers;

use std::future::Future;
use std::sync::Arc;

use taskyard_core::Result;
use taskyard_core::store::StepReport;

use crate::state::{Phase, State};

/// Runs until the server stops.
pub(crate) async fn run(state: Arc<State>) {
    tokio::select! {
        () = timers::promote(&state) => {}
        () = timers::cascade(&state) => {}
        () = rescue::run(&state) => {}
        () = prune::run(&state) => {}
        () = ranges::run(&state) => {}
        () = parked::run(&state) => {}
        () = apart::run(&state) => {}
        () = kinds::run(&state) => {}
        () = ageing::run(&state) => {}
        () = schedules::run(&state) => {}
        () = aside::run(&state) => {}
        () = aside::note(&state) => {}
        () = holdings::run(&state) => {}
        // Draining servers leave this to others: every connection is needed for what is ending.
        () = state.reached(Phase::Draining) => {}
    }
}

/// Repeats a step while there is more. How many tasks were touched, or `None` if the database is away.
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
