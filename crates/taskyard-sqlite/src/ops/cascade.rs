//! Completes cascade rows: propagation that did not fit into the transaction that ended or retried a task.

use rusqlite::OptionalExtension;
use taskyard_core::store::{STEP_ROWS_MAX, StepReport};

use crate::codec::{bits, int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::{self, ParentEvent, ParentNotice};
use crate::thread::tx::Tx;

/// Runs one step.
pub(crate) fn step(tx: &mut Tx<'_>) -> Outcome<StepReport> {
    let mut budget = STEP_ROWS_MAX;
    let mut tasks = 0;
    while budget > 0 {
        let Some(told) = next(tx, &mut budget)? else { break };
        tasks += told;
    }
    let more = tx.any(sql!("cascade/next"), [])?;
    Ok(StepReport { tasks, more })
}

/// Completes all rows, however many: a retry must not overtake them.
pub(crate) fn all(tx: &mut Tx<'_>) -> Outcome<()> {
    while next(tx, &mut usize::MAX.clone())?.is_some() {}
    Ok(())
}

/// Processes one row and returns the number of children processed. `None`: there is no row.
fn next(tx: &mut Tx<'_>, budget: &mut usize) -> Outcome<Option<usize>> {
    let found = tx
        .sql(sql!("cascade/next"))?
        .query_row([], |row| Ok((int(row, 0), int(row, 1), bits(row, 2), int(row, 3))))
        .optional()?;
    let Some((parent, code, root, after)) = found else { return Ok(None) };
    tx.run(sql!("cascade/delete"), [parent, code])?;
    // An unknown number is in a row that was edited by hand; there is nothing to propagate.
    let Some(event) = ParentEvent::from_code(code) else { return Ok(Some(0)) };
    dependents::notify(tx, ParentNotice { parent, event, root, after }, budget).map(Some)
}
