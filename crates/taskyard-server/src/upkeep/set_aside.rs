//! Retries ends of attempts that are set aside, periodically and on any server, because the cause may be gone. Also
//! records in this server's row how many ends it holds that the database refuses, for `queue status`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{EndAside, WriteReply};

use crate::loops::state::State;
use crate::primitives::lock::lock;
use taskyard_core::backoff::jittered;

/// Interval between checks of the number of ends held here.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of ends read at once; results may be large.
const PAGE: usize = 20;

pub(super) async fn run(state: &State) {
    loop {
        tokio::time::sleep(jittered(state.config().refused_end_max)).await;
        let mut after = None;
        loop {
            let page = match state.store.ends_aside(None, after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for ends that were set aside; trying again");
                    break;
                }
            };
            after = page.last().map(|end| end.finish.id);
            for end in &page {
                write(state, end).await;
            }
            if page.len() < PAGE {
                break;
            }
        }
    }
}

async fn write(state: &State, end: &EndAside) {
    let (id, token) = (end.finish.id, end.finish.token);
    let reply = match state.store.finish(std::slice::from_ref(&end.finish), &[]).await {
        Ok(replies) => replies.first().copied().unwrap_or(WriteReply::Lost),
        Err(error) => {
            tracing::debug!(task = %id, %error, "the database still refuses every form of this task's outcome");
            return;
        }
    };
    failpoint!("end_aside_settled", Before);
    match state.store.end_aside_settled(id, token).await {
        Ok(()) => {
            failpoint!("end_aside_settled", After);
            tracing::info!(task = %id, ?reply, "an outcome that had been set aside was stored");
        }
        Err(error) => tracing::warn!(task = %id, %error, "an outcome was stored that is still among those set aside"),
    }
}

/// Records the number of held ends whenever it changes.
pub(super) async fn note(state: &State) {
    let mut told = (state.id(), 0);
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        let held = (state.id(), state.counters.held.load(Ordering::Acquire));
        if held == told || held.1 == 0 && told.1 == 0 {
            continue;
        }
        let reason = lock(&state.counters.held_reason).clone();
        let ends = u32::try_from(held.1).unwrap_or(u32::MAX);
        if state.store.server_holds(held.0, ends, reason.as_deref().filter(|_| ends > 0)).await.is_ok() {
            told = held;
        }
    }
}
