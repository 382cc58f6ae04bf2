//! Ends attempts, fenced by the token: applied, already applied, or lost.
//!
//! A plain success is one statement on the task's row; every other outcome takes the general path: change the row in
//! memory, move it, save it.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::{CASCADE_INLINE_MAX, CRASHES_MAX, Finish, LOST_ALONE_MIN, Outcome as End, WriteReply};
use taskyard_core::task::{AttemptOutcome, Failure};
use taskyard_core::{ClaimId, TaskState, Token, WaitReason};

use super::claim::orders_of;
use super::{kind, log};
use crate::codec::{Bits, later};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::{end_and_notify, notice_of};
use crate::task::history::keep_attempt;
use crate::task::row::{HOLD_STARTED, Row};
use crate::task::transitions;
use crate::thread::tx::Tx;

/// Maximum number of edges processed for a whole batch, however many tasks it ends.
const BATCH_EDGES_MAX: usize = 10 * CASCADE_INLINE_MAX;

/// Ends each attempt, or replies that its lease is over; deletes claims of which nothing is running any more.
pub(crate) fn finish(tx: &mut Tx<'_>, batch: &[Finish], closed: &[ClaimId]) -> Outcome<Vec<WriteReply>> {
    let mut find = tx.sql(sql!("task/find"))?;
    let mut edges = BATCH_EDGES_MAX;
    let mut replies = Vec::with_capacity(batch.len());
    for item in batch {
        let row = Row::find_with(tx, &mut find, [item.id.0.into_bytes()])?;
        replies.push(match fence(row, item.token) {
            Ok(mut row) => {
                let mut budget = edges.min(CASCADE_INLINE_MAX);
                let before = budget;
                finish_one(tx, &mut row, item, &mut budget)?;
                edges -= before - budget;
                WriteReply::Applied(row.state())
            }
            Err(reply) => reply,
        });
    }
    for claim in closed {
        close(tx, *claim)?;
    }
    Ok(replies)
}

/// Returns the row if this token may write it now, otherwise the reply.
pub(crate) fn fence(row: Option<Row>, token: Token) -> Result<Row, WriteReply> {
    match row {
        Some(row) if row.token == Some(token.0.into_bytes()) => match row.state() {
            TaskState::Doing => Ok(row),
            state => Err(WriteReply::AlreadyApplied(state)),
        },
        _ => Err(WriteReply::Lost),
    }
}

fn finish_one(tx: &mut Tx<'_>, row: &mut Row, item: &Finish, budget: &mut usize) -> Outcome<()> {
    if let Some(context) = &item.context {
        row.set_context(tx, context)?;
    }
    log::add(tx, row.order, row.attempt, &item.logs)?;
    if let End::Done { result } = &item.outcome {
        return done(tx, row, result, budget);
    }
    let (cancel, stop) = (row.cancel_requested, row.stop_requested);
    transitions::clear_requests(tx, row)?;
    if cancel || stop {
        return give_way(tx, row, cancel, budget);
    }
    match &item.outcome {
        End::Done { .. } => Ok(()),
        End::Interrupted => give_way(tx, row, true, budget),
        End::Failed(error) => {
            row.failures += 1;
            row.ended = Some(AttemptOutcome::Failed);
            row.blame(tx, error)?;
            end_and_notify(tx, row, TaskState::Failed, budget)
        }
        End::Expired => {
            uncount(row);
            row.blame(tx, &expired())?;
            end_and_notify(tx, row, TaskState::Cancelled, budget)
        }
        End::Retry { after, error } => {
            row.failures += 1;
            row.blame(tx, error)?;
            keep_attempt(tx, row, AttemptOutcome::Failed, tx.now, Some(error))?;
            pause(tx, row, *after)
        }
        End::Snooze { after } => {
            keep_attempt(tx, row, AttemptOutcome::Snoozed, tx.now, None)?;
            pause(tx, row, *after)
        }
        End::CutShort if row.at_most_once => {
            row.ended = Some(AttemptOutcome::Lost);
            row.blame(tx, &cut_short())?;
            end_and_notify(tx, row, TaskState::Failed, budget)
        }
        End::Released | End::CutShort => {
            uncount(row);
            transitions::enqueue(tx, row)?;
            row.save_end(tx)
        }
        End::Refused { reason, build } => {
            let mut parked = kind::refuse(tx, row, build)?;
            uncount(row);
            // A key that was held until the start is taken again; a task that has lost it to another one waits.
            if !parked && row.unique_hold == Some(HOLD_STARTED) {
                parked = transitions::other_holder(tx, row)?.is_some();
                transitions::retake_key(tx, row)?;
            }
            if parked {
                transitions::wait(tx, row, WaitReason::Parked, None, Some(reason))?;
            } else {
                transitions::enqueue(tx, row)?;
            }
            row.save_end(tx)
        }
        End::Parked { reason } => {
            uncount(row);
            transitions::wait(tx, row, WaitReason::Parked, None, Some(reason))?;
            row.save_end(tx)
        }
        End::Crashed(error) => {
            row.crashes += 1;
            died(tx, row, AttemptOutcome::Crashed, Some(error), budget)
        }
        End::Beside => died(tx, row, AttemptOutcome::Lost, None, budget),
        End::Lost(error) => lost(tx, row, error, budget),
    }
}

/// Handles an attempt whose outcome was lost with the database: the task runs again, or becomes a dead letter if it may
/// run only once.
fn lost(tx: &mut Tx<'_>, row: &mut Row, error: &Failure, budget: &mut usize) -> Outcome<()> {
    row.lost += 1;
    keep_attempt(tx, row, AttemptOutcome::Lost, tx.now, Some(error))?;
    if row.at_most_once {
        row.blame(tx, error)?;
        return end_and_notify(tx, row, TaskState::Failed, budget);
    }
    row.alone |= row.lost >= LOST_ALONE_MIN;
    transitions::enqueue(tx, row)?;
    row.save_end(tx)
}

/// Handles a success, the path of nearly all tasks.
fn done(tx: &mut Tx<'_>, row: &mut Row, result: &[u8], budget: &mut usize) -> Outcome<()> {
    transitions::clear_requests(tx, row)?;
    row.refuse_skipped(tx.run(sql!("task/done"), params![row.order, result, tx.now])?)?;
    row.enter(tx, TaskState::Done);
    row.finished_at = Some(tx.now);
    transitions::settle_end(tx, row)?;
    notice_of(tx, row, budget)
}

/// Ends a task that was cancelled or stopped by request, or whose body was interrupted.
fn give_way(tx: &mut Tx<'_>, row: &mut Row, cancel: bool, budget: &mut usize) -> Outcome<()> {
    let (ended, state) = if cancel {
        (AttemptOutcome::Cancelled, TaskState::Cancelled)
    } else {
        (AttemptOutcome::Stopped, TaskState::Stopped)
    };
    row.ended = Some(ended);
    end_and_notify(tx, row, state, budget)
}

/// Undoes the count of an attempt that never started.
fn uncount(row: &mut Row) {
    row.attempt = row.attempt.saturating_sub(1);
    row.started_at = None;
}

/// Schedules the next attempt after a delay, or at once if the delay is zero.
fn pause(tx: &mut Tx<'_>, row: &mut Row, after: Duration) -> Outcome<()> {
    let run_at = later(tx.now, after);
    if run_at > tx.now {
        row.run_at = Some(run_at);
        transitions::wait(tx, row, WaitReason::Retry, Some(run_at), None)?;
    } else {
        row.run_at = None;
        transitions::enqueue(tx, row)?;
    }
    row.save_end(tx)
}

/// Handles the death of the attempt's worker: the task becomes a dead letter, or runs once more with nothing beside it.
fn died(
    tx: &mut Tx<'_>,
    row: &mut Row,
    outcome: AttemptOutcome,
    error: Option<&Failure>,
    budget: &mut usize,
) -> Outcome<()> {
    row.alone = true;
    if row.at_most_once || row.crashes >= CRASHES_MAX {
        row.ended = Some(outcome);
        row.blame(tx, &worker_died(row.at_most_once, error.and_then(|error| error.traceback.clone())))?;
        return end_and_notify(tx, row, TaskState::Failed, budget);
    }
    keep_attempt(tx, row, outcome, tx.now, error)?;
    transitions::enqueue(tx, row)?;
    row.save_end(tx)
}

/// Returns the error of a task that killed its worker too often.
pub(crate) fn worker_died(at_most_once: bool, traceback: Option<String>) -> Failure {
    let message = if at_most_once { "worker died and the task may run only once" } else { "worker died 3 times" };
    Failure { traceback, ..Failure::new("WorkerDied", message) }
}

/// Returns the error of a task that may run only once and was interrupted before its end.
fn cut_short() -> Failure {
    Failure::new("CutShort", "the task was cut short and may run only once")
}

/// Returns the error of a task that did not start in time.
pub(crate) fn expired() -> Failure {
    Failure::new("Expired", "the task expired before it started")
}

/// Deletes a claim, unless one of its tasks is still running: a rescue would no longer find it.
fn close(tx: &Tx<'_>, claim: ClaimId) -> Outcome<()> {
    let found: Option<(Bits, Vec<u8>, i64)> = tx
        .sql(sql!("claim/get"))?
        .query_row([claim.0.into_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((server, orders, at)) = found else { return Ok(()) };
    let mut holder = tx.sql(sql!("task/holder"))?;
    for order in orders_of(&orders) {
        if holder.exists(params![order, server, at])? {
            return Ok(());
        }
    }
    tx.run(sql!("claim/delete"), [claim.0.into_bytes()])?;
    Ok(())
}
