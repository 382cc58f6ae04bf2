//! Reads tasks by id: records, final states, parents and children.

use rusqlite::OptionalExtension;
use taskyard_core::store::{Final, ParentResult};
use taskyard_core::{TaskId, TaskRecord, TaskState};

use super::lookup;
use crate::codec::{self, bytes, failure, flag, id, id_bits, int};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;

/// Returns the records of these tasks, in the order given.
pub(crate) fn get(read: &Read<'_>, ids: &[TaskId]) -> Outcome<Vec<Option<TaskRecord>>> {
    let mut statement = read.sql(sql!("task/get"))?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        let found = statement.query_row([id_bits(*id)], |row| Ok(lookup::read(row))).optional()?.flatten();
        records.push(found.map(|found| lookup::complete(read, found)).transpose()?);
    }
    Ok(records)
}

/// Returns whether each of these tasks exists, in the order given.
pub(crate) fn present(read: &Read<'_>, ids: &[TaskId]) -> Outcome<Vec<bool>> {
    let mut statement = read.sql(sql!("task/exists"))?;
    ids.iter().map(|id| Ok(statement.exists([id_bits(*id)])?)).collect()
}

/// Returns the final ones of these tasks.
pub(crate) fn finals(read: &Read<'_>, ids: &[TaskId]) -> Outcome<Vec<Final>> {
    let mut statement = read.sql(sql!("task/final"))?;
    let mut finals = Vec::new();
    for id in ids {
        let found = statement
            .query_row([id_bits(*id)], |row| {
                let state = codec::state(int(row, 0)).unwrap_or(TaskState::Waiting);
                let error = failure(row, 2).filter(|_| state == TaskState::Failed);
                Ok(Final { id: *id, state, result: bytes(row, 1), result_encoded: flag(row, 5), error })
            })
            .optional()?;
        finals.extend(found);
    }
    Ok(finals)
}

/// Returns the order number of an id.
pub(crate) fn order(read: &Read<'_>, id: TaskId) -> Outcome<Option<i64>> {
    Ok(read.sql(sql!("task/order"))?.query_row([id_bits(id)], |row| row.get(0)).optional()?)
}

/// Returns the parents as their child sees them, in the order given.
pub(crate) fn parent_results(read: &Read<'_>, id: TaskId) -> Outcome<Vec<ParentResult>> {
    let Some(order) = order(read, id)? else { return Ok(Vec::new()) };
    let mut statement = read.sql(sql!("edge/parents"))?;
    let mut rows = statement.query([order])?;
    let mut parents = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(parent) = codec::id::<TaskId>(row, 0) else { continue };
        let state = codec::state(int(row, 1)).unwrap_or(TaskState::Waiting);
        let error = failure(row, 3).filter(|_| state == TaskState::Failed);
        parents.push(ParentResult { id: parent, state, result: bytes(row, 2), result_encoded: flag(row, 7), error });
    }
    Ok(parents)
}

/// Returns the sizes of the parents' results; a length is read without the value.
pub(crate) fn parent_sizes(read: &Read<'_>, id: TaskId) -> Outcome<Vec<(TaskId, usize)>> {
    let Some(order) = order(read, id)? else { return Ok(Vec::new()) };
    let mut statement = read.sql(sql!("edge/parent_sizes"))?;
    let mut rows = statement.query([order])?;
    let mut sizes = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(parent) = codec::id::<TaskId>(row, 0) else { continue };
        sizes.push((parent, usize::try_from(int(row, 1)).unwrap_or(usize::MAX)));
    }
    Ok(sizes)
}

/// Returns the children, in the order in which they were added.
pub(crate) fn children(read: &Read<'_>, parent: TaskId, limit: usize) -> Outcome<Vec<TaskId>> {
    let Some(order) = order(read, parent)? else { return Ok(Vec::new()) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = read.sql(sql!("edge/children"))?;
    let mut rows = statement.query([order, limit])?;
    let mut children = Vec::new();
    while let Some(row) = rows.next()? {
        children.extend(id::<TaskId>(row, 0));
    }
    Ok(children)
}
