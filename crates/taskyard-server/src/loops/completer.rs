//! Writes the ends of attempts: at once when idle, grouped while a write is in flight, with at most two writes in
//! flight.
//!
//! Batches are sorted by id, so that two of them never deadlock. A batch of unknown result is written again until it
//! succeeds: the token makes that safe, and the store returns `AlreadyApplied`. Ends are dropped only if the store
//! returns `Lost`.
//!
//! Ends that the database refuses while it is reachable are stored in memory and retried separately from the others,
//! for as long as this server holds their tasks. An end that is refused by itself for
//! [`crate::ServerConfig::refused_end_max`] while others are written is set aside in the database
//! ([`taskyard_core::store::Store::end_set_aside`]); when the server stops, all that remain are.

mod claims;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use taskyard_core::ClaimId;
use taskyard_core::store::WriteReply;
use tokio::time::Instant;

pub(crate) use claims::Claims;

use crate::attempt::Ended;
use crate::loops::bisect;
use crate::loops::state::{Phase, State};
use taskyard_core::backoff::Backoff;
use write::{Written, write, write_again};

/// Maximum number of ends in one write.
const BATCH_MAX: usize = 1_000;
/// Maximum number of bytes in one write: results may be large.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Minimum number of ends for a second write beside the first: small batches are better grouped.
const SECOND_MIN: usize = 250;
/// Delay before ends of locked tasks are retried.
const LOCKED_EVERY: Duration = Duration::from_millis(200);
/// Maximum time for which finished claims wait to be closed along with a write.
const CLOSE_AFTER: Duration = Duration::from_millis(500);
/// Every this many retries of refused ends, all of them are tried singly, whatever is refused on the way.
const THOROUGH_EVERY: u32 = 8;
/// Maximum pause between two retries while the server stops.
const HURRY: Duration = Duration::from_millis(100);

/// Runs until it is dropped.
pub(crate) async fn run(state: Arc<State>) {
    let mut pending: Vec<Ended> = Vec::new();
    let mut closed: Vec<ClaimId> = Vec::new();
    let mut held = Held::default();
    let (mut flights, mut again) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut phase = state.phase.subscribe();
    // Ends that need rows locked by other sessions: retried separately, so that they do not hold up the others.
    let mut locked: Vec<Ended> = Vec::new();
    let mut locked_flights = FuturesUnordered::new();
    let mut again_at = Instant::now();
    loop {
        let had_locked = !locked.is_empty();
        tokio::select! {
            () = state.run_context.host.outbox.ends.filled() => {}
            Some(written) = flights.next(), if !flights.is_empty() => {
                held.take(settle(&state, written, &mut closed, &mut locked));
            }
            Some(written) = locked_flights.next(), if !locked_flights.is_empty() => {
                held.take(settle(&state, written, &mut closed, &mut locked));
            }
            () = tokio::time::sleep_until(again_at), if had_locked && locked_flights.is_empty() => {
                locked.sort_unstable_by_key(|ended| ended.finish.id);
                locked_flights.push(write(state.clone(), cut(&mut locked), Vec::new()));
                again_at = Instant::now() + LOCKED_EVERY;
            }
            Some(written) = again.next(), if !again.is_empty() => {
                held.take(settle(&state, written, &mut closed, &mut locked));
                held.pause(state.phase() > Phase::Running);
            }
            () = tokio::time::sleep(CLOSE_AFTER), if flights.is_empty() && !closed.is_empty() => {
                flights.push(write(state.clone(), Vec::new(), std::mem::take(&mut closed)));
            }
            () = tokio::time::sleep_until(held.due), if again.is_empty() && !held.ends.is_empty() => {
                let (batch, probes_max) = held.give(state.phase() > Phase::Running);
                again.push(write_again(state.clone(), batch, probes_max));
            }
            // A server that stops sets refused ends aside at once.
            Ok(()) = phase.changed() => held.due = Instant::now(),
        }
        if !had_locked && !locked.is_empty() {
            again_at = Instant::now() + LOCKED_EVERY;
        }
        let arrived = state.run_context.host.outbox.ends.take();
        state.unwritten.fetch_add(arrived.len(), Ordering::AcqRel);
        pending.extend(arrived);
        while !pending.is_empty() && (flights.is_empty() || flights.len() == 1 && pending.len() >= SECOND_MIN) {
            let batch = cut(&mut pending);
            flights.push(write(state.clone(), batch, std::mem::take(&mut closed)));
        }
        if again.is_empty() {
            held.tell(&state);
        }
    }
}

/// Ends that the database refuses, as far as is known through no fault of their own.
struct Held {
    ends: Vec<Ended>,
    due: Instant,
    backoff: Backoff,
}

impl Default for Held {
    fn default() -> Self {
        Self { ends: Vec::new(), due: Instant::now(), backoff: Backoff::default() }
    }
}

impl Held {
    fn take(&mut self, refused: Vec<Ended>) {
        if self.ends.is_empty() && !refused.is_empty() {
            self.due = Instant::now() + self.backoff.next_pause();
        }
        self.ends.extend(refused);
    }

    fn pause(&mut self, hurry: bool) {
        let pause = self.backoff.next_pause();
        self.due = Instant::now() + if hurry { pause.min(HURRY) } else { pause };
    }

    /// Returns the batch to retry, and the number of refusals after which the rest is left for the next time. Now and
    /// then that number is unlimited, so that a bad end is found among any number of others.
    fn give(&mut self, hurry: bool) -> (Vec<Ended>, usize) {
        let all = hurry || self.backoff.tries() % THOROUGH_EVERY == THOROUGH_EVERY - 1;
        (cut(&mut self.ends), if all { usize::MAX } else { bisect::PROBES_MAX })
    }

    /// Publishes the number of held ends for the server's status.
    fn tell(&mut self, state: &State) {
        if self.ends.is_empty() {
            self.backoff = Backoff::default();
        }
        state.counters.held.store(self.ends.len(), Ordering::Release);
    }
}

/// Removes and returns the next batch, oldest first, sorted by id.
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

/// Counts the replies and collects the claims that are complete. Returns the refused ends.
fn settle(state: &State, written: Written, closed: &mut Vec<ClaimId>, locked: &mut Vec<Ended>) -> Vec<Ended> {
    let mut lost = 0;
    for reply in &written.replies {
        match reply {
            WriteReply::Applied(task) | WriteReply::AlreadyApplied(task) => state.counters.ended(*task),
            WriteReply::Lost => lost += 1,
            // In `written.locked`, not among the replies.
            WriteReply::Locked => {}
        }
    }
    if lost > 0 {
        state.counters.lost.fetch_add(lost, Ordering::Relaxed);
        tracing::warn!(count = lost, "attempts had lost their lease; their outcomes were dropped");
    }
    state.counters.writes.fetch_add(1, Ordering::Relaxed);
    state.counters.ends.fetch_add(written.replies.len() as u64, Ordering::AcqRel);
    for (place, answer) in written.answers {
        // The receiver may have been dropped.
        let _ = answer.send(written.replies.get(place).copied().unwrap_or(WriteReply::Lost));
    }
    if !written.locked.is_empty() && locked.is_empty() {
        tracing::warn!(
            count = written.locked.len(),
            task = %written.locked[0].finish.id,
            "another transaction locks tasks that have ended; their outcomes are tried again"
        );
    }
    locked.extend(written.locked);
    closed.extend(written.unclosed);
    let count: usize = written.by_claim.iter().map(|(_, tasks)| tasks.len()).sum();
    closed.extend(state.claims.decided(written.by_claim));
    state.unwritten.fetch_sub(count, Ordering::AcqRel);
    state.written.send_modify(|count| *count = count.wrapping_add(1));
    written.refused
}
