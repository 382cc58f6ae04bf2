//! Comparing tasks with the runnable range: an enqueued task without its row there is claimed by nobody.

use rusqlite::params;
use taskyard_core::store::RangeReport;
use taskyard_core::{TaskId, TaskState};

use crate::codec::{id_bits, int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::moves;
use crate::task::row::Row;
use crate::thread::tx::Tx;

/// Compares up to `limit` tasks after `after`, in id order; puts what is missing where it belongs if `repair`.
pub(crate) fn compare(tx: &mut Tx<'_>, after: Option<TaskId>, limit: usize, repair: bool) -> Outcome<RangeReport> {
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
    for order in &orders {
        let Some(row) = Row::find_by_order(tx, *order)? else { continue };
        report.last = Some(row.id);
        if row.state() != TaskState::Enqueued || moves::stands(tx, &row)? {
            continue;
        }
        report.missing += 1;
        if repair {
            moves::stand(tx, moves::lane(tx, &row), -row.priority, row.order, row.queue)?;
            tx.memory.rings.work = true;
            report.repaired += 1;
        }
    }
    if orders.len() < limit {
        report.last = None;
    }
    Ok(report)
}
