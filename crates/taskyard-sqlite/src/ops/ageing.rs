//! Ageing queues: configures them, and promotes tasks whose promotion time has come. Only rows with `ages_at` are read,
//! through an index of their own.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::{AgeReport, STEP_ROWS_MAX};

use crate::codec::{duration, int, micros, opt_int, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;
use crate::thread::tx::{Tx, is_alone};

/// Rank of the highest priority.
const RANK_MIN: i64 = -(i32::MAX as i64);
/// Maximum number of rows in one step that stores promotion times: about 20 ms.
const STAMP_ROWS: usize = 5_000;

/// Key of a row.
pub(crate) type RankKey = (i64, i64, i64);
/// Key before all rows.
pub(crate) const START: RankKey = (i64::MIN, i64::MIN, i64::MIN);

/// Switches ageing of a queue on, with the time after which a task moves up, or off (`None`).
pub(crate) fn set(tx: &mut Tx<'_>, queue: &str, every: Option<Duration>) -> Outcome<()> {
    let every = every.map(|every| micros(every).max(1));
    tx.run(sql!("queue/set_ageing"), params![queue, every])?;
    tx.memory.pending_notifications.work = true;
    tx.queues_changed()
}

/// Makes some rows of a queue that no longer ages due, so that the next step moves them back. Returns whether more are
/// left.
pub(crate) fn unstamp(tx: &mut Tx<'_>, queue: &str) -> Outcome<bool> {
    Ok(tx.run(sql!("ready/unstamp"), params![queue, tx.now, STAMP_ROWS as i64])? == STAMP_ROWS)
}

/// Stores the promotion time in some rows of an ageing queue, after a key: counted from now, unless the stored one is
/// earlier. Returns the key for the next step, if there is one.
pub(crate) fn stamp(tx: &mut Tx<'_>, queue: &str, after: RankKey) -> Outcome<Option<RankKey>> {
    let number = tx.queue(queue);
    let Some(every) = tx.config(number).and_then(|config| config.ageing) else { return Ok(None) };
    let ages_at = tx.now.saturating_add(every);
    let found: Vec<RankKey> = {
        let mut statement = tx.sql(sql!("ready/of_queue_after"))?;
        let key = params![queue, after.0, after.1, after.2, STAMP_ROWS as i64];
        let rows = statement.query_map(key, |row| Ok((int(row, 0), int(row, 1), int(row, 2))))?;
        rows.collect::<Result<_, _>>()?
    };
    for (lane, rank, order) in found.iter().filter(|(lane, _, _)| !is_alone(*lane)) {
        tx.run(sql!("ready/stamp"), params![lane, rank, order, queue, ages_at])?;
    }
    Ok(found.last().copied().filter(|_| found.len() == STAMP_ROWS))
}

/// Returns whether a row is due, and the time until the next one is.
pub(crate) fn next_due(read: &Read<'_>) -> Outcome<(bool, Option<Duration>)> {
    let next = read.sql(sql!("ready/next_due"))?.query_row([], |row| Ok(opt_int(row, 0)))?;
    Ok((next.is_some_and(|at| at <= read.now), next.map(|at| duration(at.saturating_sub(read.now)))))
}

/// Runs one step of ageing.
pub(crate) fn age(tx: &mut Tx<'_>) -> Outcome<AgeReport> {
    let due: Vec<(RankKey, String, i64)> = {
        let mut statement = tx.sql(sql!("ready/due"))?;
        let rows = statement.query_map(params![tx.now, STEP_ROWS_MAX as i64], |row| {
            Ok(((int(row, 0), int(row, 1), int(row, 2)), text(row, 3), int(row, 4)))
        })?;
        rows.collect::<Result<_, _>>()?
    };
    for ((lane, rank, order), name, ages_at) in &due {
        let number = tx.queue(name);
        tx.run(sql!("ready/delete"), params![lane, rank, order])?;
        match tx.config(number).and_then(|config| config.ageing) {
            Some(every) => {
                let times = (tx.now - ages_at) / every + 1;
                let (rank, ages_at) = (rank.saturating_sub(times).max(RANK_MIN), ages_at + times.saturating_mul(every));
                tx.run(sql!("ready/add_ageing"), params![lane, rank, order, name, ages_at])?;
            }
            // The queue no longer ages: the row moves back to the rank of its priority.
            None => {
                let priority: Option<i64> =
                    tx.sql(sql!("task/priority"))?.query_row([order], |row| row.get(0)).optional()?;
                let rank = priority.map_or(*rank, |priority| -priority);
                tx.run(sql!("ready/add"), params![lane, rank, order, name])?;
            }
        }
    }
    // No task becomes claimable by this, so no waiter is woken.
    let next = tx.sql(sql!("ready/next_due"))?.query_row([], |row| Ok(opt_int(row, 0)))?;
    Ok(AgeReport {
        tasks: due.len(),
        more: due.len() == STEP_ROWS_MAX,
        next_due: next.map(|at| duration(at.saturating_sub(tx.now))),
    })
}
