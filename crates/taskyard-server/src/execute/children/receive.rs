//! Handles the messages of a child.

use std::sync::Arc;
use std::time::Instant;

use taskyard_core::Failure;
use taskyard_core::context::Context;
use taskyard_core::store::Outcome;

use super::Children;
use super::child::{Assignment, Child, Recall};
use super::child_pool::ChildPool;
use super::frame::{AfterFailure, End, FromChild, Note, RetryDirective, ToChild};
use crate::TaskError;
use crate::attempt::parked_reason::kind_of_reason;
use crate::attempt::{self, Attempt, Interrupt, resolve_outcome};
use crate::primitives::lock::lock;

/// Handles one message of a child.
pub(super) fn receive(children: &Arc<Children>, number: u64, message: FromChild) {
    let mut pool = lock(&children.pool);
    let pool = &mut *pool;
    let Some(child) = pool.children.get_mut(&number) else { return };
    match message {
        FromChild::Ready { hears_deaths, code } => {
            children.is_of(code.as_deref());
            child.code = code;
            pool.hook_delivery.hooks = Some(hears_deaths);
            child.ready = true;
            child.idle_since = Instant::now();
            pool.capabilities.begin(child);
            pool.start_succeeded();
            children.feed(pool);
            children.changed.notify_one();
        }
        FromChild::Started(slots) => {
            for slot in slots {
                started(children, child, slot);
            }
        }
        FromChild::Noted(notes) => {
            for note in notes {
                if let Some(Assignment::Started { attempt, .. }) = child.assignments.get(&note.slot) {
                    noted(attempt, note);
                }
            }
        }
        FromChild::Rests(slots) => {
            for (slot, rests) in slots {
                child.rests(slot, rests);
            }
            children.feed(pool);
            children.changed.notify_one();
        }
        FromChild::Ended(ends) => ended(children, pool, number, ends),
        FromChild::Asks(asks) => super::requests::serve(children, child, number, asks),
        FromChild::Withdrawn(calls) => child.withdraw(&calls),
        FromChild::Tells(number) => pool.hook_delivery.begins(number, Instant::now()),
        FromChild::Told(number) => {
            pool.hook_delivery.told(number);
            child.idle_since = Instant::now();
        }
        FromChild::Singles(kinds) => {
            // A child that exits may have been loaded with other code than its successors.
            if child.leaving.is_none() {
                pool.singles.extend(kinds);
                let most = 1 + children.ahead();
                child.has_singles(&pool.singles, most);
                children.feed(pool);
            }
        }
        FromChild::Blocked(blocked) => {
            child.blocked = blocked;
            if blocked {
                // The child gives all of these back by itself. Those whose start it has not reported are assigned to
                // other children here.
                child.recall(Recall::Requeue, |_| true);
            } else {
                // Makes the child read the messages that arrived meanwhile.
                child.send(ToChild::Ping);
            }
            children.feed(pool);
            children.changed.notify_one();
        }
        FromChild::Known(reasons) => {
            if pool.capabilities.learn(reasons) {
                children.run_context.learned.notify_one();
            }
        }
    }
}

fn started(children: &Children, child: &mut Child, slot: u64) {
    let Some(assignment) = child.assignments.remove(&slot) else { return };
    let Assignment::Sent { queued, recall } = assignment else {
        child.assignments.insert(slot, assignment);
        return;
    };
    let attempt = queued.begin(&children.run_context.host, None);
    if recall == Some(Recall::Asked) {
        attempt.interrupt(Interrupt::Asked);
        child.send(ToChild::Interrupt(vec![(slot, Interrupt::Asked)]));
    }
    child.assignments.insert(slot, Assignment::Started { attempt, at: Instant::now(), outcome: None });
}

fn noted(attempt: &Arc<Attempt>, note: Note) {
    let limits = attempt.host.limits();
    attempt.live(|live| {
        for line in note.lines {
            live.push_line(line);
        }
        if let Some(bytes) = note.context {
            match Context::from_bytes(&bytes).and_then(|context| context.to_bytes(&limits).map(|_| context)) {
                Ok(context) => {
                    live.context = Some(context);
                    live.changed += 1;
                }
                // The child checks the size at the call, so only a limit that was lowered since can lead here.
                Err(error) => tracing::error!(task = %attempt.id(), %error, "a context cannot be stored"),
            }
        }
    });
    attempt.offer();
}

fn ended(children: &Arc<Children>, pool: &mut ChildPool, number: u64, ends: Vec<(u64, End)>) {
    let Some(child) = pool.children.get_mut(&number) else { return };
    let build = children.build_of(child.code.as_deref());
    let now = Instant::now();
    let (mut outcomes, mut back, mut count) = (Vec::with_capacity(ends.len()), Vec::new(), 0);
    let mut failures = Vec::new();
    for (slot, end) in ends {
        match (child.take(slot), end) {
            // The attempt was given back while the event loop of its child was blocked.
            (None, End::Raised { .. }) => failures.push((slot, AfterFailure::Other)),
            (None, _) => {}
            (Some(Assignment::Sent { queued, recall }), End::Recalled) => match recall {
                Some(Recall::Requeue) => back.push(*queued),
                Some(Recall::Asked) => children.end_unstarted(*queued, Outcome::Interrupted),
                _ => children.end_unstarted(*queued, Outcome::Released),
            },
            (Some(Assignment::Sent { queued, .. }), end) => {
                // The attempt ended before it began, or both messages arrived at once.
                let attempt = queued.begin(&children.run_context.host, None);
                let (outcome, failure) = resolved(&attempt, None, end, build.as_deref());
                failures.extend(failure.map(|failure| (slot, failure)));
                outcomes.push((attempt, outcome));
            }
            (Some(Assignment::Started { attempt, outcome, .. }), end) => {
                count += 1;
                let (outcome, failure) = resolved(&attempt, outcome, end, None);
                failures.extend(failure.map(|failure| (slot, failure)));
                outcomes.push((attempt, outcome));
            }
        }
    }
    if !failures.is_empty() {
        child.send(ToChild::Failures(failures));
    }
    if count > 0 {
        children.throughput.note(now.saturating_duration_since(child.busy_since), count);
        child.busy_since = now;
    }
    if child.assignments.is_empty() {
        child.idle_since = now;
    }
    for queued in back.into_iter().rev() {
        pool.run_queue.push_front(queued);
    }
    let mut written: Vec<_> = outcomes.into_iter().filter_map(|(attempt, outcome)| attempt.conclude(outcome)).collect();
    children.run_context.host.outbox.ends.append(&mut written);
    children.feed(pool);
    children.changed.notify_one();
}

/// Returns the outcome of an attempt and, if the body raised an error, the reply for its child. `decided`: the outcome,
/// if this server has decided it already; `build`: as in [`outcome`].
pub(super) fn resolved(
    attempt: &Attempt,
    decided: Option<Outcome>,
    end: End,
    build: Option<&str>,
) -> (Outcome, Option<AfterFailure>) {
    let raised = matches!(end, End::Raised { .. });
    if let Some(decided) = decided {
        return (decided, raised.then_some(AfterFailure::Other));
    }
    let outcome = outcome(attempt, end, build);
    let after = raised.then(|| match &outcome {
        Outcome::Retry { after, .. } => AfterFailure::Retry(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        Outcome::Failed(_) => AfterFailure::Dead,
        _ => AfterFailure::Other,
    });
    if matches!(after, Some(AfterFailure::Retry(_) | AfterFailure::Dead)) {
        attempt.log_elsewhere();
    }
    (outcome, after)
}

/// Returns the outcome to write for this end.
///
/// `build`: the server's build, if the child that reports the end runs it.
fn outcome(attempt: &Attempt, end: End, build: Option<&str>) -> Outcome {
    match end {
        End::Returned(result) => resolve_outcome(attempt, attempt::End::Returned(Ok(result.into_vec()))),
        // Other code of the child cancelled the body. The task is blamed only if it ran alone.
        End::Raised { directive: RetryDirective::Cancelled, .. }
            if attempt.interrupted().is_none() && *attempt.host.stopping.borrow() =>
        {
            Outcome::CutShort
        }
        End::Raised { directive: RetryDirective::Cancelled, .. }
            if attempt.interrupted().is_none() && !attempt.claimed.alone =>
        {
            Outcome::Beside
        }
        End::Raised { error_type, also, message, traceback, directive } => {
            let failure = Failure { error_type, message, traceback };
            let error = TaskError::of(failure).being_also(also).with_directive(directive);
            resolve_outcome(attempt, attempt::End::Returned(Err(error)))
        }
        End::Interrupted => match attempt.interrupted() {
            Some(why) => resolve_outcome(attempt, attempt::End::Interrupted(why)),
            None => Outcome::Interrupted,
        },
        // A child of other code is not evidence about this server's build: its tasks are parked until this server is
        // asked about them.
        End::Parked(reason) => match build.filter(|_| kind_of_reason(&reason) == Some(&attempt.claimed.kind)) {
            Some(build) => {
                attempt.host.refused.notify_one();
                Outcome::Refused { reason, build: build.to_owned() }
            }
            None => Outcome::Parked { reason },
        },
        End::Recalled => Outcome::Released,
    }
}
