//! Supervises children: enforces time limits, and handles bodies that do not yield and children that are idle, worn or
//! stuck.

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::store::Outcome;

use super::child::{Assignment, Child, Recall};
use super::frame::ToChild;
use super::{ChildCommand, Children};
use crate::ServerConfig;
use crate::attempt::{Attempt, End, Interrupt, resolve_outcome};
use crate::primitives::lock::lock;

/// Maximum time for a child to become ready before it is killed.
const START_MAX: Duration = Duration::from_secs(60);
/// Maximum time for a child to exit after it was asked to and has no tasks left.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// Interval at which a child with tasks is sent a `Ping`.
const PING_EVERY: Duration = Duration::from_millis(500);

pub(super) fn watch(children: &Arc<Children>, now: Instant) {
    let config = children.config();
    let mut pool = lock(&children.pool);
    let mut staying = pool.children.values().filter(|child| child.stays()).count();
    let mut spare = staying.saturating_sub(config.workers_min);
    let pool = &mut *pool;
    // A child whose hooks do not return receives no further tasks. An embedded child of the application cannot be
    // replaced.
    if let Some(slow) = pool.hook_delivery.watch(now).filter(|_| !config.on_demand)
        && let Some(child) = pool.children.get_mut(&slow)
    {
        child.tell_to_leave(now);
    }
    for (number, child) in &mut pool.children {
        let was_condemned = child.condemned.is_some();
        watch_bodies(child, &config, now);
        if was_condemned && child.condemned.is_none() {
            // Another child may have been started in its place.
            if staying < config.max_workers.max(1) {
                staying += 1;
            } else {
                child.tell_to_leave(now);
            }
        }
        let is_delivering = pool.hook_delivery.is_of(*number);
        let is_empty = child.assignments.is_empty() && !is_delivering;
        // An event loop that takes its own tasks belongs to the application.
        if !config.on_demand
            && (child.blocked || !is_empty)
            && now.saturating_duration_since(child.pinged_at) >= PING_EVERY
        {
            child.pinged_at = now;
            child.send(ToChild::Ping);
        }
        let is_done = !child.runs() && !is_delivering;
        if let Some(since) = child.condemned {
            let innocent = child
                .assignments
                .values()
                .any(|assignment| matches!(assignment, Assignment::Started { outcome: None, .. }));
            // The attempt that condemned it may have ended; those that are left have their own time limits.
            let culprit = child.assignments.values().find_map(|assignment| match assignment {
                Assignment::Started { attempt, outcome: Some(_), .. } => Some(attempt),
                _ => None,
            });
            if let Some(culprit) = culprit
                && (!innocent || now.saturating_duration_since(since) >= config.cancel_grace)
            {
                tracing::warn!(
                    child = number,
                    task = %culprit.id(),
                    kind = culprit.claimed.kind,
                    "a child process runs a task that does not yield: the process is ended"
                );
                child.kill();
            }
        } else if child.leaving.is_some_and(|at| now.saturating_duration_since(at) >= LEAVE_MAX) && is_done
            || !child.ready && now.saturating_duration_since(child.born) >= START_MAX
        {
            tracing::warn!(child = number, "a child process is stuck: the process is ended");
            child.kill();
        } else if child.takes() {
            let idle = is_empty && now.saturating_duration_since(child.idle_since) >= config.worker_idle_timeout;
            if idle && spare > 0 {
                spare -= 1;
                child.tell_to_leave(now);
            } else if is_worn(child, &children.command) {
                child.tell_to_leave(now);
            }
        }
    }
    children.feed(pool);
}

fn watch_bodies(child: &mut Child, config: &ServerConfig, now: Instant) {
    let mut late = Vec::new();
    let (mut stubborn, mut given_up) = (false, Vec::new());
    for (slot, assignment) in &mut child.assignments {
        let Assignment::Started { attempt, at, outcome } = assignment else { continue };
        let over = attempt.claimed.timeout.is_some_and(|timeout| now.saturating_duration_since(*at) >= timeout);
        if over && attempt.interrupted().is_none() {
            attempt.interrupt(Interrupt::Timeout);
            late.push((*slot, Interrupt::Timeout));
        }
        let asked_for = attempt.interrupted_at().map(|at| now.saturating_duration_since(at));
        if config.on_demand {
            // The process is the application's, and its other bodies are unrelated: the attempt is abandoned on its
            // own.
            if asked_for.is_some_and(|time| time >= config.cancel_grace) {
                given_up.push(*slot);
            }
            continue;
        }
        let grace = match attempt.interrupted() {
            Some(Interrupt::Asked) => config.cancel_grace,
            _ => config.timeout_grace,
        };
        // The process takes no new tasks while the body may not yield, and is spared if the body ends by itself.
        stubborn |= asked_for.is_some_and(|time| time >= grace.min(config.timeout_grace));
        if asked_for.is_some_and(|time| time >= grace) {
            outcome.get_or_insert_with(|| outcome_of(attempt));
        }
    }
    if !late.is_empty() {
        child.send(ToChild::Interrupt(late));
    }
    for slot in given_up {
        if let Some(Assignment::Started { attempt, outcome, .. }) = child.take(slot) {
            tracing::warn!(task = %attempt.id(), "a task did not end when requested; its attempt is given up, and its body may still run");
            attempt.end(outcome.unwrap_or_else(|| outcome_of(&attempt)));
        }
    }
    if !stubborn {
        child.condemned = None;
    } else if child.condemned.is_none() {
        child.condemned = Some(now);
        child.recall(Recall::Requeue, |_| true);
    }
}

fn outcome_of(attempt: &Attempt) -> Outcome {
    match attempt.interrupted() {
        Some(Interrupt::Asked) => Outcome::Interrupted,
        Some(Interrupt::Release) => Outcome::CutShort,
        _ => resolve_outcome(attempt, End::TimedOut),
    }
}

/// Returns true if the child has run enough tasks or its memory has grown too large.
fn is_worn(child: &Child, command: &ChildCommand) -> bool {
    let tasks = command.tasks_max > 0 && child.taken >= command.tasks_max;
    tasks || command.memory_bytes_max.is_some_and(|max| resident(child).is_some_and(|bytes| bytes >= max))
}

/// Returns the resident memory of its process in bytes.
fn resident(child: &Child) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", child.pid?.as_raw_nonzero())).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
