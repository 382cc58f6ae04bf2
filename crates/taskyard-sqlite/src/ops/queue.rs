//! Pauses, limits and sets apart queues.
//!
//! Pausing and limiting do not touch rows in the partitions: claims move them when they meet them. Setting apart does,
//! because later claims do not look for them.

use rusqlite::params;
use taskyard_core::Rate;
use taskyard_core::store::StepReport;

use super::pick::{Candidate, MOVED_MAX, move_to_own};
use crate::codec::{int, micros};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::{Apart, GROUP_BITS, QueueNo, Tx};

/// Pauses or resumes a queue.
pub(crate) fn set_paused(tx: &mut Tx<'_>, queue: &str, paused: bool) -> Outcome<()> {
    tx.run(sql!("queue/set_paused"), params![queue, paused])?;
    changed(tx)
}

/// Limits the number of tasks of a queue that run at once.
pub(crate) fn set_limit(tx: &mut Tx<'_>, queue: &str, running_max: Option<u32>) -> Outcome<()> {
    tx.run(sql!("queue/set_limit"), params![queue, running_max])?;
    changed(tx)
}

/// Limits the number of tasks of a queue that start per interval. Earlier starts under the same rate count.
pub(crate) fn set_rate(tx: &mut Tx<'_>, queue: &str, rate: Option<Rate>) -> Outcome<()> {
    let (count, per) = rate.map(|rate| (rate.count, micros(rate.per))).unzip();
    let number = tx.queue(queue);
    if rate.is_some() && tx.config(number).and_then(|config| config.rate) == rate {
        return Ok(());
    }
    tx.run(sql!("queue/set_rate"), params![queue, count, per])?;
    changed(tx)
}

/// Runs one step of setting queues apart. Once all rows are moved, none is added to the common partition again, because
/// there is only one writer.
pub(crate) fn set_apart(tx: &mut Tx<'_>, queues: &[String]) -> Outcome<StepReport> {
    let mut report = StepReport::default();
    for name in queues {
        let queue = tx.queue(name);
        let apart = tx.config(queue).map_or(Apart::No, |config| config.apart);
        if apart == Apart::Moved {
            continue;
        }
        if apart == Apart::No {
            tx.run(sql!("queue/set_apart"), params![name, 1])?;
            tx.queues_changed()?;
        }
        let left = MOVED_MAX - report.tasks;
        report.tasks += move_some(tx, queue, name, left)?;
        if report.tasks >= MOVED_MAX {
            report.more = true;
            return Ok(report);
        }
        tx.run(sql!("queue/set_apart"), params![name, 2])?;
        tx.queues_changed()?;
    }
    Ok(report)
}

fn move_some(tx: &mut Tx<'_>, queue: QueueNo, name: &str, limit: usize) -> Outcome<usize> {
    let groups: Vec<i64> = std::iter::once(0).chain(tx.groups().map(|group| group.id)).collect();
    let mut found: Vec<Candidate> = Vec::new();
    for group in groups {
        let mut statement = tx.sql(sql!("ready/of_queue"))?;
        let left = limit.saturating_sub(found.len()) as i64;
        let rows = statement.query_map(params![name, left, group << GROUP_BITS], |row| {
            Ok(Candidate { lane: int(row, 0), rank: int(row, 1), order: int(row, 2) })
        })?;
        for candidate in rows {
            found.push(candidate?);
        }
    }
    for candidate in &found {
        move_to_own(tx, *candidate, queue)?;
    }
    Ok(found.len())
}

fn changed(tx: &mut Tx<'_>) -> Outcome<()> {
    tx.memory.pending_notifications.work = true;
    tx.queues_changed()
}
