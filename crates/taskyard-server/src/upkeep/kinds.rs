//! Records what this server can run whenever that changes, and maintains the groups of kinds that builds refused: soon
//! after this server refused one, each second while there are groups, and periodically.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::exhaust;
use crate::loops::state::State;
use crate::primitives::lock::lock;
use taskyard_core::backoff::{Backoff, jittered};
use taskyard_core::failpoint;
use taskyard_core::store::StepReport;

/// Interval between steps while there are groups.
const EVERY: Duration = Duration::from_secs(1);
/// Interval between steps while there are none.
const EVERY_IDLE: Duration = Duration::from_secs(10);
/// Delay after a refusal: others of the same batch are written by then.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

pub(super) async fn run(state: &State) {
    let mut settings = state.run_context.settings.watch();
    let mut builds = state.run_context.python_build.subscribe();
    let mut backoff = Backoff::default();
    loop {
        settings.mark_unchanged();
        builds.mark_unchanged();
        let Some(groups) = step(state).await else {
            backoff.pause().await;
            continue;
        };
        backoff = Backoff::default();
        let pause = if groups > 0 { EVERY } else { EVERY_IDLE };
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            Ok(()) = settings.changed() => {}
            Ok(()) = builds.changed() => {}
            () = state.run_context.host.refused.notified() => tokio::time::sleep(AFTER_REFUSAL).await,
        }
    }
}

/// Records what this server can run, if that has changed. Returns true if the database is up to date.
pub(super) async fn write_serves(state: &State) -> bool {
    let (id, serves) = (state.id(), state.serves());
    let is_stored =
        lock(&state.stored_serves).as_ref().is_some_and(|(stored_as, stored)| *stored_as == id && *stored == serves);
    if is_stored {
        return true;
    }
    match state.store.server_serves(id, &serves).await {
        Ok(()) => {
            state.note_serves(id, serves);
            state.request_claim();
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot record which kinds this server has; trying again");
            false
        }
    }
}

/// Returns the number of groups, or `None` if the database is unavailable.
async fn step(state: &State) -> Option<usize> {
    if !write_serves(state).await {
        return None;
    }
    let groups = AtomicUsize::new(0);
    exhaust("regroup", || async {
        failpoint!("regroup", Before);
        let report = state.store.regroup().await?;
        if report.moved + report.parked > 0 {
            failpoint!("regroup", After);
        }
        groups.store(report.groups, Ordering::Relaxed);
        if report.parked > 0 {
            tracing::info!(tasks = report.parked, "parked tasks of kinds that no running server has");
        }
        Ok(StepReport { tasks: report.moved + report.parked, more: report.more })
    })
    .await?;
    Some(groups.into_inner())
}
