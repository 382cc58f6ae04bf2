//! Deletes finished tasks when their retention is over, in bounded steps with rests between them, so that it keeps up
//! with a sustained drain without being felt by it.

use std::time::{Duration, Instant};

use crate::backoff::jittered;
use crate::state::State;

/// A step is followed by a rest of this many times its own length.
const REST: u32 = 4;

pub(super) async fn run(state: &State) {
    loop {
        tokio::time::sleep(jittered(state.config().prune_every)).await;
        loop {
            let began = Instant::now();
            match state.store.prune(&state.config().retention).await {
                Ok(report) if report.more => {
                    let rest = (began.elapsed() * REST).clamp(Duration::from_millis(2), Duration::from_secs(1));
                    tokio::time::sleep(rest).await;
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot prune finished tasks; trying again later");
                    break;
                }
            }
        }
    }
}
