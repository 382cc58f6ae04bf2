//! Operator commands on tasks: cancel and stop.

use rusqlite::params;
use taskyard_core::store::{CASCADE_INLINE_MAX, ControlReply};
use taskyard_core::{TaskId, TaskState};

use crate::codec::id_bits;
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::end_and_notify;
use crate::task::row::Row;
use crate::thread::tx::Tx;

/// Cancels each task, or asks its server to.
pub(crate) fn cancel(tx: &mut Tx<'_>, ids: &[TaskId], reason: Option<&str>) -> Outcome<Vec<ControlReply>> {
    ids.iter().map(|id| cancel_one(tx, *id, reason)).collect()
}

fn cancel_one(tx: &mut Tx<'_>, id: TaskId, reason: Option<&str>) -> Outcome<ControlReply> {
    let Some(mut row) = Row::find(tx, id)? else {
        return Ok(ControlReply::NotFound);
    };
    if reason.is_some() && !matches!(row.state(), TaskState::Done | TaskState::Failed | TaskState::Cancelled) {
        tx.run(sql!("task/cancel_reason"), params![row.order, reason])?;
    }
    match row.state() {
        TaskState::Waiting | TaskState::Enqueued | TaskState::Stopped => {
            end_and_notify(tx, &mut row, TaskState::Cancelled, &mut CASCADE_INLINE_MAX.clone())?;
            Ok(ControlReply::Applied(TaskState::Cancelled))
        }
        TaskState::Doing => request(tx, &row, true),
        state => Ok(ControlReply::Refused(state)),
    }
}

/// Asks the servers of running tasks to stop them.
pub(crate) fn stop(tx: &mut Tx<'_>, ids: &[TaskId]) -> Outcome<Vec<ControlReply>> {
    ids.iter().map(|id| stop_one(tx, *id)).collect()
}

fn stop_one(tx: &mut Tx<'_>, id: TaskId) -> Outcome<ControlReply> {
    match Row::find(tx, id)? {
        None => Ok(ControlReply::NotFound),
        Some(row) if row.state() == TaskState::Doing => request(tx, &row, false),
        Some(row) => Ok(ControlReply::Refused(row.state())),
    }
}

/// Sets the flag and stores a signal for the server; a cancel takes precedence over a stop.
fn request(tx: &mut Tx<'_>, row: &Row, cancel: bool) -> Outcome<ControlReply> {
    tx.run(sql!("task/request"), params![row.order, cancel, !cancel])?;
    let cancel = cancel || row.cancel_requested;
    let (server, token) = (row.server.unwrap_or_default(), row.token.unwrap_or_default());
    tx.run(sql!("signal/add"), params![id_bits(row.id), server, token, cancel])?;
    tx.memory.pending_notifications.signal = true;
    Ok(ControlReply::Requested)
}
