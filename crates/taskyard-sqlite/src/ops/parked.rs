//! Parked tasks, whose kind no server knows: their reasons and counts, and their release.

use rusqlite::params;
use taskyard_core::TaskState;
use taskyard_core::state::Runtime;
use taskyard_core::store::{ParkedReason, STEP_ROWS_MAX, StepReport};

use crate::codec::{int, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::reader::Read;
use crate::thread::tx::Tx;

/// Returns the distinct reasons with their counts.
pub(crate) fn reasons(read: &Read<'_>, runtime: Runtime) -> Outcome<Vec<ParkedReason>> {
    let mut statement = read.sql(sql!("waiting/parked"))?;
    let mut rows = statement.query([runtime.code()])?;
    let mut reasons = Vec::new();
    while let Some(row) = rows.next()? {
        reasons.push(ParkedReason { reason: text(row, 0), count: u64::try_from(int(row, 1)).unwrap_or(0) });
    }
    Ok(reasons)
}

/// Releases tasks that are parked for a reason.
pub(crate) fn release(tx: &mut Tx<'_>, runtime: Runtime, reason: &str) -> Outcome<StepReport> {
    let mut orders = Vec::new();
    {
        let mut statement = tx.sql(sql!("waiting/parked_for"))?;
        let mut rows = statement.query(params![runtime.code(), reason, STEP_ROWS_MAX as i64, tx.now])?;
        while let Some(row) = rows.next()? {
            orders.push(int(row, 0));
        }
    }
    let mut tasks = 0;
    for order in &orders {
        match Row::find_by_order(tx, *order)? {
            // Two of the tasks may have the same key.
            Some(row) if row.state() == TaskState::Waiting && transitions::other_holder(tx, &row)?.is_some() => {}
            Some(mut row) if row.state() == TaskState::Waiting => {
                transitions::retake_key(tx, &row)?;
                transitions::enqueue(tx, &mut row)?;
                row.save(tx)?;
                tasks += 1;
            }
            _ => {
                tx.run(sql!("waiting/delete"), [order])?;
            }
        }
    }
    Ok(StepReport { tasks, more: orders.len() == STEP_ROWS_MAX })
}
