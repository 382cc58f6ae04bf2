//! Rescue: a server whose lease is over is declared dead, and its tasks are freed in bounded steps.

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::{CASCADE_INLINE_MAX, CRASHES_MAX, LOST_ALONE_MIN, STEP_ROWS_MAX, StepReport};
use taskyard_core::task::{AttemptOutcome, Failure};
use taskyard_core::{ServerId, TaskState};

use super::claim::orders_of;
use super::ends::is_aside;
use super::finish::worker_died;
use crate::codec::{Bits, bits, bytes, int, opt_int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::dependents::end_and_notify;
use crate::task::history::keep_attempt;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// Runs one step of a rescue.
pub(crate) fn rescue(tx: &mut Tx<'_>, server: ServerId, beat: i64, overdue: bool) -> Outcome<StepReport> {
    let id = server.0.into_bytes();
    let found = tx
        .sql(sql!("server/find"))?
        .query_row([id], |row| Ok((int(row, 0), int(row, 1), opt_int(row, 2).is_some())))
        .optional()?;
    let Some((seen, lease_until, dead)) = found else { return Ok(StepReport::default()) };
    if !dead {
        if seen != beat || !(overdue || lease_until <= tx.now) {
            return Ok(StepReport::default());
        }
        tx.run(sql!("server/bury"), params![id, tx.now])?;
    }
    free(tx, server)
}

/// Frees the tasks of a server's claims, up to the limit of one step.
fn free(tx: &mut Tx<'_>, server: ServerId) -> Outcome<StepReport> {
    let id = server.0.into_bytes();
    let mut edges = CASCADE_INLINE_MAX;
    let mut tasks = 0;
    for (claim, orders) in claims(tx, id)? {
        let mut left = orders.as_slice();
        for order in orders_of(&orders) {
            if tasks == STEP_ROWS_MAX {
                tx.run(sql!("claim/shrink"), params![claim, left])?;
                return Ok(StepReport { tasks, more: true });
            }
            left = &left[8..];
            if let Some(mut row) = Row::find_by_order(tx, order)?
                && row.state() == TaskState::Doing
                && row.server == Some(id)
                && !is_aside(tx, &row)?
            {
                free_one(tx, &mut row, server, &mut edges)?;
                tasks += 1;
            }
        }
        tx.run(sql!("claim/delete"), [claim])?;
    }
    Ok(StepReport { tasks, more: false })
}

/// Returns a server's claims with their order numbers.
pub(crate) fn claims(tx: &Tx<'_>, server: Bits) -> Outcome<Vec<(Bits, Vec<u8>)>> {
    let mut statement = tx.sql(sql!("claim/of_server"))?;
    let mut rows = statement.query([server])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        claims.extend(bits(row, 0).zip(bytes(row, 1)));
    }
    Ok(claims)
}

/// Frees one task of a dead server.
fn free_one(tx: &mut Tx<'_>, row: &mut Row, server: ServerId, edges: &mut usize) -> Outcome<()> {
    row.token = None;
    let (cancel, stop) = (row.cancel_requested, row.stop_requested);
    transitions::clear_requests(tx, row)?;
    if cancel || stop {
        let (ended, state) = if cancel {
            (AttemptOutcome::Cancelled, TaskState::Cancelled)
        } else {
            (AttemptOutcome::Stopped, TaskState::Stopped)
        };
        row.ended = Some(ended);
        return end_and_notify(tx, row, state, edges);
    }
    let lost = Failure::new("ServerLost", format!("server {server} was lost"));
    let crash = if row.alone {
        row.crashes += 1;
        keep_attempt(tx, row, AttemptOutcome::Crashed, tx.now, Some(&lost))?;
        (row.at_most_once || row.crashes >= CRASHES_MAX).then(|| worker_died(row.at_most_once, None))
    } else {
        row.lost += 1;
        keep_attempt(tx, row, AttemptOutcome::Lost, tx.now, Some(&lost))?;
        row.alone = row.lost >= LOST_ALONE_MIN;
        row.at_most_once.then(|| Failure::new("ServerLost", "server was lost and the task may run only once"))
    };
    match crash {
        Some(error) => {
            row.blame(tx, &error)?;
            end_and_notify(tx, row, TaskState::Failed, edges)
        }
        None => {
            transitions::enqueue(tx, row)?;
            row.save(tx)
        }
    }
}
