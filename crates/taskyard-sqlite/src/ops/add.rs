//! Adding tasks: all or none, in the order given.
//!
//! First what stands in for what ([`resolve`]): ids, unique keys, parents. Then the rows, in the batch's order. A
//! batch without keys and parents skips the first part: a taken id shows when its row is inserted.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, OptionalExtension, params};
use taskyard_core::state::OnParentFailure;
use taskyard_core::store::Added;
use taskyard_core::task::{Failure, NewTask, Start, UniqueHold};
use taskyard_core::time::to_micros;
use taskyard_core::{Error, RetryPolicy, TaskId, TaskState, WaitReason};
use uuid::Uuid;

use crate::codec::{self, Bits, bits, flag, id_bits, int, later};
use crate::fault::{Fault, Outcome};
use crate::sql::sql;
use crate::task::family::fall_error;
use crate::task::moves::{self, DEADLINE_EXPIRE};
use crate::task::row::{HOLD_FINISHED, HOLD_FOR, HOLD_STARTED, Row};
use crate::thread::tx::Tx;

/// Tasks that share one number from the sequence.
const BATCH_BITS: u32 = 20;

/// A parent as a new task sees it.
#[derive(Clone, Copy, Debug)]
struct Parent {
    order: i64,
    state: TaskState,
    root: Bits,
}

/// What was found out about one task of the batch.
#[derive(Clone, Debug, Default)]
struct Plan {
    /// Each parent's order number, and whether it is still waited for.
    edges: Vec<(i64, bool)>,
    /// The task falls at once.
    fallen: Option<(TaskState, Bits)>,
    first_parent: Option<Bits>,
    has_children: bool,
}

/// What was found out about the batch.
struct Resolved {
    added: Vec<Added>,
    plans: Vec<Plan>,
}

/// Adds a batch.
pub(crate) fn add(tx: &mut Tx<'_>, batch: &[NewTask]) -> Outcome<Vec<Added>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let first = next_orders(tx, batch.len())?;
    let plain = batch.iter().all(|task| task.parents.is_empty() && task.unique.is_none());
    let resolved = if plain { None } else { Some(resolve(tx, batch, first)?) };
    let mut insert = tx.sql(sql!("task/add"))?;
    let nothing = Plan::default();
    for (at, task) in batch.iter().enumerate() {
        let plan = match &resolved {
            Some(resolved) if resolved.added[at].existing => continue,
            Some(resolved) => &resolved.plans[at],
            None => &nothing,
        };
        store(tx, &mut insert, task, first + at as i64, plan)?;
    }
    Ok(match resolved {
        Some(resolved) => resolved.added,
        None => batch.iter().map(|task| Added { id: task.id, existing: false }).collect(),
    })
}

/// Order numbers for a batch: one number of the sequence for each million.
fn next_orders(tx: &Tx<'_>, count: usize) -> Outcome<i64> {
    let numbers = (count >> BATCH_BITS) as i64 + 1;
    let last: i64 = tx.sql(sql!("sequence/next"))?.query_row([numbers], |row| row.get(0))?;
    Ok((last - numbers + 1) << BATCH_BITS)
}

fn resolve(tx: &mut Tx<'_>, batch: &[NewTask], first: i64) -> Outcome<Resolved> {
    let index = check_ids(tx, batch)?;
    let added = take_keys(tx, batch)?;
    // Whom a name in this batch means: a twin's name means the one that holds the key.
    let named = |id: TaskId| index.get(&id).map_or(id, |at| added[*at].id);
    let mut parents: Vec<Vec<TaskId>> = vec![Vec::new(); batch.len()];
    let mut substituted = false;
    for (at, task) in batch.iter().enumerate().filter(|(at, _)| !added[*at].existing) {
        for parent in &task.parents {
            let id = named(*parent);
            substituted |= id != *parent;
            if !parents[at].contains(&id) {
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
        // A child may have been planned before: only parents come first.
        plan.has_children = plans[at].has_children;
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

/// No id may be taken; the place of each in the batch.
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

/// Takes the free keys; whoever wants one that is held is answered with its holder.
fn take_keys(tx: &Tx<'_>, batch: &[NewTask]) -> Outcome<Vec<Added>> {
    let mut added = Vec::with_capacity(batch.len());
    for task in batch {
        let mut answer = Added { id: task.id, existing: false };
        if let Some(unique) = &task.unique {
            if let Some(holder) = moves::key_holder(tx, &unique.key)? {
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

/// A parent that is there already; it is marked as one.
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

/// The batch's places, parents before children. The caller has refused cycles, but a twin that stands in for another
/// task can close one.
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

/// Where a new task stands.
struct Standing {
    state: TaskState,
    reason: WaitReason,
    run_at: Option<i64>,
    error: Option<Failure>,
}

fn standing(now: i64, task: &NewTask, plan: &Plan) -> Standing {
    let run_at = match task.start {
        Start::Now => None,
        Start::After(delay) => Some(later(now, delay)),
        Start::At(at) => Some(to_micros(at)),
    };
    let error = plan.fallen.map(|(state, root)| fall_error(state, root));
    let (state, reason) = match plan.fallen {
        Some((state, _)) => (state, WaitReason::Parents),
        None if plan.edges.iter().any(|(_, open)| *open) => (TaskState::Waiting, WaitReason::Parents),
        None if run_at.is_some_and(|at| at > now) => (TaskState::Waiting, WaitReason::Time),
        None => (TaskState::Enqueued, WaitReason::Time),
    };
    Standing { state, reason, run_at, error }
}

/// Stores one task with its rows in the small tables.
fn store(
    tx: &mut Tx<'_>,
    insert: &mut CachedStatement<'_>,
    task: &NewTask,
    order: i64,
    plan: &Plan,
) -> Outcome<()> {
    let now = tx.now;
    let Standing { state, reason, run_at, error } = standing(now, task, plan);
    let expires_at = task.expires.map(|expires| later(now, expires));
    let policy = (task.retry != RetryPolicy::default()).then(|| json(&task.retry)).transpose()?;
    let tags = (!task.tags.is_empty()).then(|| json(&task.tags)).transpose()?;
    let hold = task.unique.as_ref().map(|unique| match unique.hold {
        UniqueHold::UntilFinished => HOLD_FINISHED,
        UniqueHold::UntilStarted => HOLD_STARTED,
        UniqueHold::For(_) => HOLD_FOR,
    });
    let timeout_ms = task.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
    let inserted = insert.execute(params![
        order,
        id_bits(task.id),
        state.code(),
        task.kind,
        task.runtime.code(),
        task.name,
        task.queue,
        task.priority,
        plan.has_children,
        !plan.edges.is_empty(),
        task.context.is_some(),
        task.at_most_once,
        task.auto_remove,
        task.on_parent_failure.code(),
        plan.first_parent,
        plan.fallen.map(|(_, root)| root),
        policy,
        timeout_ms,
        task.unique.as_ref().map(|unique| &unique.key),
        hold,
        tags,
        now,
        run_at,
        expires_at,
        state.is_final().then_some(now),
        error.as_ref().map(|error| &error.error_type),
        error.as_ref().map(|error| &error.message),
        task.payload,
    ]);
    inserted.map_err(|error| taken(error, task.id))?;
    let queue = tx.queue(&task.queue);
    tx.counted(queue, state, 1);
    for (place, (parent, open)) in plan.edges.iter().enumerate() {
        tx.run(sql!("edge/add"), params![parent, order, place as i64, open])?;
    }
    if let Some(context) = &task.context {
        tx.run(sql!("context/set"), params![order, context])?;
    }
    match state {
        TaskState::Enqueued => {
            let runtime = i64::from(task.runtime.code());
            let lane = tx.config(queue).filter(|config| config.restricted()).map_or(runtime, |own| own.lane(runtime));
            tx.run(sql!("ready/add"), params![lane, -i64::from(task.priority), order, task.queue])?;
            tx.memory.rings.work = true;
        }
        TaskState::Waiting => {
            let open = plan.edges.iter().filter(|(_, open)| *open).count() as i64;
            let runtime = task.runtime.code();
            tx.run(sql!("waiting/add"), params![order, reason.code(), open, run_at, None::<&str>, runtime])?;
            tx.memory.rings.work |= run_at.is_some();
        }
        _ => {
            if state == TaskState::Failed {
                tx.run(sql!("dead/add"), params![order, now])?;
            }
            let row = Row::find_by_order(tx, order)?.expect("inserted above");
            return moves::settle_end(tx, &row);
        }
    }
    if let Some(at) = expires_at {
        tx.run(sql!("deadline/add"), params![at, order, DEADLINE_EXPIRE])?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> Outcome<String> {
    serde_json::to_string(value)
        .map_err(|error| Fault::Answer(Error::NotRepresentable { what: "the task".into(), why: error.to_string() }))
}

/// A failed insert: the id is taken, or SQLite's own error.
fn taken(error: rusqlite::Error, id: TaskId) -> Fault {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) if error.to_string().contains("ty_task.id") => {
            Error::DuplicateId(id).into()
        }
        _ => error.into(),
    }
}
