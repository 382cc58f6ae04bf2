//! Decides the initial state of each task of a batch: its existing parents are locked in id order and read, then the
//! tasks are decided, parents before children.

use std::collections::HashMap;

use taskyard_core::state::OnParentFailure;
use taskyard_core::{Error, NewTask, TaskId, TaskState};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::pool::{Interrupted, Transaction};
use crate::row::get;

/// Initial state of a task of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Begin {
    /// Parents of the task, duplicates replaced by the tasks that hold their keys; each with whether it is still open.
    pub parents: Vec<(Uuid, bool)>,
    /// If the task has already fallen: its state, and the root of the fall.
    pub fallen: Option<(TaskState, Uuid)>,
    /// Whether the task is a parent of another one of the batch.
    pub has_children: bool,
}

/// Locks the parents that exist already and decides the initial state of each task.
pub(super) async fn begin(
    transaction: &Transaction<'_>,
    tasks: &[NewTask],
) -> Result<HashMap<TaskId, Begin>, Interrupted> {
    let inside: HashMap<TaskId, &NewTask> = tasks.iter().map(|task| (task.id, task)).collect();
    let mut outside: Vec<Uuid> =
        tasks.iter().flat_map(|task| &task.parents).filter(|id| !inside.contains_key(id)).map(|id| id.0).collect();
    outside.sort_unstable();
    outside.dedup();
    let mut found: HashMap<Uuid, (TaskState, Option<Uuid>)> = HashMap::new();
    if !outside.is_empty() {
        let rows = transaction
            .query("SELECT id, state, fallen_from FROM taskyard.task_lock_parents($1)", &[(&outside, Type::UUID_ARRAY)])
            .await?;
        for row in &rows {
            found.insert(get(row, 0)?, (crate::row::state(get(row, 1)?), get(row, 2)?));
        }
    }
    for task in tasks {
        for parent in &task.parents {
            if !inside.contains_key(parent) && !found.contains_key(&parent.0) {
                return Err(Error::UnknownParent { task: task.id, parent: *parent }.into());
            }
        }
    }
    let mut begins: HashMap<TaskId, Begin> = HashMap::with_capacity(tasks.len());
    for start in tasks {
        // Parents first, without recursion: a chain may be long.
        let mut path = vec![start.id];
        while let Some(id) = path.last().copied() {
            let task = inside[&id];
            if begins.contains_key(&id) {
                path.pop();
                continue;
            }
            let before = path.len();
            path.extend(
                task.parents.iter().filter(|parent| inside.contains_key(parent) && !begins.contains_key(parent)),
            );
            if path.len() > before {
                continue;
            }
            let begin = begin_one(task, &found, &begins);
            begins.insert(id, begin);
            path.pop();
        }
    }
    for task in tasks {
        for parent in &task.parents {
            if let Some(begin) = begins.get_mut(parent) {
                begin.has_children = true;
            }
        }
    }
    Ok(begins)
}

fn begin_one(
    task: &NewTask,
    found: &HashMap<Uuid, (TaskState, Option<Uuid>)>,
    begins: &HashMap<TaskId, Begin>,
) -> Begin {
    let mut begin = Begin::default();
    for parent in &task.parents {
        // A parent of the same batch is unfinished, unless it falls during this addition.
        let (state, root) = match begins.get(parent) {
            Some(Begin { fallen: Some((state, root)), .. }) => (*state, Some(*root)),
            Some(_) => (TaskState::Waiting, None),
            None => found[&parent.0],
        };
        let open = match state {
            TaskState::Done => false,
            TaskState::Failed | TaskState::Cancelled => {
                if task.on_parent_failure == OnParentFailure::Fail && begin.fallen.is_none() {
                    begin.fallen = Some((state, root.unwrap_or(parent.0)));
                }
                task.on_parent_failure != OnParentFailure::Run
            }
            _ => true,
        };
        begin.parents.push((parent.0, open));
    }
    begin
}
