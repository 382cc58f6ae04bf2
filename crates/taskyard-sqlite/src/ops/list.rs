//! Pages of tasks, and the ids that a bulk command selects.
//!
//! The index on the ids gives the order. A filter by states whose tasks are in small tables (waiting, enqueued, doing,
//! failed) starts there instead while they are few: one dead letter among millions of finished tasks is found at once.

use rusqlite::params;
use taskyard_core::store::TaskFilter;
use taskyard_core::time::to_micros;
use taskyard_core::{TaskId, TaskRecord, TaskState};

use super::claim::orders_of;
use super::lookup;
use crate::codec::{bytes, id, id_bits, int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Maximum number of tasks that are looked up one by one instead of along the ids.
const FEW_MAX: usize = 20_000;

/// A filter as the statements take it.
struct Bound<'a> {
    states: i64,
    queue: Option<&'a str>,
    kind: Option<&'a str>,
    tag: Option<&'a str>,
    finished_before: Option<i64>,
    before: Option<[u8; 16]>,
    finished_after: Option<i64>,
    error_type: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Bound<'a> {
    fn new(filter: &'a TaskFilter) -> Self {
        let states = match filter.states.as_slice() {
            // All states, including unknown ones: such a row must be visible.
            [] => -1,
            states => states.iter().fold(0, |mask, state| mask | (1_i64 << state.code())),
        };
        Self {
            states,
            queue: filter.queue.as_deref(),
            kind: filter.kind.as_deref(),
            tag: filter.tag.as_deref(),
            finished_before: filter.finished_before.map(to_micros),
            before: filter.before.map(id_bits),
            finished_after: filter.finished_after.map(to_micros),
            error_type: filter.error_type.as_deref(),
            message: filter.message.as_deref(),
        }
    }
}

/// Returns one page, newest first.
pub(crate) fn list(read: &Read<'_>, filter: &TaskFilter) -> Outcome<Vec<TaskRecord>> {
    let limit = filter.records_max();
    let Bound { states, queue, kind, tag, finished_before, before, finished_after, error_type, message } =
        Bound::new(filter);
    let few = few(read, filter)?;
    let text = if few.is_some() { sql!("task/list_few") } else { sql!("task/list") };
    let mut statement = read.sql(text)?;
    let limit = limit as i64;
    let mut rows = statement.query(params![
        states,
        queue,
        kind,
        tag,
        finished_before,
        before,
        limit,
        few,
        finished_after,
        error_type,
        message
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(lookup::read(row));
    }
    drop(rows);
    found.into_iter().map(|found| lookup::complete(read, found)).collect()
}

/// Returns ids in ascending order.
pub(crate) fn select(
    read: &Read<'_>,
    filter: &TaskFilter,
    after: Option<TaskId>,
    limit: usize,
) -> Outcome<Vec<TaskId>> {
    let Bound { states, queue, kind, tag, finished_before, before, finished_after, error_type, message } =
        Bound::new(filter);
    let after = after.map(id_bits);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let few = few(read, filter)?;
    let text = if few.is_some() { sql!("task/select_few") } else { sql!("task/select") };
    let mut statement = read.sql(text)?;
    let mut rows = statement.query(params![
        states,
        queue,
        kind,
        tag,
        finished_before,
        before,
        after,
        limit,
        few,
        finished_after,
        error_type,
        message
    ])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.extend(id::<TaskId>(row, 0));
    }
    Ok(ids)
}

/// Returns the number of matching tasks.
pub(crate) fn count(read: &Read<'_>, filter: &TaskFilter) -> Outcome<u64> {
    let Bound { states, queue, kind, tag, finished_before, finished_after, error_type, message, .. } =
        Bound::new(filter);
    let few = few(read, filter)?;
    let text = if few.is_some() { sql!("task/count_few") } else { sql!("task/count") };
    let mut statement = read.sql(text)?;
    let mut parameters: Vec<&dyn rusqlite::ToSql> =
        vec![&states, &queue, &kind, &tag, &finished_before, &finished_after, &error_type, &message];
    if let Some(few) = &few {
        parameters.push(few);
    }
    let count: i64 = statement.query_row(parameters.as_slice(), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns the order numbers of the tasks in these states as a JSON array, if all these states have tables of their own
/// and few tasks are in them.
fn few(read: &Read<'_>, filter: &TaskFilter) -> Outcome<Option<String>> {
    if filter.states.is_empty() {
        return Ok(None);
    }
    let mut orders: Vec<i64> = Vec::new();
    for state in &filter.states {
        let text = match state {
            TaskState::Waiting => sql!("waiting/orders"),
            TaskState::Enqueued => sql!("ready/orders"),
            TaskState::Failed => sql!("dead/orders"),
            TaskState::Doing => sql!("claim/all"),
            TaskState::Stopped | TaskState::Done | TaskState::Cancelled => return Ok(None),
        };
        let mut statement = read.sql(text)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if *state == TaskState::Doing {
                orders.extend(orders_of(&bytes(row, 0).unwrap_or_default()));
            } else {
                orders.push(int(row, 0));
            }
            if orders.len() > FEW_MAX {
                return Ok(None);
            }
        }
    }
    orders.sort_unstable();
    orders.dedup();
    let numbers: Vec<String> = orders.iter().map(i64::to_string).collect();
    Ok(Some(format!("[{}]", numbers.join(","))))
}
