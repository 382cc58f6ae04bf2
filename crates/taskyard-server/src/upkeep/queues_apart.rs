//! Sets the queues of this server apart if it serves only some, so that its claims read nothing of the others.

use std::time::Duration;

use taskyard_core::store::StepReport;

use crate::loops::state::State;
use taskyard_core::backoff::{Backoff, jittered};

/// Interval between checks for tasks that were still added to the common range.
const EVERY: Duration = Duration::from_secs(10);
/// Interval while some of these are skipped because of locks.
const PASSED_BY: Duration = Duration::from_millis(50);

pub(super) async fn run(state: &State) {
    let mut settings = state.run_context.settings.watch();
    let mut backoff = Backoff::default();
    loop {
        let queues = settings.borrow_and_update().queues.clone();
        let queues = queues.filter(|queues| !queues.is_empty());
        let step = match &queues {
            Some(queues) => state.store.set_apart(queues).await,
            None => Ok(StepReport::default()),
        };
        match step {
            Ok(StepReport { more: false, .. }) => {}
            // Rows that are locked at the moment are skipped.
            Ok(StepReport { tasks: 0, .. }) => {
                tokio::time::sleep(jittered(PASSED_BY)).await;
                continue;
            }
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot set the served queues apart; trying again");
                backoff.pause().await;
                continue;
            }
        }
        backoff = Backoff::default();
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(jittered(EVERY)), if queues.is_some() => {}
        }
    }
}
