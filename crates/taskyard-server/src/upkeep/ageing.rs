//! Moves up what has stood long enough in a queue that ages. While no queue does, it is one look every ten seconds.

use std::time::Duration;

use crate::backoff::{Backoff, jittered};
use crate::state::State;

/// Between two looks: a queue may have been told to age.
const EVERY: Duration = Duration::from_secs(10);
/// The shortest time between two steps.
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
