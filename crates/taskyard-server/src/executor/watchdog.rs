//! Looks from outside for bodies that do not yield.
//!
//! An async body is timed by its lane's runtime, but one that never yields stops that runtime; a blocking body is
//! timed by nobody else. When the deadline and a grace have passed, the attempt is ended from here by its fenced
//! write, the thread is given up and counted, and another takes its place. A lane's other bodies are innocent: they
//! are released, and what they still write is dropped.
//!
//! The time of a body that blocks in its first poll is counted from the first look that saw it, because no clock is
//! read on the hot path.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::store::Outcome;

use super::lane::LaneFace;
use super::pool::Pool;
use super::running::{Place, Running};
use crate::ServerConfig;
use crate::attempt::{Attempt, End, Interrupt, judge};
use crate::engine::lock;

/// A poll that lasts this long makes its lane's other places count as taken.
const STALL: Duration = Duration::from_millis(100);

pub(super) fn watch(pool: &Arc<Pool>, now: Instant) {
    let config = pool.config();
    let lanes = lock(&pool.lanes).clone();
    for lane in &lanes {
        watch_lane(pool, lane, &config, now);
    }
    for running in pool.table.all() {
        match running.place {
            Place::Thread => watch_thread(pool, &running, &config, now),
            Place::Lane(number) => {
                if lanes.iter().any(|lane| lane.number == number && lane.is_stalled()) {
                    watch_neighbour(&running, &config, now);
                }
            }
        }
    }
    // A wake-up that went to a lane which was then held up by another body would leave tasks in the line.
    pool.stir();
    if pool.blocking.waiting() > 0 {
        pool.blocking.stir(pool);
    }
}

/// How a body that overstays is ended, if it does.
fn overstays(
    attempt: &Attempt,
    started: Instant,
    config: &ServerConfig,
    now: Instant,
) -> Option<fn(&Attempt) -> Outcome> {
    let over = |from: Instant, limit: Duration| now.saturating_duration_since(from) >= limit;
    if attempt.claimed.timeout.is_some_and(|timeout| over(started, timeout.saturating_add(config.timeout_grace))) {
        return Some(|attempt| judge(attempt, End::TimedOut));
    }
    match attempt.interrupted() {
        Some(why @ (Interrupt::Asked | Interrupt::Release)) => {
            let since = attempt.interrupted_at().unwrap_or(now);
            over(since, config.cancel_grace).then_some(match why {
                Interrupt::Asked => |_| Outcome::Interrupted,
                _ => |_| Outcome::CutShort,
            })
        }
        _ => None,
    }
}

fn watch_lane(pool: &Arc<Pool>, lane: &Arc<LaneFace>, config: &ServerConfig, now: Instant) {
    let beat = lane.beat();
    let since = {
        let mut seen = lock(&lane.seen);
        if seen.0 != beat || seen.1.is_none() {
            *seen = (beat, Some(now));
        }
        seen.1.unwrap_or(now)
    };
    let Some(attempt) = lane.current() else { return };
    if now.saturating_duration_since(since) >= STALL {
        lane.set_stalled();
    }
    if lane.beat() != beat {
        return;
    }
    let running =
        pool.table.get(attempt.id(), attempt.claimed.token).filter(|running| Arc::ptr_eq(&running.attempt, &attempt));
    let started = running.as_ref().map_or(since, |running| running.started);
    let Some(end) = overstays(&attempt, started, config, now) else { return };
    let outcome = end(&attempt);
    give_up_lane(pool, lane, &attempt, outcome);
}

fn give_up_lane(pool: &Arc<Pool>, lane: &Arc<LaneFace>, culprit: &Arc<Attempt>, outcome: Outcome) {
    let mut lanes = lock(&pool.lanes);
    let before = lanes.len();
    lanes.retain(|other| !Arc::ptr_eq(other, lane));
    if lanes.len() == before {
        return;
    }
    lane.abandon();
    pool.abandoned.fetch_add(1, Ordering::AcqRel);
    drop(lanes);
    tracing::error!(
        task = %culprit.id(),
        kind = culprit.claimed.kind,
        "a task does not yield: its attempt is ended, its thread is given up and replaced"
    );
    culprit.interrupt(Interrupt::Timeout);
    culprit.end(outcome);
    for running in pool.table.all() {
        if running.place == Place::Lane(lane.number) {
            running.attempt.interrupt(Interrupt::Release);
            running.attempt.end(Outcome::CutShort);
            pool.table.remove(&running);
        }
    }
    pool.changed.notify_one();
}

/// A pending body behind one that does not yield: its own time may be over too.
fn watch_neighbour(running: &Arc<Running>, config: &ServerConfig, now: Instant) {
    if let Some(end) = overstays(&running.attempt, running.started, config, now) {
        let outcome = end(&running.attempt);
        running.attempt.interrupt(Interrupt::Timeout);
        running.attempt.end(outcome);
    }
}

fn watch_thread(pool: &Arc<Pool>, running: &Arc<Running>, config: &ServerConfig, now: Instant) {
    let attempt = &running.attempt;
    if running.deadline().is_some_and(|deadline| now >= deadline) {
        attempt.interrupt(Interrupt::Timeout);
    }
    let Some(end) = overstays(attempt, running.started, config, now) else { return };
    if running.is_abandoned() || !running.abandon() {
        return;
    }
    let outcome = end(attempt);
    pool.abandoned.fetch_add(1, Ordering::AcqRel);
    pool.table.remove(running);
    pool.blocking.give_up(attempt);
    tracing::error!(
        task = %attempt.id(),
        kind = attempt.claimed.kind,
        "a blocking task overstays: its attempt is ended, its thread is given up"
    );
    attempt.end(outcome);
    pool.changed.notify_one();
}
