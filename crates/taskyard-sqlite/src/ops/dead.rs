//! Dead letters that hooks are to be told of.

use rusqlite::{Connection, params};
use taskyard_core::store::{DEATH_TOLD_WITHIN, DeadTake};
use taskyard_core::{Namespace, ServerId, TaskId};

use crate::codec::{id, id_bits, int, micros};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;
use crate::thread::tx::Tx;

/// Returns whether there is a dead letter to take.
pub(crate) fn any(read: &Read<'_>, request: &DeadTake) -> Outcome<bool> {
    let one = DeadTake { limit: 1, ..request.clone() };
    Ok(!untold(read.connection, read.now, &one)?.is_empty())
}

/// Takes dead letters for a server.
pub(crate) fn take(tx: &Tx<'_>, request: &DeadTake) -> Outcome<Vec<TaskId>> {
    let found = untold(tx.connection, tx.now, request)?;
    for (order, _) in &found {
        tx.run(sql!("dead/take"), params![order, request.server.0.into_bytes()])?;
    }
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

fn untold(connection: &Connection, now: i64, request: &DeadTake) -> Outcome<Vec<(i64, TaskId)>> {
    let mut statement = connection.prepare_cached(sql!("dead/untold"))?;
    let mut rows = statement.query(params![
        request.server.0.into_bytes(),
        request.runtime.code(),
        request.queues.as_ref().map(|queues| serde_json::json!(queues).to_string()),
        now.saturating_sub(micros(DEATH_TOLD_WITHIN)),
        i64::try_from(request.limit).unwrap_or(i64::MAX),
        request.namespace.as_ref().map(Namespace::as_str),
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(id(row, 1).map(|id| (int(row, 0), id)));
    }
    Ok(found)
}

/// Records that the hooks have been told of dead letters that this server took, or leaves them to other servers (`told`
/// false).
pub(crate) fn told(tx: &Tx<'_>, server: ServerId, ids: &[TaskId], told: bool) -> Outcome<usize> {
    let mut count = 0;
    for id in ids {
        count += tx.run(sql!("dead/told"), params![id_bits(*id), server.0.into_bytes(), told])?;
    }
    Ok(count)
}
