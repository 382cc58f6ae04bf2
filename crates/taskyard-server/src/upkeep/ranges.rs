//! Detects enqueued tasks that are in no index range, so that they would never run (a restored dump may lack such
//! rows), and repairs them.

use std::time::{Duration, Instant};

use crate::loops::state::State;
use taskyard_core::backoff::jittered;

/// Interval between checks of a sample.
const EVERY: Duration = Duration::from_secs(60);
/// Number of tasks that one step compares.
const STEP: usize = 1_000;
/// Rest after a step, as a multiple of its duration.
const REST: u32 = 4;

pub(super) async fn run(state: &State) {
    loop {
        match state.store.ranges_suspect().await {
            Ok(true) => compare(state).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot compare a sample of tasks with the runnable range; trying again")
            }
        }
        tokio::time::sleep(jittered(EVERY)).await;
    }
}

/// Compares all tasks.
async fn compare(state: &State) {
    let (mut after, mut repaired) = (None, 0);
    loop {
        let began = Instant::now();
        match state.store.compare_ranges(after, STEP, true).await {
            Ok(report) => {
                repaired += report.repaired;
                if report.repaired > 0 {
                    state.request_claim();
                }
                after = report.last;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot compare the tasks with the runnable range; trying again later");
                return;
            }
        }
        if after.is_none() {
            break;
        }
        tokio::time::sleep((began.elapsed() * REST).clamp(Duration::from_millis(2), Duration::from_secs(1))).await;
    }
    if repaired > 0 {
        tracing::error!(
            tasks = repaired,
            "enqueued tasks were missing from the runnable range, as after the restore of a dump; they were put back"
        );
    }
}
