//! Quarantines rows that cannot be decoded, because they were edited by hand. The claim continues; nothing is lost or
//! deleted.
//!
//! A task whose columns cannot be decoded is parked with a reason that names them. A runnable row whose task is not
//! enqueued is dropped, because the task's own row is authoritative.

use taskyard_core::{TaskState, WaitReason};

use crate::codec;
use crate::fault::Outcome;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// Parks an enqueued task whose runnable row has already been deleted.
pub(crate) fn park(tx: &mut Tx<'_>, order: i64, why: &str) -> Outcome<()> {
    let Some(mut row) = Row::find_by_order(tx, order)? else { return Ok(()) };
    tracing::warn!(task = %row.id, why, "a task's row cannot be understood; it is parked");
    transitions::wait(tx, &mut row, WaitReason::Parked, None, Some(&format!("corrupt: {why}")))?;
    row.save(tx)
}

/// Corrects the counts for a runnable row whose task is not enqueued.
pub(crate) fn leave(tx: &mut Tx<'_>, order: i64, state_code: i64) -> Outcome<()> {
    let Some(mut row) = Row::find_by_order(tx, order)? else { return Ok(()) };
    // The counts still include it among the enqueued ones.
    tx.counted(row.queue, TaskState::Enqueued, -1);
    match codec::state(state_code) {
        Some(state) => {
            tracing::warn!(task = %row.id, %state, "a task was in the runnable range although it is not enqueued");
            tx.counted(row.queue, state, 1);
            Ok(())
        }
        None => {
            let why = format!("corrupt: its state is {state_code}, which is none");
            tracing::warn!(task = %row.id, why, "a task's row cannot be understood; it is parked");
            tx.counted(row.queue, TaskState::Waiting, 1);
            transitions::wait(tx, &mut row, WaitReason::Parked, None, Some(&why))?;
            row.save(tx)
        }
    }
}
