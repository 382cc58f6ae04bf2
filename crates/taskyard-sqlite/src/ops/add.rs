//! Adds tasks: all or none, in the order given.
//!
//! First [`resolve`] settles ids, unique keys and parents, then the rows are inserted in the batch's order. A batch
//! without keys and parents skips the first part: a duplicate id shows when its row is inserted.

use rusqlite::{CachedStatement, params};
use taskyard_core::store::Added;
use taskyard_core::task::{Failure, NewTask, Start, UniqueHold, plain};
use taskyard_core::time::{limit_millis, to_micros};
use taskyard_core::{AdditionId, Error, TaskId, TaskState, WaitReason};

use super::resolve::{Plan, resolve};
use crate::codec::{id_bits, later};
use crate::fault::{Fault, Outcome};
use crate::sql::sql;
use crate::task::dependents::fall_error;
use crate::task::row::{HOLD_FINISHED, HOLD_FOR, HOLD_STARTED, Row};
use crate::task::transitions::{self, DEADLINE_EXPIRE};
use crate::thread::tx::{GROUP_BITS, Tx};

/// Number of bits for the tasks that share one number of the sequence.
const BATCH_BITS: u32 = 20;

/// Adds a batch, unless the addition was revoked before it arrived.
pub(crate) fn add_as(tx: &mut Tx<'_>, addition: AdditionId, batch: &[NewTask]) -> Outcome<Vec<Added>> {
    if tx.any(sql!("refused/get"), [addition.0.into_bytes()])? {
        return Err(Error::Connection("this addition was revoked before it arrived".into()).into());
    }
    add(tx, batch)
}

/// Returns which tasks of an addition are stored; if none is, the addition is revoked and will never be stored.
pub(crate) fn added(tx: &mut Tx<'_>, addition: AdditionId, ids: &[TaskId]) -> Outcome<Vec<bool>> {
    let mut exists = tx.sql(sql!("task/exists"))?;
    let stored = ids.iter().map(|id| exists.exists([id_bits(*id)])).collect::<Result<Vec<bool>, _>>()?;
    if !stored.contains(&true) {
        tx.run(sql!("refused/add"), params![addition.0.into_bytes(), tx.now])?;
    }
    Ok(stored)
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

/// Returns the first order number for a batch: one number of the sequence covers a million tasks.
fn next_orders(tx: &Tx<'_>, count: usize) -> Outcome<i64> {
    let numbers = (count >> BATCH_BITS) as i64 + 1;
    let last: i64 = tx.sql(sql!("sequence/next"))?.query_row([numbers], |row| row.get(0))?;
    Ok((last - numbers + 1) << BATCH_BITS)
}

/// Initial state of a new task.
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
fn store(tx: &mut Tx<'_>, insert: &mut CachedStatement<'_>, task: &NewTask, order: i64, plan: &Plan) -> Outcome<()> {
    let now = tx.now;
    let Standing { state, reason, run_at, error } = standing(now, task, plan);
    let expires_at = task.expires.map(|expires| later(now, expires));
    let tags = (!task.tags.is_empty()).then(|| json(&task.tags)).transpose()?;
    let hold = task.unique.as_ref().map(|unique| match unique.hold {
        UniqueHold::UntilFinished => HOLD_FINISHED,
        UniqueHold::UntilStarted => HOLD_STARTED,
        UniqueHold::For(_) => HOLD_FOR,
    });
    let timeout_ms = task.timeout.map(|timeout| i64::try_from(limit_millis(timeout)).unwrap_or(i64::MAX));
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
        task.policy_text(),
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
        plan.payload.as_ref().unwrap_or(&task.payload),
        task.plain_parts() & plain::PAYLOAD,
    ]);
    inserted.map_err(|error| taken(error, task.id))?;
    let queue = tx.queue(&task.queue);
    tx.counted(queue, state, 1);
    for (place, (parent, open)) in plan.edges.iter().enumerate() {
        tx.run(sql!("edge/add"), params![parent, order, place as i64, open])?;
    }
    if let Some(context) = &task.context {
        tx.run(sql!("context/set"), params![order, context, !task.context_encoded])?;
    }
    match state {
        TaskState::Enqueued => {
            let runtime = i64::from(task.runtime.code());
            let lane = tx.config(queue).filter(|config| config.has_lane()).map_or(runtime, |own| own.lane(runtime));
            let group = tx.kind_group(runtime, &task.kind).map_or(0, |group| group.id);
            transitions::stand(tx, (group << GROUP_BITS) + lane, -i64::from(task.priority), order, queue)?;
            tx.memory.pending_notifications.work = true;
        }
        TaskState::Waiting => {
            let open = plan.edges.iter().filter(|(_, open)| *open).count() as i64;
            let runtime = task.runtime.code();
            tx.run(sql!("waiting/add"), params![order, reason.code(), open, run_at, None::<&str>, runtime])?;
            tx.memory.pending_notifications.work |= run_at.is_some();
        }
        _ => {
            if state == TaskState::Failed {
                tx.run(sql!("dead/add"), params![order, now])?;
            }
            let row = Row::find_by_order(tx, order)?.expect("inserted above");
            return transitions::settle_end(tx, &row);
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

/// Maps the error of a failed insert: `Error::DuplicateId`, or SQLite's own.
fn taken(error: rusqlite::Error, id: TaskId) -> Fault {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) if error.to_string().contains("ty_task.id") => {
            Error::DuplicateId(id).into()
        }
        _ => error.into(),
    }
}
