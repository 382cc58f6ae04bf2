//! Writes the ends of attempts: at once when idle, grouped while a write is in flight, at most two in flight.
//!
//! Batches are sorted by id, so that two of them never wait for each other crosswise. A batch whose outcome is unknown
//! is written again, for ever: the token makes that safe, and the store answers `AlreadyApplied`. Nothing is dropped
//! here but what the store calls lost.

mod claims;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use taskyard_core::ClaimId;
use taskyard_core::store::WriteReply;

pub(crate) use claims::Claims;

use crate::engine::Ended;
use crate::state::State;
use write::{Written, write};

/// Ends in one write.
const BATCH_MAX: usize = 1_000;
/// Bytes in one write: results may be large.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A second write starts beside the first only for as many as this: small batches are better grouped.
const SECOND_MIN: usize = 250;
/// How long ends that met a lock wait before they are tried again.
const LOCKED_EVERY: Duration = Duration::from_millis(200);
/// How long claims that are over wait for a write to go along with.
const CLOSE_AFTER: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) async fn run(state: Arc<State>) {
    let mut pending: Vec<Ended> = Vec::new();
    let mut closed: Vec<ClaimId> = Vec::new();
    let mut flights = FuturesUnordered::new();
    // Ends that need what somebody else holds locked: tried apart, so that they hold up nothing else.
    let mut locked: Vec<Ended> = Vec::new();
    let mut locked_flights = FuturesUnordered::new();
    let mut again_at = tokio::time::Instant::now();
    loop {
        let had_locked = !locked.is_empty();
        tokio::select! {
            () = state.engine.ends.filled() => {}
            Some(written) = flights.next(), if !flights.is_empty() => {
                settle(&state, written, &mut closed, &mut locked);
            }
            Some(written) = locked_flights.next(), if !locked_flights.is_empty() => {
                settle(&state, written, &mut closed, &mut locked);
            }
            () = tokio::time::sleep_until(again_at), if had_locked && locked_flights.is_empty() => {
                locked.sort_unstable_by_key(|ended| ended.finish.id);
                locked_flights.push(write(state.clone(), cut(&mut locked), Vec::new()));
                again_at = tokio::time::Instant::now() + LOCKED_EVERY;
            }
            () = tokio::time::sleep(CLOSE_AFTER), if flights.is_empty() && !closed.is_empty() => {
                flights.push(write(state.clone(), Vec::new(), std::mem::take(&mut closed)));
            }
        }
        if !had_locked && !locked.is_empty() {
            again_at = tokio::time::Instant::now() + LOCKED_EVERY;
        }
        let arrived = state.engine.ends.take();
        state.unwritten.fetch_add(arrived.len(), Ordering::AcqRel);
        pending.extend(arrived);
        while !pending.is_empty() && (flights.is_empty() || flights.len() == 1 && pending.len() >= SECOND_MIN) {
            let batch = cut(&mut pending);
            flights.push(write(state.clone(), batch, std::mem::take(&mut closed)));
        }
    }
}

/// The next batch, oldest first, sorted by id.
fn cut(pending: &mut Vec<Ended>) -> Vec<Ended> {
    let mut bytes = 0;
    let mut count = 0;
    while count < pending.len().min(BATCH_MAX) && (count == 0 || bytes < BATCH_BYTES_MAX) {
        bytes += pending[count].weight();
        count += 1;
    }
    let rest = pending.split_off(count);
    let mut batch = std::mem::replace(pending, rest);
    batch.sort_unstable_by_key(|ended| ended.finish.id);
    batch
}

/// Counts the answers and finds the claims that are over.
fn settle(state: &State, written: Written, closed: &mut Vec<ClaimId>, locked: &mut Vec<Ended>) {
    let mut lost = 0;
    for reply in &written.replies {
        match reply {
            WriteReply::Applied(task) | WriteReply::AlreadyApplied(task) => state.counters.ended(*task),
            WriteReply::Lost => lost += 1,
            // Among `written.locked`, not among the replies.
            WriteReply::Locked => {}
        }
    }
    if lost > 0 {
        state.counters.lost.fetch_add(lost, Ordering::Relaxed);
        tracing::warn!(count = lost, "attempts had lost their lease; what they wrote was dropped");
    }
    state.counters.writes.fetch_add(1, Ordering::Relaxed);
    for (place, answer) in written.answers {
        // Who does not listen any more has no need of it.
        let _ = answer.send(written.replies.get(place).copied().unwrap_or(WriteReply::Lost));
    }
    if !written.locked.is_empty() && locked.is_empty() {
        tracing::warn!(
            count = written.locked.len(),
            task = %written.locked[0].finish.id,
            "somebody else's transaction holds tasks locked that have ended; they are tried again"
        );
    }
    locked.extend(written.locked);
    closed.extend(written.unclosed);
    closed.extend(state.claims.decided(&written.by_claim));
    state.unwritten.fetch_sub(written.by_claim.iter().map(|(_, count)| count).sum(), Ordering::AcqRel);
    state.written.send_modify(|count| *count = count.wrapping_add(1));
}
