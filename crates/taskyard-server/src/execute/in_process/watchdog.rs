//! Detects bodies that block their thread or do not end in time.
//!
//! The time limit of an async body is a timer of the runtime that polls it, but a body that never yields prevents that
//! timer from firing; a blocking body has no timer at all. When the deadline and a grace period have passed, the
//! attempt is ended from here by its fenced write, and its thread is abandoned and counted. A worker thread and the
//! thread of a blocking body are replaced. Other bodies that were pending on that worker thread are released, and their
//! later writes are dropped. A thread of the caller's runtime cannot be replaced: the bodies that it polled continue on
//! the other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::store::Outcome;

use super::pool::Pool;
use super::running::{RunSite, Running};
use super::shared_workers;
use super::worker::WorkerHandle;
use crate::ServerConfig;
use crate::attempt::{Attempt, End, Interrupt, resolve_outcome};
use crate::primitives::lock::lock;

/// Duration after which a poll makes the other slots of its worker count as taken.
const STALL: Duration = Duration::from_millis(100);
/// Time within which an interrupted body is dropped, unless something blocks it.
const LATE: Duration = Duration::from_secs(1);

/// Results of one check.
#[derive(Default)]
struct Found {
    /// Number of threads of the caller's runtime that are blocked by a poll.
    blocked: usize,
    /// Set if a poll blocks its thread for long: bodies that wait behind it must move to other tasks.
    revive: bool,
}

pub(super) fn watch(pool: &Arc<Pool>, now: Instant) {
    let config = pool.config();
    let mut found = Found { blocked: pool.abandoned_shared.load(Ordering::Acquire), ..Found::default() };
    for (worker_group, is_shared) in [(&pool.shared, true), (&pool.local, false)] {
        let workers = lock(&worker_group.workers).clone();
        for worker in &workers {
            watch_worker(pool, worker, is_shared, &config, now, &mut found);
        }
    }
    for running in pool.table.all() {
        match &running.site {
            RunSite::Thread => watch_thread(pool, &running, &config, now),
            RunSite::Shared { .. } | RunSite::Local(_) => watch_pending(pool, &running, &config, now, &mut found),
        }
    }
    if let Some(runtime) = &pool.runtime {
        runtime.note_blocked(found.blocked, pool.abandoned_shared.load(Ordering::Acquire), pool, now);
    }
    if found.revive {
        shared_workers::revive(pool);
    }
    // A wake-up of a worker that was then blocked by another body would leave tasks in the queue.
    for worker_group in pool.worker_groups() {
        worker_group.stir(pool);
    }
    if pool.blocking.waiting() > 0 {
        pool.blocking.stir(pool);
    }
}

/// Returns how to end a body that has exceeded its time, if it has.
fn overstays(
    attempt: &Attempt,
    started: Instant,
    config: &ServerConfig,
    now: Instant,
) -> Option<fn(&Attempt) -> Outcome> {
    let over = |from: Instant, limit: Duration| now.saturating_duration_since(from) >= limit;
    if attempt.claimed.timeout.is_some_and(|timeout| over(started, timeout.saturating_add(config.timeout_grace))) {
        return Some(|attempt| resolve_outcome(attempt, End::TimedOut));
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

/// Checks the first poll of a worker's body.
fn watch_worker(
    pool: &Arc<Pool>,
    worker: &Arc<WorkerHandle>,
    is_shared: bool,
    config: &ServerConfig,
    now: Instant,
    found: &mut Found,
) {
    let polls = worker.polls();
    let Some((beat, since)) = polls.watch.look(now) else { return };
    let Some(attempt) = polls.current() else { return };
    let stalled = now.saturating_duration_since(since) >= STALL;
    if stalled {
        worker.set_stalled(true);
        // Ends that were decided before this poll must not wait for it.
        polls.hand_over(pool);
    }
    // The observed body may have ended meanwhile.
    if !polls.watch.is_at(beat) {
        if stalled && worker.set_stalled(false) {
            pool.changed.notify_one();
        }
        return;
    }
    found.revive |= polls.watch.warn(&attempt, since, now) && is_shared;
    let Some(end) = overstays(&attempt, since, config, now) else {
        found.blocked += usize::from(stalled && is_shared);
        return;
    };
    let outcome = end(&attempt);
    if !is_shared {
        give_up_worker(pool, worker, &attempt, outcome);
    } else if worker.abandon_poll(&polls, beat) {
        pool.give_up_thread(true);
        worker.set_stalled(false);
        worker.give_place_up(&attempt);
        end_culprit(pool, &attempt, outcome);
        shared_workers::drive(pool.clone(), worker.clone());
        found.blocked += 1;
        found.revive = true;
    }
}

/// Abandons a worker's thread.
fn give_up_worker(pool: &Arc<Pool>, worker: &Arc<WorkerHandle>, culprit: &Arc<Attempt>, outcome: Outcome) {
    if !pool.local.remove(worker) {
        return;
    }
    worker.abandon();
    pool.give_up_thread(false);
    end_culprit(pool, culprit, outcome);
    for running in pool.table.all() {
        if matches!(&running.site, RunSite::Local(site) if Arc::ptr_eq(site, worker)) {
            running.attempt.interrupt(Interrupt::Release);
            running.attempt.end(Outcome::CutShort);
            pool.table.remove(&running);
        }
    }
}

fn end_culprit(pool: &Pool, culprit: &Attempt, outcome: Outcome) {
    tracing::error!(
        task = %culprit.id(),
        kind = culprit.claimed.kind,
        "a task does not yield: its attempt is ended, its thread is given up"
    );
    culprit.interrupt(Interrupt::Timeout);
    culprit.end(outcome);
    pool.changed.notify_one();
}

/// Checks a pending body.
fn watch_pending(pool: &Arc<Pool>, running: &Arc<Running>, config: &ServerConfig, now: Instant, found: &mut Found) {
    if running.is_abandoned() {
        return;
    }
    let attempt = &running.attempt;
    let Some((beat, since)) = running.polls.look(now) else {
        // The body may wait behind one that does not yield.
        if is_late(running, now) {
            running.revive_once();
        }
        if let Some(end) = overstays(attempt, running.started, config, now).filter(|_| !attempt.is_decided()) {
            let outcome = end(attempt);
            attempt.interrupt(Interrupt::Timeout);
            attempt.end(outcome);
        }
        return;
    };
    let (is_shared, stalled) =
        (matches!(running.site, RunSite::Shared { .. }), now.saturating_duration_since(since) >= STALL);
    if let RunSite::Local(worker) = &running.site
        && stalled
    {
        worker.set_stalled(true);
        if !running.polls.is_at(beat) && worker.set_stalled(false) {
            pool.changed.notify_one();
        }
    }
    found.revive |= running.polls.warn(attempt, since, now) && is_shared;
    let Some(end) = overstays(attempt, running.started, config, now) else {
        found.blocked += usize::from(stalled && is_shared);
        return;
    };
    let outcome = end(attempt);
    match &running.site {
        RunSite::Local(worker) => give_up_worker(pool, worker, attempt, outcome),
        RunSite::Shared { worker, .. } if running.abandon() => {
            pool.give_up_thread(true);
            pool.table.remove(running);
            worker.give_place_up(attempt);
            end_culprit(pool, attempt, outcome);
            found.blocked += 1;
            found.revive = true;
        }
        RunSite::Shared { .. } | RunSite::Thread => {}
    }
}

/// Returns true if the body should have been dropped by now.
fn is_late(running: &Running, now: Instant) -> bool {
    running.deadline().is_some_and(|deadline| now >= deadline)
        || running.attempt.interrupted_at().is_some_and(|at| now.saturating_duration_since(at) >= LATE)
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
        "a blocking task has exceeded its time limit: its attempt is ended, its thread is given up"
    );
    attempt.end(outcome);
    pool.changed.notify_one();
}
