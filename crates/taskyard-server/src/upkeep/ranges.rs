//! Notices tasks that are enqueued and stand in no range, so that nothing would ever run them (a restored dump may lack such
//! rows), and puts them where they belong.

use std::time::{Duration, Instant};

use crate::backoff::jittered;
use crate::state::State;

/// Between two looks at a sample.
const EVERY: Duration = Duration::from_secs(60);
/// Tasks that one step compares.
const STEP: usize = 1_000;
/// A step is followed by a rest of this many times its own length.
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
                    state.look();
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
