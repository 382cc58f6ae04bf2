//! Transitions of a task between states: the row in memory, and the small tables that index tasks by state.
//!
//! A transition removes the task from its current range (`ty_ready`, `ty_waiting`) and adds it to the next; the caller
//! saves the row once.
//!
//! Invariants: state = enqueued <=> one row in `ty_ready`; state = waiting <=> one row in `ty_waiting`.

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::AUTO_REMOVE_AFTER;
use taskyard_core::{TaskId, TaskState, WaitReason};
use uuid::Uuid;

use super::row::{HOLD_FINISHED, HOLD_FOR, Row};
use crate::codec::{self, Bits, id_bits};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::{GROUP_BITS, QueueNo, Tx, is_alone};

/// Kind of deadline: the task is cancelled unless it has started.
pub(crate) const DEADLINE_EXPIRE: i64 = 0;
/// Kind of deadline: the finished task is removed.
pub(crate) const DEADLINE_REMOVE: i64 = 1;

/// Returns the partition of tasks that run with nothing beside them.
pub(crate) fn alone_lane(runtime: i64) -> i64 {
    -1 - runtime
}

/// Returns the partition for a task's current queue, alone flag and kind.
pub(crate) fn lane(tx: &Tx<'_>, row: &Row) -> i64 {
    (row.group << GROUP_BITS) + lane_in_group(tx, row)
}

fn lane_in_group(tx: &Tx<'_>, row: &Row) -> i64 {
    if row.alone {
        return alone_lane(row.runtime);
    }
    match tx.config(row.queue) {
        Some(config) if config.has_lane() => config.lane(row.runtime),
        _ => row.runtime,
    }
}

/// Removes a task from its current range.
pub(crate) fn leave_range(tx: &Tx<'_>, row: &Row) -> Outcome<()> {
    match row.state() {
        TaskState::Waiting => {
            tx.run(sql!("waiting/delete"), [row.order])?;
        }
        TaskState::Enqueued => {
            // The row may still be in the queue's own partition although the queue was freed, or in the common one
            // although it was limited.
            let own = tx.config(row.queue).map(|config| config.lane(row.runtime));
            let lanes = [Some(lane_in_group(tx, row)), Some(row.runtime), own, Some(alone_lane(row.runtime))];
            // The row may have been added before the task's kind was assigned to another group.
            let groups = std::iter::once(row.group).chain(tx.groups().map(|group| group.id)).chain([0]);
            for base in groups.map(|group| group << GROUP_BITS) {
                for lane in lanes.into_iter().flatten() {
                    if tx.run(sql!("ready/delete"), params![base + lane, -row.priority, row.order])? > 0 {
                        return Ok(());
                    }
                }
            }
            // The rank of a task that has aged differs from its priority.
            if let Some(aged) = aged(tx, row.order)? {
                tx.run(sql!("ready/delete"), params![aged.lane, aged.rank, row.order])?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether the row of an enqueued task in the runnable range is where the task's own row indicates, or has aged
/// there. If not, it may still be elsewhere, in the partition that it was added to.
pub(crate) fn stands(tx: &Tx<'_>, row: &Row) -> Outcome<bool> {
    Ok(tx.any(sql!("ready/has"), params![lane(tx, row), -row.priority, row.order])? || aged(tx, row.order)?.is_some())
}

/// Position of a task with a promotion time.
pub(crate) struct Aged {
    pub(crate) lane: i64,
    pub(crate) rank: i64,
    pub(crate) ages_at: i64,
}

/// Returns the position of a task, if it has a promotion time.
pub(crate) fn aged(tx: &Tx<'_>, order: i64) -> Outcome<Option<Aged>> {
    let found = tx
        .sql(sql!("ready/aged"))?
        .query_row([order], |row| Ok(Aged { lane: row.get(0)?, rank: row.get(1)?, ages_at: row.get(2)? }));
    Ok(found.optional()?)
}

/// Adds a task to a partition.
pub(crate) fn stand(tx: &Tx<'_>, lane: i64, rank: i64, order: i64, queue: QueueNo) -> Outcome<()> {
    let name = tx.queue_name(queue);
    match tx.config(queue).and_then(|config| config.ageing) {
        // Partitions of tasks that run alone do not age.
        Some(every) if !is_alone(lane) => {
            tx.run(sql!("ready/add_ageing"), params![lane, rank, order, &*name, tx.now.saturating_add(every)])?;
        }
        _ => {
            tx.run(sql!("ready/add"), params![lane, rank, order, &*name])?;
        }
    }
    Ok(())
}

/// Makes a task runnable.
pub(crate) fn enqueue(tx: &mut Tx<'_>, row: &mut Row) -> Outcome<()> {
    leave_range(tx, row)?;
    row.enter(tx, TaskState::Enqueued);
    stand(tx, lane(tx, row), -row.priority, row.order, row.queue)?;
    tx.memory.pending_notifications.work = true;
    Ok(())
}

/// Makes a task wait.
pub(crate) fn wait(
    tx: &mut Tx<'_>,
    row: &mut Row,
    reason: WaitReason,
    run_at: Option<i64>,
    parked: Option<&str>,
) -> Outcome<()> {
    leave_range(tx, row)?;
    row.enter(tx, TaskState::Waiting);
    let open = open_parents(tx, row)?;
    tx.run(sql!("waiting/add"), params![row.order, reason.code(), open, run_at, parked, row.runtime])?;
    // The next timer may be due earlier.
    tx.memory.pending_notifications.work |= run_at.is_some();
    Ok(())
}

fn open_parents(tx: &Tx<'_>, row: &Row) -> Outcome<i64> {
    if !row.has_parents {
        return Ok(0);
    }
    Ok(tx.sql(sql!("edge/open_count"))?.query_row([row.order], |row| row.get(0))?)
}

/// Moves a task without an unfinished attempt to the state that its parents and its start time require.
pub(crate) fn settle_start(tx: &mut Tx<'_>, row: &mut Row) -> Outcome<()> {
    let run_at = row.run_at;
    if open_parents(tx, row)? > 0 {
        wait(tx, row, WaitReason::Parents, run_at, None)
    } else if run_at.is_some_and(|at| at > tx.now) {
        wait(tx, row, WaitReason::Time, run_at, None)
    } else {
        enqueue(tx, row)
    }
}

/// Moves a task to a final state. The children are not processed here.
pub(crate) fn end(tx: &mut Tx<'_>, row: &mut Row, state: TaskState) -> Outcome<()> {
    leave_range(tx, row)?;
    settle_end(tx, row)?;
    row.enter(tx, state);
    row.finished_at = Some(tx.now);
    if state == TaskState::Failed {
        tx.run(sql!("dead/add"), params![row.order, tx.now])?;
    }
    Ok(())
}

/// Updates other tables for a final state: releases the key, deletes the deadlines, schedules the removal.
pub(crate) fn settle_end(tx: &mut Tx<'_>, row: &Row) -> Outcome<()> {
    if let (Some(key), Some(hold)) = (&row.unique_key, row.unique_hold)
        && hold != HOLD_FOR
    {
        tx.run(sql!("unique_key/release"), params![key, id_bits(row.id)])?;
    }
    if row.expires_at.is_some() || row.auto_remove {
        tx.run(sql!("deadline/delete_task"), [row.order])?;
    }
    if row.auto_remove {
        let at = codec::later(tx.now, AUTO_REMOVE_AFTER);
        tx.run(sql!("deadline/add"), params![at, row.order, DEADLINE_REMOVE])?;
    }
    tx.memory.pending_notifications.finished = true;
    Ok(())
}

/// Clears the requests to an attempt that is over.
pub(crate) fn clear_requests(tx: &Tx<'_>, row: &mut Row) -> Outcome<()> {
    if row.cancel_requested || row.stop_requested {
        tx.run(sql!("signal/delete"), [id_bits(row.id)])?;
        row.cancel_requested = false;
        row.stop_requested = false;
    }
    Ok(())
}

/// Reverts the effects of a task's end: finish time, dead letter, removal; takes the unique key again if it is free.
pub(crate) fn stand_up(tx: &Tx<'_>, row: &mut Row) -> Outcome<()> {
    if row.state() == TaskState::Failed {
        tx.run(sql!("dead/delete"), [row.order])?;
    }
    row.finished_at = None;
    if row.expires_at.is_some() || row.auto_remove {
        tx.run(sql!("deadline/delete_task"), [row.order])?;
    }
    retake_key(tx, row)
}

/// Takes the unique key of a revived task, if it is free. A key that is held for a fixed time is not renewed.
pub(crate) fn retake_key(tx: &Tx<'_>, row: &Row) -> Outcome<()> {
    if let (Some(key), Some(hold)) = (&row.unique_key, row.unique_hold)
        && hold != HOLD_FOR
        && key_holder(tx, key)?.is_none()
    {
        debug_assert!(hold >= HOLD_FINISHED);
        tx.run(sql!("unique_key/take"), params![key, id_bits(row.id), None::<i64>])?;
    }
    Ok(())
}

/// Returns the task that holds the unique key of this one, and so prevents its revival.
pub(crate) fn other_holder(tx: &Tx<'_>, row: &Row) -> Outcome<Option<TaskId>> {
    let Some(key) = row.unique_key.as_ref().filter(|_| row.unique_hold.is_some()) else { return Ok(None) };
    let holder = key_holder(tx, key)?.filter(|holder| *holder != id_bits(row.id));
    Ok(holder.map(|bits| TaskId(Uuid::from_bytes(bits))))
}

/// Returns the current holder of a key.
pub(crate) fn key_holder(tx: &Tx<'_>, key: &str) -> Outcome<Option<Bits>> {
    let holder = tx.sql(sql!("unique_key/holder"))?.query_row(params![key, tx.now], |row| row.get(0));
    Ok(holder.optional()?)
}
