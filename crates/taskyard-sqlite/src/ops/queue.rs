//! Pausing and limiting queues. What stands in the lanes is not touched here: claims move it when they meet it.

use rusqlite::params;

use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::Tx;

/// Pauses or resumes a queue.
pub(crate) fn set_paused(tx: &mut Tx<'_>, queue: &str, paused: bool) -> Outcome<()> {
    tx.run(sql!("queue/pause"), params![queue, paused])?;
    changed(tx)
}

/// Limits how many tasks of a queue run at once.
pub(crate) fn set_concurrency(tx: &mut Tx<'_>, queue: &str, running_max: Option<u32>) -> Outcome<()> {
    tx.run(sql!("queue/limit"), params![queue, running_max])?;
    changed(tx)
}

fn changed(tx: &mut Tx<'_>) -> Outcome<()> {
    tx.memory.rings.work = true;
    tx.queues_changed()
}
