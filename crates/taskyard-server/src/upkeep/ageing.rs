//! Promotes tasks that have waited long enough in an ageing queue. Without such queues, it is one query every ten
//! seconds.

use std::time::Duration;

use crate::loops::state::State;
use taskyard_core::backoff::{Backoff, jittered};

/// Maximum time between two queries: ageing may have been turned on for a queue.
const EVERY: Duration = Duration::from_secs(10);
/// Minimum time between two steps.
const GAP: Duration = Duration::from_millis(100);

pub(super) async fn run(state: &State) {
    let mut backoff = Backoff::default();
    loop {
        match state.store.age().await {
            Ok(report) if report.more => tokio::time::sleep(Duration::from_millis(2)).await,
            Ok(report) => {
                backoff = Backoff::default();
                let pause = jittered(EVERY);
                tokio::time::sleep(report.next_due.map_or(pause, |due| due.clamp(GAP, pause))).await;
            }
            Err(error) => {
                if backoff.tries() % 10 == 0 {
                    tracing::warn!(%error, "cannot look for tasks that have aged; trying again");
                }
                backoff.pause().await;
            }
        }
    }
}
