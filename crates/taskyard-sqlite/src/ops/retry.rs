//! Retry by an operator: the same row starts again, and the tasks that fell with it are revived.

use taskyard_core::store::{CASCADE_INLINE_MAX, ControlReply};
use taskyard_core::task::AttemptOutcome;
use taskyard_core::{TaskId, TaskState};

use super::cascade;
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::{self, ParentEvent, ParentNotice};
use crate::task::history::keep_attempt;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// Retries each of these tasks.
pub(crate) fn retry(tx: &mut Tx<'_>, ids: &[TaskId]) -> Outcome<Vec<ControlReply>> {
    ids.iter().map(|id| retry_one(tx, *id)).collect()
}

fn retry_one(tx: &mut Tx<'_>, id: TaskId) -> Outcome<ControlReply> {
    match Row::find(tx, id)? {
        None => return Ok(ControlReply::NotFound),
        Some(row) if !is_retriable(row.state()) => return Ok(ControlReply::Refused(row.state())),
        Some(_) => {}
    }
    // Tasks that fell with this one may still be processed; afterwards its row may look different.
    cascade::all(tx)?;
    let Some(mut row) = Row::find(tx, id)? else { return Ok(ControlReply::NotFound) };
    if let Some(holder) = transitions::other_holder(tx, &row)? {
        return Ok(ControlReply::KeyHeld(holder));
    }
    keep_last_attempt(tx, &mut row)?;
    transitions::stand_up(tx, &mut row)?;
    tx.run(sql!("task/forget"), [row.order])?;
    row.failures = 0;
    row.lost = 0;
    row.crashes = 0;
    row.alone = false;
    row.token = None;
    row.fallen_from = None;
    row.expires_at = None;
    row.run_at = None;
    match dependents::fallen_parent(tx, &row)? {
        Some((state, root)) => dependents::fall(tx, &mut row, state, root)?,
        None => {
            transitions::settle_start(tx, &mut row)?;
            row.save(tx)?;
        }
    }
    if row.has_children {
        let told = ParentNotice { parent: row.order, event: ParentEvent::Revived, root: None, after: i64::MIN };
        dependents::notify(tx, told, &mut CASCADE_INLINE_MAX.clone())?;
    }
    Ok(ControlReply::Applied(row.state()))
}

fn is_retriable(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::Cancelled | TaskState::Stopped)
}

/// Stores the attempt that ended the task as a row of its own, because the task continues.
fn keep_last_attempt(tx: &Tx<'_>, row: &mut Row) -> Outcome<()> {
    let Some(outcome) = row.ended.take() else { return Ok(()) };
    let blamed = matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::Crashed);
    let error = if blamed { row.error(tx)? } else { None };
    keep_attempt(tx, row, outcome, row.finished_at.unwrap_or(tx.now), error.as_ref())
}
