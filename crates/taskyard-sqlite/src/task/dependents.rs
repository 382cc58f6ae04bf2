//! Parents and children: propagates the end or the retry of a parent to its children.
//!
//! Propagation proceeds edge by edge, without recursion, until all children are processed or the budget is spent; the
//! rest is stored as cascade rows, with the position reached, and completed by [`crate::ops::cascade`]. Propagation is
//! idempotent.

use std::collections::VecDeque;

use rusqlite::{OptionalExtension, params};
use taskyard_core::state::OnParentFailure;
use taskyard_core::task::Failure;
use taskyard_core::{TaskId, TaskState, WaitReason};
use uuid::Uuid;

use super::row::Row;
use super::transitions;
use crate::codec::{Bits, bits, id_bits, int, state};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::tx::Tx;

/// Number of edges read at a time.
const CHUNK: usize = 256;

/// Event of a parent that is propagated to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentEvent {
    /// The parent is done.
    Done,
    /// The parent failed.
    Failed,
    /// The parent was cancelled.
    Cancelled,
    /// The parent was retried, or fell with another ancestor than before.
    Revived,
}

impl ParentEvent {
    /// Returns the number stored for this event.
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    /// Decodes a stored number.
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::Done, Self::Failed, Self::Cancelled, Self::Revived].into_iter().find(|event| event.code() == code)
    }

    /// Returns the event for a parent that entered this state.
    fn of(state: TaskState) -> Option<Self> {
        match state {
            TaskState::Done => Some(Self::Done),
            TaskState::Failed => Some(Self::Failed),
            TaskState::Cancelled => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// Propagation of one event to the children of one parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParentNotice {
    /// Order number of the parent.
    pub(crate) parent: i64,
    /// The event.
    pub(crate) event: ParentEvent,
    /// Ancestor that caused the fall, recorded in the children.
    pub(crate) root: Option<Bits>,
    /// Children up to this order number have been processed.
    pub(crate) after: i64,
}

/// Moves a task to a final state and propagates it to its children, as far as the budget allows. Saves the row.
pub(crate) fn end_and_notify(tx: &mut Tx<'_>, row: &mut Row, state: TaskState, budget: &mut usize) -> Outcome<()> {
    transitions::end(tx, row, state)?;
    row.save_end(tx)?;
    notice_of(tx, row, budget)
}

/// Propagates the end of a task that has just become final.
pub(crate) fn notice_of(tx: &mut Tx<'_>, row: &Row, budget: &mut usize) -> Outcome<()> {
    let Some(event) = ParentEvent::of(row.state()).filter(|_| row.has_children) else {
        return Ok(());
    };
    let root = (event != ParentEvent::Done).then(|| row.root());
    notify(tx, ParentNotice { parent: row.order, event, root, after: i64::MIN }, budget)?;
    Ok(())
}

/// Propagates until all children are processed or the budget is spent; stores the rest as cascade rows. Returns the
/// number of children processed.
pub(crate) fn notify(tx: &mut Tx<'_>, first: ParentNotice, budget: &mut usize) -> Outcome<usize> {
    let before = *budget;
    let mut work = VecDeque::from([first]);
    while let Some(job) = work.pop_front() {
        if let Some(rest) = notify_children(tx, job, &mut work, budget)? {
            tx.run(sql!("cascade/add"), params![rest.parent, rest.event.code(), rest.root, rest.after])?;
            tx.memory.pending_notifications.work = true;
        }
    }
    Ok(before - *budget)
}

/// Processes the children of one task; returns the rest if the budget is spent.
fn notify_children(
    tx: &mut Tx<'_>,
    mut job: ParentNotice,
    work: &mut VecDeque<ParentNotice>,
    budget: &mut usize,
) -> Outcome<Option<ParentNotice>> {
    let text = if job.event == ParentEvent::Revived { sql!("edge/all") } else { sql!("edge/untold") };
    let mut children: Vec<i64> = Vec::new();
    loop {
        // One more than the budget allows, to know whether anything is left.
        let chunk = CHUNK.min(*budget + 1);
        children.clear();
        {
            let mut statement = tx.sql(text)?;
            let mut rows = statement.query(params![job.parent, job.after, chunk as i64])?;
            while let Some(row) = rows.next()? {
                children.push(int(row, 0));
            }
        }
        for child in &children {
            if *budget == 0 {
                return Ok(Some(job));
            }
            *budget -= 1;
            tell_one(tx, job, *child, work)?;
            job.after = *child;
        }
        if children.len() < chunk {
            return Ok(None);
        }
    }
}

fn tell_one(tx: &mut Tx<'_>, job: ParentNotice, child: i64, work: &mut VecDeque<ParentNotice>) -> Outcome<()> {
    if job.event == ParentEvent::Done {
        return close_edge(tx, job.parent, child);
    }
    let Some(mut row) = Row::find_by_order(tx, child)? else {
        return Ok(());
    };
    if job.event == ParentEvent::Revived {
        return if is_held_down(tx, &row)? { Ok(()) } else { revive(tx, row, work) };
    }
    match row.on_parent_failure {
        OnParentFailure::Run => close_edge(tx, job.parent, child),
        OnParentFailure::Wait => Ok(()),
        OnParentFailure::Fail if row.state() != TaskState::Waiting => Ok(()),
        OnParentFailure::Fail => {
            let state = if job.event == ParentEvent::Failed { TaskState::Failed } else { TaskState::Cancelled };
            let root = job.root.unwrap_or(id_bits(row.id));
            fall(tx, &mut row, state, root)?;
            if row.has_children {
                work.push_back(ParentNotice { parent: child, after: i64::MIN, ..job });
            }
            Ok(())
        }
    }
}

/// Stops waiting for a parent. With the last one the child becomes ready, or waits for its start time.
fn close_edge(tx: &mut Tx<'_>, parent: i64, child: i64) -> Outcome<()> {
    tx.run(sql!("edge/close"), [parent, child])?;
    let left: Option<i64> = tx.sql(sql!("waiting/close_parent"))?.query_row([child], |row| row.get(0)).optional()?;
    if left.is_none_or(|left| left > 0) {
        return Ok(());
    }
    let Some(mut row) = Row::find_by_order(tx, child)? else {
        return Ok(());
    };
    match row.run_at {
        Some(at) if at > tx.now => transitions::wait(tx, &mut row, WaitReason::Time, Some(at), None)?,
        _ => transitions::enqueue(tx, &mut row)?,
    }
    row.save(tx)
}

/// Returns the error of a task that fell with an ancestor.
pub(crate) fn fall_error(state: TaskState, root: Bits) -> Failure {
    let root = Uuid::from_bytes(root);
    match state {
        TaskState::Failed => Failure::new("ParentTaskFailed", format!("parent task {root} failed")),
        _ => Failure::new("ParentTaskCancelled", format!("parent task {root} was cancelled")),
    }
}

/// Returns the error of a task that was not retried with its parent.
fn key_held_error(holder: TaskId) -> Failure {
    let why = format!("not retried with its parent: its unique key is held by task {holder}");
    Failure::new("UniqueKeyHeld", why)
}

/// Makes a task fall with an ancestor; its children are not processed yet. Saves the row.
pub(crate) fn fall(tx: &mut Tx<'_>, row: &mut Row, state: TaskState, root: Bits) -> Outcome<()> {
    row.fallen_from = Some(root);
    transitions::end(tx, row, state)?;
    row.blame(tx, &fall_error(state, root))?;
    row.save(tx)
}

/// Returns the open parents that are failed or cancelled, in the order given: their state, and the ancestor to record.
fn fallen_parents(tx: &Tx<'_>, row: &Row) -> Outcome<Vec<(TaskState, Bits)>> {
    if !row.has_parents {
        return Ok(Vec::new());
    }
    let mut statement = tx.sql(sql!("edge/fallen_parents"))?;
    let mut rows = statement.query([row.order])?;
    let mut parents = Vec::new();
    while let Some(row) = rows.next()? {
        let named = bits(row, 2).or_else(|| bits(row, 1));
        parents.extend(state(int(row, 0)).zip(named));
    }
    Ok(parents)
}

/// Returns the first open parent that is failed or cancelled and makes this task fall with it.
pub(crate) fn fallen_parent(tx: &Tx<'_>, row: &Row) -> Outcome<Option<(TaskState, Bits)>> {
    if row.on_parent_failure != OnParentFailure::Fail {
        return Ok(None);
    }
    Ok(fallen_parents(tx, row)?.first().copied())
}

/// Returns whether a task must not be revived: it did not fall, or an open parent fell with (or is) the ancestor that
/// it records. Otherwise the task must be checked again, and it will be: whenever a task is revived or falls with
/// another ancestor than before, its children are checked. So it need not be recorded which task was retried.
fn is_held_down(tx: &Tx<'_>, row: &Row) -> Outcome<bool> {
    let Some(named) = row.fallen_from.filter(|_| row.is_fallen()) else { return Ok(true) };
    Ok(fallen_parents(tx, row)?.iter().any(|(_, root)| *root == named))
}

/// Revives a fallen task, with two exceptions: if a parent that fell with another ancestor holds it down, it records
/// that ancestor; if another task holds its unique key, it stays down on its own. In all cases its own children are
/// checked next.
fn revive(tx: &mut Tx<'_>, mut row: Row, work: &mut VecDeque<ParentNotice>) -> Outcome<()> {
    let fallen = fallen_parent(tx, &row)?;
    let holder = if fallen.is_none() { transitions::other_holder(tx, &row)? } else { None };
    row.fallen_from = None;
    if holder.is_none() {
        transitions::stand_up(tx, &mut row)?;
        // As for the task that was retried: its expiry time applied to the first run.
        row.expires_at = None;
    }
    match (fallen, holder) {
        (Some((state, root)), _) => fall(tx, &mut row, state, root)?,
        (None, Some(holder)) => {
            // The state stays, as for a task that ended on its own.
            row.blame(tx, &key_held_error(holder))?;
            row.save(tx)?;
        }
        (None, None) => {
            tx.run(sql!("task/forget"), [row.order])?;
            transitions::settle_start(tx, &mut row)?;
            row.save(tx)?;
        }
    }
    if row.has_children {
        work.push_back(ParentNotice { parent: row.order, event: ParentEvent::Revived, root: None, after: i64::MIN });
    }
    Ok(())
}
