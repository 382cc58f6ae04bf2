//! Deletes tasks: those that an operator purges, and those beyond the retention.
//!
//! Only tasks that are final and whose children are final, too, are deleted, with all their rows. Pruning reads the
//! tasks in the order in which they were added, a bounded number per step, and continues where the last step stopped.

use rusqlite::params;
use taskyard_core::store::{AUTO_REMOVE_AFTER, REFUSED_KEPT, Retention, STEP_ROWS_MAX, StepReport};
use taskyard_core::{TaskId, TaskState};

use crate::codec::{self, id_bits, int, micros, opt_int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::thread::tx::Tx;

/// Maximum number of rows that one step of pruning reads.
const READ_MAX: usize = 10_000;

/// Deletes these tasks if they may be deleted, and returns how many were.
pub(crate) fn purge(tx: &mut Tx<'_>, ids: &[TaskId]) -> Outcome<usize> {
    let mut gone = 0;
    for id in ids {
        if let Some(row) = Row::find(tx, *id)?
            && is_removable(tx, &row)?
        {
            remove(tx, &row)?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Returns whether a task and all its children are final.
pub(crate) fn is_removable(tx: &Tx<'_>, row: &Row) -> Outcome<bool> {
    let known = codec::state(row.state_code).is_some();
    Ok(known && row.state().is_final() && !(row.has_children && tx.any(sql!("edge/unfinished_child"), [row.order])?))
}

/// Deletes a task with all its rows.
pub(crate) fn remove(tx: &mut Tx<'_>, row: &Row) -> Outcome<()> {
    tx.run(sql!("task/delete"), [row.order])?;
    tx.counted(row.queue, row.state(), -1);
    if row.has_context {
        tx.run(sql!("context/delete"), [row.order])?;
    }
    if row.has_children {
        tx.run(sql!("edge/delete_below"), [row.order])?;
        tx.run(sql!("cascade/delete_task"), [row.order])?;
    }
    if row.has_parents {
        tx.run(sql!("edge/delete_above"), [row.order])?;
    }
    if row.state() == TaskState::Failed {
        tx.run(sql!("dead/delete"), [row.order])?;
    }
    if row.auto_remove || row.expires_at.is_some() {
        tx.run(sql!("deadline/delete_task"), [row.order])?;
    }
    if let Some(key) = &row.unique_key {
        // A key that is held for a time is deleted, too: an addition that gets the key's holder as its result must find
        // that task.
        tx.run(sql!("unique_key/delete"), params![key, id_bits(row.id)])?;
    }
    tx.run(sql!("log/delete"), [row.order])?;
    tx.run(sql!("attempt/delete"), [row.order])?;
    Ok(())
}

/// Runs one step of pruning.
pub(crate) fn prune(tx: &mut Tx<'_>, retention: &Retention) -> Outcome<StepReport> {
    let start: i64 = tx.sql(sql!("prune/position"))?.query_row([], |row| row.get(0))?;
    let done_before = tx.now.saturating_sub(micros(retention.done));
    let failed_before = tx.now.saturating_sub(micros(retention.failed));
    let mut read = READ_MAX;
    let mut tasks = 0;
    // From the last position to the end, then from the beginning to that position.
    let mut stretches = vec![(start, i64::MAX)];
    if start > 0 {
        stretches.push((0, start));
    }
    for (from, to) in stretches {
        let mut position = from;
        loop {
            let chunk = page(tx, position, read.min(STEP_ROWS_MAX))?;
            let Some((last, _, _)) = chunk.last().copied() else { break };
            for (order, state, finished_at) in chunk {
                position = order;
                if order > to {
                    break;
                }
                read -= 1;
                let before = if state == Some(TaskState::Done) { done_before } else { failed_before };
                let old = state.is_some_and(TaskState::is_final) && finished_at.is_some_and(|at| at < before);
                if old
                    && let Some(row) = Row::find_by_order(tx, order)?
                    && is_removable(tx, &row)?
                {
                    remove(tx, &row)?;
                    tasks += 1;
                }
                if tasks == STEP_ROWS_MAX || read == 0 {
                    tx.run(sql!("prune/set"), [position])?;
                    return Ok(StepReport { tasks, more: true });
                }
            }
            if last >= to {
                break;
            }
        }
    }
    tx.run(sql!("prune/set"), [0])?;
    tx.run(sql!("refused/prune"), [tx.now.saturating_sub(micros(REFUSED_KEPT))])?;
    Ok(StepReport { tasks, more: false })
}

/// Runs one step of retention by number: dead letters by their time of death, done tasks in the order in which they
/// were added.
pub(crate) fn prune_surplus(tx: &mut Tx<'_>, retention: &Retention) -> Outcome<StepReport> {
    let before = tx.now.saturating_sub(micros(AUTO_REMOVE_AFTER));
    let mut tasks = 0;
    for (text, max) in [(sql!("dead/surplus"), retention.failed_count), (sql!("task/surplus"), retention.done_count)] {
        if max == 0 {
            continue;
        }
        let mut orders: Vec<i64> = Vec::new();
        {
            let mut statement = tx.sql(text)?;
            let mut rows = statement.query(params![before, i64::try_from(max).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                orders.push(int(row, 0));
            }
        }
        for order in orders {
            if tasks == STEP_ROWS_MAX {
                return Ok(StepReport { tasks, more: true });
            }
            if let Some(row) = Row::find_by_order(tx, order)?
                && is_removable(tx, &row)?
            {
                remove(tx, &row)?;
                tasks += 1;
            }
        }
    }
    Ok(StepReport { tasks, more: false })
}

/// Order number, state and finish time of a task.
type Prunable = (i64, Option<TaskState>, Option<i64>);

/// Returns the next tasks in their order.
fn page(tx: &Tx<'_>, after: i64, limit: usize) -> Outcome<Vec<Prunable>> {
    let mut statement = tx.sql(sql!("task/prunable"))?;
    let mut rows = statement.query(params![after, limit as i64])?;
    let mut page = Vec::with_capacity(limit);
    while let Some(row) = rows.next()? {
        page.push((int(row, 0), codec::state(opt_int(row, 1).unwrap_or(-1)), opt_int(row, 2)));
    }
    Ok(page)
}
