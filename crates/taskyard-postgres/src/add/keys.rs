//! The unique keys of a batch.

use std::collections::{BTreeMap, HashMap};

use taskyard_core::task::UniqueHold;
use taskyard_core::{NewTask, TaskId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::pool::{Interrupted, Transaction};
use crate::row::get;
use crate::text::micros;

/// Takes the unique keys, in the order of the batch. Returns, for each task that is not to be added, the task that
/// holds its key.
pub(super) async fn take(
    transaction: &Transaction<'_>,
    batch: &[NewTask],
) -> Result<HashMap<TaskId, TaskId>, Interrupted> {
    let mut holders = HashMap::new();
    let mut left: Vec<&NewTask> = batch.iter().filter(|task| task.unique.is_some()).collect();
    while !left.is_empty() {
        // The first task of each key, sorted by key, the order in which every writer locks them.
        let mut first: BTreeMap<&str, &NewTask> = BTreeMap::new();
        for task in &left {
            if let Some(unique) = &task.unique {
                first.entry(unique.key.as_str()).or_insert(task);
            }
        }
        let keys: Vec<&str> = first.keys().copied().collect();
        let ids: Vec<Uuid> = first.values().map(|task| task.id.0).collect();
        let held: Vec<Option<i64>> = first
            .values()
            .map(|task| match task.unique.as_ref().map(|unique| unique.hold) {
                Some(UniqueHold::For(duration)) => Some(micros(duration)),
                _ => None,
            })
            .collect();
        let rows = transaction
            .query(
                "SELECT key, task_id FROM taskyard.unique_key_take($1, $2, $3)",
                &[(&keys, Type::TEXT_ARRAY), (&ids, Type::UUID_ARRAY), (&held, Type::INT8_ARRAY)],
            )
            .await?;
        let mut held_by: HashMap<String, TaskId> = HashMap::new();
        for row in &rows {
            held_by.insert(get(row, 0)?, TaskId(get(row, 1)?));
        }
        left.retain(|task| {
            let Some(unique) = &task.unique else { return false };
            let Some(holder) = held_by.get(unique.key.as_str()).copied() else { return false };
            let taker = first[unique.key.as_str()];
            if task.id == holder {
                return false;
            }
            // The key is held for zero time: the next task of the batch tries again.
            let for_nothing = holder == taker.id
                && taker
                    .unique
                    .as_ref()
                    .is_some_and(|unique| unique.hold == UniqueHold::For(std::time::Duration::ZERO));
            if for_nothing && !std::ptr::eq(*task, taker) {
                return true;
            }
            holders.insert(task.id, holder);
            false
        });
    }
    Ok(holders)
}
