//! Deletes finished tasks when their retention is over, by age and by number, in bounded steps with rests between them,
//! so that it keeps up with a sustained drain without slowing it down noticeably.

use std::future::Future;
use std::time::{Duration, Instant};

use taskyard_core::Result;
use taskyard_core::failpoint;
use taskyard_core::store::StepReport;

use crate::loops::state::State;
use taskyard_core::backoff::jittered;

/// Rest after a step, as a multiple of its duration.
const REST: u32 = 4;

pub(super) async fn run(state: &State) {
    loop {
        tokio::time::sleep(jittered(state.config().prune_every)).await;
        let retention = state.config().retention;
        steps(|| state.store.prune(&retention)).await;
        steps(|| state.store.prune_surplus(&retention)).await;
    }
}

async fn steps<F>(mut step: impl FnMut() -> F)
where
    F: Future<Output = Result<StepReport>>,
{
    loop {
        let began = Instant::now();
        failpoint!("prune", Before);
        let report = step().await;
        if report.as_ref().is_ok_and(|report| report.tasks > 0) {
            failpoint!("prune", After);
        }
        match report {
            Ok(report) if report.more => {
                let rest = (began.elapsed() * REST).clamp(Duration::from_millis(2), Duration::from_secs(1));
                tokio::time::sleep(rest).await;
            }
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot prune finished tasks; trying again later");
                return;
            }
        }
    }
}
