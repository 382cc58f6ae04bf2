//! Compares tasks with the runnable range: an enqueued task without its row there is never claimed.
//!
//! Each transaction that moves a task updates both its row in the range and the number of enqueued tasks, so the
//! difference between that number and the number of rows shows how many rows were deleted by hand. Counting reads no
//! task (44 ms for a million rows, a thirtieth of what the status reads anyway), so [`excess`] is cheap enough for
//! every status. Only [`compare`] finds which tasks lack a row.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use taskyard_core::store::RangeReport;
use taskyard_core::{TaskId, TaskState};

use crate::codec::{id_bits, int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// State of a pass through all tasks, from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    /// The excess at the beginning of the pass.
    begun: i64,
    repaired: i64,
}

/// Returns how many more tasks are counted as enqueued than there are rows in the range, as of the last commit.
pub(crate) fn excess(connection: &Connection) -> Outcome<i64> {
    Ok(connection.prepare_cached(sql!("ready/excess"))?.query_row([], |row| row.get(0))?)
}

/// Compares up to `limit` tasks after `after`, in id order; adds missing rows if `repair` is set.
pub(crate) fn compare(
    tx: &mut Tx<'_>,
    after: Option<TaskId>,
    limit: usize,
    repair: bool,
    walk: &mut Walk,
) -> Outcome<RangeReport> {
    // Includes the changes of this transaction so far.
    tx.write_counts()?;
    if after.is_none() {
        *walk = Walk { begun: excess(tx.connection)?, repaired: 0 };
    }
    let mut orders = Vec::new();
    {
        let mut statement = tx.sql(sql!("task/orders_after"))?;
        let after = after.map(id_bits).unwrap_or_default();
        let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            orders.push(int(row, 0));
        }
    }
    let mut report = RangeReport { seen: orders.len() as u64, ..RangeReport::default() };
    let mut missing = Vec::new();
    for order in &orders {
        let Some(row) = Row::find_by_order(tx, *order)? else { continue };
        report.last = Some(row.id);
        if row.state() == TaskState::Enqueued && !transitions::stands(tx, &row)? {
            missing.push(row);
        }
    }
    if !missing.is_empty() {
        // The rows may be elsewhere, for example since their queue was freed. There is no index for that: one scan for
        // all.
        let elsewhere = standing(tx, &missing)?;
        missing.retain(|row| !elsewhere.contains(&row.order));
    }
    report.missing = missing.len() as u64;
    if repair {
        for row in &missing {
            transitions::stand(tx, transitions::lane(tx, row), -row.priority, row.order, row.queue)?;
            tx.memory.pending_notifications.work = true;
            report.repaired += 1;
            walk.repaired += 1;
        }
    }
    if orders.len() < limit {
        report.last = None;
        if repair {
            settle(tx, *walk)?;
        }
    }
    Ok(report)
}

/// Returns which of these tasks have a row anywhere in the range.
fn standing(tx: &Tx<'_>, tasks: &[Row]) -> Outcome<HashSet<i64>> {
    let wanted: HashSet<i64> = tasks.iter().map(|row| row.order).collect();
    let mut found = HashSet::new();
    let mut statement = tx.sql(sql!("ready/orders"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let order = int(row, 0);
        if wanted.contains(&order) {
            found.insert(order);
        }
    }
    Ok(found)
}

/// Ends a pass that has added all missing rows: an excess that it did not explain is a wrong count (tasks were deleted
/// by hand, too), which is counted again. If rows were lost during the pass, the next one finds them.
fn settle(tx: &Tx<'_>, walk: Walk) -> Outcome<()> {
    let left = excess(tx.connection)?;
    if left > 0 && left == walk.begun - walk.repaired {
        tracing::warn!(tasks = left, "the count of enqueued tasks was too high; it was corrected");
        tx.run(sql!("queue/forget_enqueued"), [])?;
        tx.run(sql!("queue/count_enqueued"), [])?;
    }
    Ok(())
}
