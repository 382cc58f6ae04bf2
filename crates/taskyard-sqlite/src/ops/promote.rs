//! Processes what has become due: start times and backoffs, expiry, removal.

use rusqlite::params;
use taskyard_core::TaskState;
use taskyard_core::store::{
    AUTO_REMOVE_AFTER, CASCADE_INLINE_MAX, EXPIRY_LOOK_MIN, PromoteReport, RATE_LOOK_MIN, STEP_ROWS_MAX,
};

use super::finish::expired;
use super::prune::{is_removable, remove};
use crate::codec::{duration, int, later, opt_int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::end_and_notify;
use crate::task::row::Row;
use crate::task::transitions::{self, DEADLINE_EXPIRE};
use crate::thread::tx::{GROUP_BITS, Tx};

/// Runs one step.
pub(crate) fn promote(tx: &mut Tx<'_>) -> Outcome<PromoteReport> {
    let mut report = PromoteReport::default();
    start_due(tx, &mut report)?;
    let mut due = deadlines(tx)?;
    report.more |= due.len() == STEP_ROWS_MAX;
    // In the order in which they were set: parents before their children.
    due.sort_unstable();
    let (expire, removal): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, _, what)| *what == DEADLINE_EXPIRE);
    let mut edges = CASCADE_INLINE_MAX;
    for (sequence, order, _) in expire {
        tx.run(sql!("deadline/delete"), [sequence])?;
        report.expired += usize::from(expire_one(tx, order, &mut edges)?);
    }
    for (sequence, order, _) in removal {
        report.removed += usize::from(remove_one(tx, sequence, order)?);
    }
    let next = tx.sql(sql!("waiting/next_due"))?.query_row([], |row| Ok(opt_int(row, 0)))?;
    let expiry = tx.sql(sql!("deadline/next_expiry"))?.query_row([], |row| Ok(opt_int(row, 0)))?;
    let until = |at: i64| duration(at.saturating_sub(tx.now));
    report.next_due = next.map(until).into_iter().chain(expiry.map(|at| until(at).max(EXPIRY_LOOK_MIN))).min();
    see_rates(tx, &mut report)?;
    Ok(report)
}

/// Checks for tasks that wait for the rate of their queue.
fn see_rates(tx: &Tx<'_>, report: &mut PromoteReport) -> Outcome<()> {
    for (queue, config) in tx.rated() {
        let Some(rate) = config.rate.filter(|_| !config.paused) else { continue };
        let name = tx.queue_name(queue);
        let mut waits = false;
        for runtime in [0, 1] {
            for base in std::iter::once(0).chain(tx.groups().map(|group| group.id << GROUP_BITS)) {
                waits |= tx.any(sql!("ready/scan"), [base + config.lane(runtime)])?
                    || tx.any(sql!("ready/any_of_queue"), params![base + transitions::alone_lane(runtime), &*name])?;
            }
        }
        if waits {
            let full_at = tx.full_at(config)?;
            report.freed |= rate.free(full_at, tx.now) > 0;
            let due = rate.next(full_at, tx.now).max(RATE_LOOK_MIN);
            report.next_start = Some(report.next_start.map_or(due, |next| next.min(due)));
        }
    }
    Ok(())
}

fn start_due(tx: &mut Tx<'_>, report: &mut PromoteReport) -> Outcome<()> {
    let mut orders = Vec::new();
    {
        let mut statement = tx.sql(sql!("waiting/due"))?;
        let mut rows = statement.query(params![tx.now, STEP_ROWS_MAX as i64])?;
        while let Some(row) = rows.next()? {
            orders.push(int(row, 0));
        }
    }
    for order in &orders {
        match Row::find_by_order(tx, *order)? {
            Some(mut row) if row.state() == TaskState::Waiting => {
                transitions::enqueue(tx, &mut row)?;
                row.save(tx)?;
                report.enqueued += 1;
            }
            // A row edited by hand: its task is not waiting, or does not exist.
            _ => {
                tx.run(sql!("waiting/delete"), [order])?;
            }
        }
    }
    report.more = orders.len() == STEP_ROWS_MAX;
    Ok(())
}

fn deadlines(tx: &Tx<'_>) -> Outcome<Vec<(i64, i64, i64)>> {
    let mut statement = tx.sql(sql!("deadline/due"))?;
    let mut rows = statement.query(params![tx.now, STEP_ROWS_MAX as i64])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push((int(row, 0), int(row, 1), int(row, 2)));
    }
    Ok(due)
}

/// Cancels a task that has not started in time; returns whether it did. A task that has ever started has done so in
/// time; if it is released, the next claim checks its expiry.
fn expire_one(tx: &mut Tx<'_>, order: i64, edges: &mut usize) -> Outcome<bool> {
    let Some(mut row) = Row::find_by_order(tx, order)? else { return Ok(false) };
    if !matches!(row.state(), TaskState::Waiting | TaskState::Enqueued) || row.attempt > 0 {
        return Ok(false);
    }
    row.blame(tx, &expired())?;
    end_and_notify(tx, &mut row, TaskState::Cancelled, edges)?;
    Ok(true)
}

fn remove_one(tx: &mut Tx<'_>, sequence: i64, order: i64) -> Outcome<bool> {
    let Some(row) = Row::find_by_order(tx, order)? else {
        tx.run(sql!("deadline/delete"), [sequence])?;
        return Ok(false);
    };
    if is_removable(tx, &row)? {
        remove(tx, &row)?;
        return Ok(true);
    }
    tx.run(sql!("deadline/move"), params![sequence, later(tx.now, AUTO_REMOVE_AFTER)])?;
    Ok(false)
}
