//! Releases parked tasks that this server can run: at the start and periodically, because during a rolling deployment
//! an older server may still park tasks that this one can run.

use std::time::Duration;
use taskyard_core::failpoint;
use taskyard_core::state::Runtime;

use super::{exhaust, kinds};
use crate::attempt::parked_reason::kind_of_reason;
use crate::loops::state::State;
use taskyard_core::backoff::{Backoff, jittered};

/// Interval between checks after the first.
const EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(state: &State) {
    let mut backoff = Backoff::default();
    loop {
        if release(state).await {
            tokio::select! {
                () = tokio::time::sleep(jittered(EVERY)) => {}
                () = state.run_context.learned.notified() => {}
            }
            backoff = Backoff::default();
        } else {
            backoff.pause().await;
        }
    }
}

/// Returns true if the database replied.
async fn release(state: &State) -> bool {
    for executor in &state.executors {
        let runtime = executor.runtime();
        let reasons = match state.store.parked(runtime).await {
            Ok(reasons) => reasons,
            Err(error) => {
                tracing::warn!(%error, "cannot look for parked tasks; trying again");
                return false;
            }
        };
        if reasons.is_empty() {
            continue;
        }
        let reasons: Vec<String> = reasons.into_iter().map(|parked| parked.reason).collect();
        for reason in executor.known(&reasons) {
            // The build refused this kind before it had it; with a new build id the released tasks are claimed.
            if let Some(kind) = kind_of_reason(&reason).filter(|_| runtime == Runtime::Python) {
                match state.store.has_refused(state.id(), runtime, kind).await {
                    Ok(true) => {
                        state.run_context.is_another_python_build();
                        if !kinds::write_serves(state).await {
                            return false;
                        }
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot look for refused kinds; trying again");
                        return false;
                    }
                }
            }
            failpoint!("unpark", Before);
            match exhaust("unpark", || state.store.unpark(runtime, &reason)).await {
                Some(tasks) => {
                    failpoint!("unpark", After);
                    tracing::info!(reason, tasks, "released parked tasks that this server can run");
                    state.request_claim();
                }
                None => return false,
            }
        }
    }
    true
}
