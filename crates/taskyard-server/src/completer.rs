//! Writes the ends of attempts: at once when idle, grouped while a write is in flight, at most two in flight.
//!
//! Batches are sorted by id, so that two of them never wait for each other crosswise. A batch whose outcome is unknown
//! is written again, for ever: the token makes that safe, and the store answers `AlreadyApplied`. Nothing is dropped
//! here but what the store calls lost.
//!
//! Ends that the database refuses while it can be reached are kept and tried again, apart from the others, for as long
//! as this server holds their tasks. One that is refused by itself for [`crate::ServerConfig::refused_end_max`] while
//! others are written is set aside in the database ([`taskyard_core::store::Store::end_set_aside`]); when the server
//! stops, all that it still holds is.

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

use crate::backoff::Backoff;
use crate::engine::Ended;
use crate::pieces;
use crate::state::{Phase, State};
use write::{Written, write, write_again};

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
/// Each so many tries of refused ends goes down to single ones, whatever is refused on the way.
const THOROUGH_EVERY: u32 = 8;
/// The longest pause between two tries while the server stops.
const HURRY: Duration = Duration::from_millis(100);

/// Runs until it is dropped.
pub(crate) async fn run(state: Arc<State>) {
    let mut pending: Vec<Ended> = Vec::new();
    let mut closed: Vec<ClaimId> = Vec::new();
    let mut held = Held::default();
    let (mut flights, mut again) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut phase = state.phase.subscribe();
    // Ends that need what somebody else holds locked: tried apart, so that they hold up nothing else.
    let mut locked: Vec<Ended> = Vec::new();
    let mut locked_flights = FuturesUnordered::new();
    let mut again_at = Instant::now();
    loop {
        let had_locked = !locked.is_empty();
        tokio::select! {
            () = state.engine.ends.filled() => {}
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
            // A server that stops sets aside at once what is refused.
            Ok(()) = phase.changed() => held.due = Instant::now(),
        }
        if !had_locked && !locked.is_empty() {
            again_at = Instant::now() + LOCKED_EVERY;
        }
        let arrived = state.engine.ends.take();
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

/// Ends that the database refuses, through no fault of theirs as far as is known.
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
            self.due = Instant::now() + self.backoff.next();
        }
        self.ends.extend(refused);
    }

    fn pause(&mut self, hurry: bool) {
        let pause = self.backoff.next();
        self.due = Instant::now() + if hurry { pause.min(HURRY) } else { pause };
    }

    /// What to try again, and how many refusals are suffered before the rest is left for the next time: now and then
    /// any number, so that a bad end is found among however many.
    fn give(&mut self, hurry: bool) -> (Vec<Ended>, usize) {
        let all = hurry || self.backoff.tries() % THOROUGH_EVERY == THOROUGH_EVERY - 1;
        (cut(&mut self.ends), if all { usize::MAX } else { pieces::PROBES_MAX })
    }

    /// Says how many ends are held, for people.
    fn tell(&mut self, state: &State) {
        if self.ends.is_empty() {
            self.backoff = Backoff::default();
        }
        state.counters.held.store(self.ends.len(), Ordering::Release);
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

/// Counts the answers and finds the claims that are over. What was refused comes back.
fn settle(state: &State, written: Written, closed: &mut Vec<ClaimId>, locked: &mut Vec<Ended>) -> Vec<Ended> {
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
        tracing::warn!(count = lost, "attempts had lost their lease; their outcomes were dropped");
    }
    state.counters.writes.fetch_add(1, Ordering::Relaxed);
    state.counters.ends.fetch_add(written.replies.len() as u64, Ordering::AcqRel);
    for (place, answer) in written.answers {
        // Who does not listen any more has no need of it.
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
