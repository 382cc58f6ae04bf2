//! Moving a task from one state to another: the row in memory, and the small tables that hold the ranges.
//!
//! A move leaves the range it was in (`ty_ready`, `ty_waiting`) and enters the next; the caller saves the row once.
//! state = enqueued <=> one row in `ty_ready`; state = waiting <=> one row in `ty_waiting`.

use rusqlite::{OptionalExtension, params};
use taskyard_core::store::AUTO_REMOVE_AFTER;
use taskyard_core::{TaskId, TaskState, WaitReason};
use uuid::Uuid;

use super::row::{HOLD_FINISHED, HOLD_FOR, Row};
use crate::codec::{self, Bits, id_bits};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::{GROUP_BITS, QueueNo, Tx, is_alone};

/// The task is cancelled at this deadline unless it has started.
pub(crate) const DEADLINE_EXPIRE: i64 = 0;
/// The finished task is removed at this deadline.
pub(crate) const DEADLINE_REMOVE: i64 = 1;

/// The lane of tasks that run with nothing beside them.
pub(crate) fn alone_lane(runtime: i64) -> i64 {
    -1 - runtime
}

/// The lane that a task's queue, alone flag and kind say now.
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

/// Takes a task out of the range it is in.
pub(crate) fn leave_range(tx: &Tx<'_>, row: &Row) -> Outcome<()> {
    match row.state() {
        TaskState::Waiting => {
            tx.run(sql!("waiting/delete"), [row.order])?;
        }
        TaskState::Enqueued => {
            // In a lane of its own it may have stayed since its queue was freed; in the common one since it was limited.
            let own = tx.config(row.queue).map(|config| config.lane(row.runtime));
            let lanes = [Some(lane_in_group(tx, row)), Some(row.runtime), own, Some(alone_lane(row.runtime))];
            // It may have come there before its kind got another group.
            let groups = std::iter::once(row.group).chain(tx.groups().map(|group| group.id)).chain([0]);
            for base in groups.map(|group| group << GROUP_BITS) {
                for lane in lanes.into_iter().flatten() {
                    if tx.run(sql!("ready/delete"), params![base + lane, -row.priority, row.order])? > 0 {
                        return Ok(());
                    }
                }
            }
            // What has aged stands elsewhere than its priority says.
            if let Some(aged) = aged(tx, row.order)? {
                tx.run(sql!("ready/delete"), params![aged.lane, aged.rank, row.order])?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether an enqueued task stands in the runnable range where its row says, or has aged there. One that does not may stand
/// elsewhere, in the lane that it entered.
pub(crate) fn stands(tx: &Tx<'_>, row: &Row) -> Outcome<bool> {
    Ok(tx.any(sql!("ready/has"), params![lane(tx, row), -row.priority, row.order])? || aged(tx, row.order)?.is_some())
}

/// Where a task stands that is told when it ages.
pub(crate) struct Aged {
    pub(crate) lane: i64,
    pub(crate) rank: i64,
    pub(crate) ages_at: i64,
}

/// Where a task stands, if it is told when it ages.
pub(crate) fn aged(tx: &Tx<'_>, order: i64) -> Outcome<Option<Aged>> {
    let found = tx
        .sql(sql!("ready/aged"))?
        .query_row([order], |row| Ok(Aged { lane: row.get(0)?, rank: row.get(1)?, ages_at: row.get(2)? }));
    Ok(found.optional()?)
}

/// Enters a task into a lane.
pub(crate) fn stand(tx: &Tx<'_>, lane: i64, rank: i64, order: i64, queue: QueueNo) -> Outcome<()> {
    let name = tx.queue_name(queue);
    match tx.config(queue).and_then(|config| config.ageing) {
        // Alone lanes do not age.
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
    tx.memory.rings.work = true;
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
    // A timer may have come nearer.
    tx.memory.rings.work |= run_at.is_some();
    Ok(())
}

fn open_parents(tx: &Tx<'_>, row: &Row) -> Outcome<i64> {
    if !row.has_parents {
        return Ok(0);
    }
    Ok(tx.sql(sql!("edge/open_count"))?.query_row([row.order], |row| row.get(0))?)
}

/// Puts a task without an unfinished attempt where its parents and its start time say.
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

/// Brings a task into a final state. The children are not told here.
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

/// What a final state leaves in other tables: the key is released, the deadlines go, removal is set.
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
    tx.memory.rings.finished = true;
    Ok(())
}

/// An attempt is over: its requests with it.
pub(crate) fn clear_requests(tx: &Tx<'_>, row: &mut Row) -> Outcome<()> {
    if row.cancel_requested || row.stop_requested {
        tx.run(sql!("signal/delete"), [id_bits(row.id)])?;
        row.cancel_requested = false;
        row.stop_requested = false;
    }
    Ok(())
}

/// Takes back what the end of a task left: the finish time, the dead letter, the removal; the key, if it is free, is taken again.
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

/// Takes the unique key of a task that is brought back, if it is free. A key that is held for a time has its time.
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

/// The task that keeps this one from being brought back: it holds its unique key.
pub(crate) fn other_holder(tx: &Tx<'_>, row: &Row) -> Outcome<Option<TaskId>> {
    let Some(key) = row.unique_key.as_ref().filter(|_| row.unique_hold.is_some()) else { return Ok(None) };
    let holder = key_holder(tx, key)?.filter(|holder| *holder != id_bits(row.id));
    Ok(holder.map(|bits| TaskId(Uuid::from_bytes(bits))))
}

/// Who holds a key now.
pub(crate) fn key_holder(tx: &Tx<'_>, key: &str) -> Outcome<Option<Bits>> {
    let holder = tx.sql(sql!("unique_key/holder"))?.query_row(params![key, tx.now], |row| row.get(0));
    Ok(holder.optional()?)
}
