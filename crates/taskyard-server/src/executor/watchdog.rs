//! Looks from outside for bodies that block their thread or do not end in time.
//!
//! An async body is timed by the runtime that polls it, but one that never yields keeps its own timer from being looked at; a
//! blocking body is timed by nobody else. When the deadline and a grace have passed, the attempt is ended from here by its
//! fenced write and the thread is given up and counted. A worker thread and the thread of a blocking body are replaced; bodies
//! that were pending on that worker thread are innocent: they are released, and what they still write is dropped. A thread of
//! the caller's runtime cannot be replaced: the bodies that it polled go on on its other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::store::Outcome;

use super::crew::Crew;
use super::pool::Pool;
use super::running::{RunSite, Running};
use super::shared;
use super::worker::WorkerFace;
use crate::ServerConfig;
use crate::attempt::{Attempt, End, Interrupt, judge};
use crate::engine::lock;

/// A poll that lasts this long makes its worker's other places count as taken.
const STALL: Duration = Duration::from_millis(100);

pub(super) fn watch(pool: &Arc<Pool>, now: Instant) {
    let config = pool.config();
    let mut blocked = 0;
    for (crew, is_shared) in [(&pool.shared, true), (&pool.local, false)] {
        let workers = lock(&crew.workers).clone();
        for worker in &workers {
            let stalled = watch_worker(pool, crew, is_shared, worker, &config, now);
            blocked += usize::from(stalled && is_shared);
        }
    }
    for running in pool.table.all() {
        match &running.site {
            RunSite::Thread => watch_thread(pool, &running, &config, now),
            RunSite::Shared { .. } => blocked += usize::from(watch_pending(pool, &running, &config, now)),
            RunSite::Local(_) => {
                watch_pending(pool, &running, &config, now);
            }
        }
    }
    blocked += pool.abandoned_shared.load(Ordering::Acquire);
    pool.blocked_shared.store(blocked, Ordering::Release);
    // A wake-up that went to a worker which was then held up by another body would leave tasks in the line.
    for crew in pool.crews() {
        crew.stir(pool);
    }
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

/// Looks at the first poll of a worker's body; whether it is stalled and not given up.
fn watch_worker(
    pool: &Arc<Pool>,
    crew: &Crew,
    is_shared: bool,
    worker: &Arc<WorkerFace>,
    config: &ServerConfig,
    now: Instant,
) -> bool {
    let polls = worker.polls();
    let Some((beat, since)) = polls.watch.look(now) else { return false };
    let Some(attempt) = polls.current() else { return false };
    if now.saturating_duration_since(since) >= STALL {
        worker.set_stalled();
    }
    // The body that was seen may have ended meanwhile.
    if !polls.watch.is_at(beat) {
        return false;
    }
    if polls.watch.warn(&attempt, since, now) && is_shared {
        shared::revive(pool);
    }
    let Some(end) = overstays(&attempt, since, config, now) else { return worker.is_stalled() };
    let outcome = end(&attempt);
    give_up_worker(pool, crew, is_shared, worker, &attempt, outcome);
    false
}

fn give_up_worker(
    pool: &Arc<Pool>,
    crew: &Crew,
    is_shared: bool,
    worker: &Arc<WorkerFace>,
    culprit: &Arc<Attempt>,
    outcome: Outcome,
) {
    if !crew.remove(worker) {
        return;
    }
    worker.abandon();
    pool.give_up_thread(is_shared);
    end_culprit(culprit, outcome);
    if is_shared {
        shared::revive(pool);
    }
    for running in pool.table.all() {
        if matches!(&running.site, RunSite::Local(site) if Arc::ptr_eq(site, worker)) {
            running.attempt.interrupt(Interrupt::Release);
            running.attempt.end(Outcome::CutShort);
            pool.table.remove(&running);
        }
    }
    pool.changed.notify_one();
}

fn end_culprit(culprit: &Attempt, outcome: Outcome) {
    tracing::error!(
        task = %culprit.id(),
        kind = culprit.claimed.kind,
        "a task does not yield: its attempt is ended, its thread is given up"
    );
    culprit.interrupt(Interrupt::Timeout);
    culprit.end(outcome);
}

/// Looks at a body that was pending; whether it blocks its thread and is not given up.
fn watch_pending(pool: &Arc<Pool>, running: &Arc<Running>, config: &ServerConfig, now: Instant) -> bool {
    let attempt = &running.attempt;
    let polled = running.polls.look(now).map(|(_, since)| since);
    let stalled = polled.is_some_and(|since| now.saturating_duration_since(since) >= STALL);
    if let Some(since) = polled {
        if running.polls.warn(attempt, since, now) {
            shared::revive(pool);
        }
        if let RunSite::Local(worker) = &running.site
            && stalled
        {
            worker.set_stalled();
        }
    }
    if running.is_abandoned() {
        return false;
    }
    let Some(end) = overstays(attempt, running.started, config, now) else { return stalled };
    if polled.is_none() {
        // It waits behind another one that does not yield; its own time is over all the same.
        if !attempt.is_decided() {
            let outcome = end(attempt);
            attempt.interrupt(Interrupt::Timeout);
            attempt.end(outcome);
        }
        return false;
    }
    let outcome = end(attempt);
    match &running.site {
        RunSite::Local(worker) => give_up_worker(pool, &pool.local, false, worker, attempt, outcome),
        RunSite::Shared { worker, .. } if running.abandon() => {
            pool.give_up_thread(true);
            pool.table.remove(running);
            worker.task_ended();
            end_culprit(attempt, outcome);
            shared::revive(pool);
            pool.changed.notify_one();
        }
        RunSite::Shared { .. } | RunSite::Thread => {}
    }
    false
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
    pool.give_up_thread(false);
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
