//! Resolves a batch of new tasks: duplicate ids, unique keys, parents inside and outside the batch.
//!
//! Marks parents and takes keys on the way; an error here is undone with its transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, params};
use taskyard_core::payload::references;
use taskyard_core::state::OnParentFailure;
use taskyard_core::store::Added;
use taskyard_core::task::{NewTask, UniqueHold};
use taskyard_core::{Error, TaskId, TaskState};
use uuid::Uuid;

use crate::codec::{self, Bits, bits, flag, id_bits, int, later};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::transitions;
use crate::thread::tx::Tx;

/// A parent as a new task sees it.
#[derive(Clone, Copy, Debug)]
struct Parent {
    order: i64,
    state: TaskState,
    root: Bits,
}

/// Resolution of one task of the batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Order number of each parent, and whether it is still waited for.
    pub(crate) edges: Vec<(i64, bool)>,
    /// If the task falls at once: its state, and the ancestor to record.
    pub(crate) fallen: Option<(TaskState, Bits)>,
    pub(crate) first_parent: Option<Bits>,
    pub(crate) has_children: bool,
    /// Arguments with replaced references, if another task takes the place of a parent whose result is one of them.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Resolution of the batch.
pub(crate) struct Resolved {
    pub(crate) added: Vec<Added>,
    pub(crate) plans: Vec<Plan>,
}

/// Determines everything that must be known before the first row is written.
pub(crate) fn resolve(tx: &mut Tx<'_>, batch: &[NewTask], first: i64) -> Outcome<Resolved> {
    let index = check_ids(tx, batch)?;
    let added = take_keys(tx, batch)?;
    // Maps an id used in this batch: a task whose key is taken stands for the task that holds the key.
    let named = |id: TaskId| index.get(&id).map_or(id, |at| added[*at].id);
    let mut parents: Vec<Vec<TaskId>> = vec![Vec::new(); batch.len()];
    let mut substituted = false;
    let mut payloads: Vec<Option<Vec<u8>>> = vec![None; batch.len()];
    for (at, task) in batch.iter().enumerate().filter(|(at, _)| !added[*at].existing) {
        let mut seen = HashSet::with_capacity(task.parents.len());
        for parent in &task.parents {
            let id = named(*parent);
            if id != *parent {
                substituted = true;
                let payload = payloads[at].get_or_insert_with(|| task.payload.clone());
                references::rename(payload, *parent, id);
            }
            if seen.insert(id) {
                parents[at].push(id);
            }
        }
    }
    let mut outside: HashMap<TaskId, Parent> = HashMap::new();
    for (task, parents) in batch.iter().zip(&parents) {
        for parent in parents.iter().filter(|parent| !index.contains_key(parent)) {
            if !outside.contains_key(parent) {
                let found = find_parent(tx, *parent)?.ok_or(Error::UnknownParent { task: task.id, parent: *parent })?;
                outside.insert(*parent, found);
            }
        }
    }
    let order = parents_first(batch, &parents, &index, substituted)?;
    let mut plans = vec![Plan::default(); batch.len()];
    for at in order {
        let mut plan = Plan { first_parent: parents[at].first().map(|id| id_bits(*id)), ..Plan::default() };
        for id in &parents[at] {
            let parent = match index.get(id) {
                Some(inside) => {
                    plans[*inside].has_children = true;
                    let (state, root) = plans[*inside].fallen.unwrap_or((TaskState::Waiting, id_bits(*id)));
                    Parent { order: first + *inside as i64, state, root }
                }
                None => outside[id],
            };
            plan.see(batch[at].on_parent_failure, parent);
        }
        // Kept, because only parents are processed first: a child may already have set it.
        plan.has_children = plans[at].has_children;
        plan.payload = payloads[at].take();
        plans[at] = plan;
    }
    Ok(Resolved { added, plans })
}

impl Plan {
    /// Takes one parent's state into account.
    fn see(&mut self, policy: OnParentFailure, parent: Parent) {
        let fell = matches!(parent.state, TaskState::Failed | TaskState::Cancelled);
        let open = match policy {
            _ if parent.state == TaskState::Done => false,
            OnParentFailure::Run => !fell,
            _ => true,
        };
        self.edges.push((parent.order, open));
        if fell && policy == OnParentFailure::Fail && self.fallen.is_none() {
            self.fallen = Some((parent.state, parent.root));
        }
    }
}

/// Checks that no id is taken, and returns the index of each in the batch.
fn check_ids(tx: &Tx<'_>, batch: &[NewTask]) -> Outcome<HashMap<TaskId, usize>> {
    let mut index = HashMap::with_capacity(batch.len());
    let mut exists = tx.sql(sql!("task/exists"))?;
    for (at, task) in batch.iter().enumerate() {
        if index.insert(task.id, at).is_some() || exists.exists([id_bits(task.id)])? {
            return Err(Error::DuplicateId(task.id).into());
        }
    }
    Ok(index)
}

/// Takes the free keys; a task whose key is held gets the holder as its result.
fn take_keys(tx: &Tx<'_>, batch: &[NewTask]) -> Outcome<Vec<Added>> {
    let mut added = Vec::with_capacity(batch.len());
    for task in batch {
        let mut answer = Added { id: task.id, existing: false };
        if let Some(unique) = &task.unique {
            if let Some(holder) = transitions::key_holder(tx, &unique.key)? {
                answer = Added { id: TaskId(Uuid::from_bytes(holder)), existing: true };
            } else {
                let until = match unique.hold {
                    UniqueHold::For(time) => Some(later(tx.now, time)),
                    UniqueHold::UntilFinished | UniqueHold::UntilStarted => None,
                };
                tx.run(sql!("unique_key/take"), params![unique.key, id_bits(task.id), until])?;
            }
        }
        added.push(answer);
    }
    Ok(added)
}

/// Returns a parent that exists already, and marks it as a parent.
fn find_parent(tx: &Tx<'_>, id: TaskId) -> Outcome<Option<Parent>> {
    let found = tx
        .sql(sql!("task/parent"))?
        .query_row([id_bits(id)], |row| {
            let state = codec::state(int(row, 1)).unwrap_or(TaskState::Waiting);
            let parent = Parent { order: int(row, 0), state, root: bits(row, 2).unwrap_or(id_bits(id)) };
            Ok((parent, flag(row, 3)))
        })
        .optional()?;
    let Some((parent, marked)) = found else { return Ok(None) };
    if !marked {
        tx.run(sql!("task/mark_parent"), [parent.order])?;
    }
    Ok(Some(parent))
}

/// Returns the indices of the batch, parents before children. The caller has refused cycles, but replacing a task by
/// the holder of its key can close one.
fn parents_first(
    batch: &[NewTask],
    parents: &[Vec<TaskId>],
    index: &HashMap<TaskId, usize>,
    substituted: bool,
) -> Outcome<Vec<usize>> {
    let inside = |at: usize| parents[at].iter().filter_map(|id| index.get(id).copied());
    // In most batches parents come first already.
    if (0..batch.len()).all(|at| inside(at).all(|parent| parent < at)) {
        return Ok((0..batch.len()).collect());
    }
    if substituted {
        let as_meant: Vec<NewTask> = batch
            .iter()
            .zip(parents)
            .map(|(task, parents)| NewTask { id: task.id, parents: parents.clone(), ..NewTask::new("", Vec::new()) })
            .collect();
        taskyard_core::graph::check_cycles(&as_meant)?;
    }
    let mut left: Vec<usize> = (0..batch.len()).map(|at| inside(at).count()).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); batch.len()];
    for at in 0..batch.len() {
        for parent in inside(at) {
            children[parent].push(at);
        }
    }
    let mut order: Vec<usize> = (0..batch.len()).filter(|at| left[*at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for child in &children[at] {
            left[*child] -= 1;
            if left[*child] == 0 {
                order.push(*child);
            }
        }
    }
    if order.len() < batch.len() {
        let seen: HashSet<usize> = order.into_iter().collect();
        let ids = (0..batch.len()).filter(|at| !seen.contains(at)).map(|at| batch[at].id).collect();
        return Err(Error::Cycle { ids }.into());
    }
    Ok(order)
}
