//! Operator changes to tasks: the priority of one that has not started, and the parts of one that ended badly.

use rusqlite::params;
use taskyard_core::store::{ControlReply, NewPayload, TaskEdit};
use taskyard_core::task::{policy_from_text, policy_text};
use taskyard_core::{Error, RetryPolicy, TaskId, TaskState};

use crate::codec::{bytes, opt_text};
use crate::fault::{Fault, Outcome};
use crate::sql::sql;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// Rank of the highest priority: ranks are negated priorities.
const RANK_MIN: i64 = -(i32::MAX as i64);

/// Sets the priority of tasks that are waiting or enqueued.
pub(crate) fn set_priority(tx: &mut Tx<'_>, ids: &[TaskId], priority: i32) -> Outcome<Vec<ControlReply>> {
    ids.iter().map(|id| set_one(tx, *id, i64::from(priority))).collect()
}

fn set_one(tx: &mut Tx<'_>, id: TaskId, priority: i64) -> Outcome<ControlReply> {
    let Some(row) = Row::find(tx, id)? else { return Ok(ControlReply::NotFound) };
    let state = row.state();
    match state {
        TaskState::Waiting => {}
        TaskState::Enqueued => {
            let aged = transitions::aged(tx, row.order)?;
            transitions::leave_range(tx, &row)?;
            match aged {
                // The promotion by ageing so far is kept.
                Some(aged) => {
                    let rank = (aged.rank + row.priority - priority).max(RANK_MIN);
                    let name = tx.queue_name(row.queue);
                    let key = params![aged.lane, rank, row.order, &*name, aged.ages_at];
                    tx.run(sql!("ready/add_ageing"), key)?;
                }
                None => transitions::stand(tx, transitions::lane(tx, &row), -priority, row.order, row.queue)?,
            }
        }
        state => return Ok(ControlReply::Refused(state)),
    }
    tx.run(sql!("task/set_priority"), params![row.order, priority])?;
    Ok(ControlReply::Applied(state))
}

/// Changes a failed, cancelled or stopped task, which stays in its state.
pub(crate) fn edit(tx: &mut Tx<'_>, id: TaskId, edit: &TaskEdit) -> Outcome<ControlReply> {
    let Some(row) = Row::find(tx, id)? else { return Ok(ControlReply::NotFound) };
    let state = row.state();
    if !matches!(state, TaskState::Failed | TaskState::Cancelled | TaskState::Stopped) {
        return Ok(ControlReply::Refused(state));
    }
    let (payload, policy) =
        tx.sql(sql!("task/editable"))?.query_row([row.order], |row| Ok((bytes(row, 0), opt_text(row, 1))))?;
    // A repetition of this edit, after its reply was lost, is not a concurrent edit.
    let is_other = |new: &NewPayload| payload.as_ref().is_none_or(|found| *found != new.seen && *found != new.payload);
    if edit.payload.as_ref().is_some_and(is_other) {
        return Err(Fault::Answer(Error::EditedMeanwhile(id)));
    }
    let policy = match edit.max_retries {
        None => policy,
        Some(retries) => with_retries(policy.as_deref(), retries)?,
    };
    if let Some(queue) = &edit.queue {
        let queue = tx.queue(queue);
        tx.counted(row.queue, state, -1);
        tx.counted(queue, state, 1);
    }
    let payload = edit.payload.as_ref().map(|new| &new.payload);
    let plain = edit.payload.as_ref().is_some_and(|new| !new.encoded);
    tx.run(sql!("task/edit"), params![row.order, payload, edit.queue, edit.priority, policy, plain])?;
    Ok(ControlReply::Applied(state))
}

fn with_retries(policy: Option<&str>, max_retries: u32) -> Outcome<Option<String>> {
    let wrong = |error: serde_json::Error| {
        Fault::Answer(Error::NotRepresentable { what: "the retry policy".into(), why: error.to_string() })
    };
    let (retry, extra) = policy_from_text(policy).map_err(wrong)?;
    let retry = RetryPolicy { max_retries, ..retry };
    // An edit is stored also if it sets the default, which may change.
    Ok(policy_text(&retry, &extra).or_else(|| serde_json::to_string(&retry).ok()))
}
