//! Adding tasks.
//!
//! A batch without parents and unique keys is one statement (or one transaction of a few, if it is large). Else the
//! keys are taken first, then the parents are locked in id order and looked at, and what each task starts as is decided
//! here, from its parents down: one whose parent has fallen already falls with it at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use taskyard_core::state::OnParentFailure;
use taskyard_core::store::Added;
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::{Error, NewTask, Result, RetryPolicy, TaskId, TaskState, Timestamp, graph};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::pool::{Interrupted, Role, Transaction, rerunning};
use crate::row::get;
use crate::store::Inner;
use crate::text::{array_literal, micros, millis};

const SQL: &str = "SELECT taskyard.task_add($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
                   $18, $19, $20, $21, $22, $23, $24, $25, $26)";

/// Tasks of one statement.
const CHUNK_TASKS_MAX: usize = 2_000;
/// Bytes of one statement, roughly: the arrays stand in the server's memory.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// What a task of a batch starts as.
#[derive(Clone, Debug, Default)]
struct Begin {
    /// Its parents, doubles replaced by what stands in for them, each with whether it is still open.
    parents: Vec<(Uuid, bool)>,
    /// Fallen already: under which state, from whom.
    fallen: Option<(TaskState, Uuid)>,
    /// It is a parent of another one of the batch.
    has_children: bool,
}

/// Adds all or none.
pub(crate) async fn add(store: &Inner, batch: &[NewTask]) -> Result<Vec<Added>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let plain = batch.iter().all(|task| task.parents.is_empty() && task.unique.is_none());
    let added = if plain {
        add_plain(store, batch).await?;
        batch.iter().map(|task| Added { id: task.id, existing: false }).collect()
    } else {
        rerunning(|| add_linked(store, batch)).await?
    };
    store.tell_work();
    Ok(added)
}

async fn add_plain(store: &Inner, batch: &[NewTask]) -> Result<()> {
    let chunks = chunks(batch.iter());
    if let [chunk] = chunks.as_slice() {
        let arrays = Arrays::of(chunk, None);
        store.pool.query(Role::Ask, SQL, &arrays.params()).await?;
        return Ok(());
    }
    rerunning(|| async {
        let transaction = store.pool.begin(Role::Ask).await?;
        for chunk in &chunks {
            let arrays = Arrays::of(chunk, None);
            if let Err(interrupted) = transaction.query(SQL, &arrays.params()).await {
                transaction.rollback().await;
                return Err(interrupted);
            }
        }
        transaction.commit().await
    })
    .await
}

fn chunks<'a>(tasks: impl Iterator<Item = &'a NewTask>) -> Vec<Vec<&'a NewTask>> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for task in tasks {
        if chunk.len() == CHUNK_TASKS_MAX || (bytes > CHUNK_BYTES_MAX && !chunk.is_empty()) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += task.weight();
        chunk.push(task);
    }
    chunks.push(chunk);
    chunks
}

async fn add_linked(store: &Inner, batch: &[NewTask]) -> Result<Vec<Added>, Interrupted> {
    let transaction = store.pool.begin(Role::Ask).await?;
    match linked(&transaction, batch).await {
        Ok(added) => {
            transaction.commit().await?;
            Ok(added)
        }
        Err(interrupted) => {
            transaction.rollback().await;
            Err(interrupted)
        }
    }
}

async fn linked(transaction: &Transaction<'_>, batch: &[NewTask]) -> Result<Vec<Added>, Interrupted> {
    let holders = take_keys(transaction, batch).await?;
    let stands_in = |id: TaskId| holders.get(&id).copied().unwrap_or(id);
    let added: Vec<Added> = batch
        .iter()
        .map(|task| Added { id: stands_in(task.id), existing: holders.contains_key(&task.id) })
        .collect();
    let mut tasks: Vec<NewTask> = batch.iter().filter(|task| !holders.contains_key(&task.id)).cloned().collect();
    for task in &mut tasks {
        let mut seen = HashSet::new();
        task.parents = task.parents.iter().map(|parent| stands_in(*parent)).filter(|id| seen.insert(*id)).collect();
    }
    // A task that stands in for another one of the batch may have closed a cycle.
    if !holders.is_empty() {
        graph::check_cycles(&tasks)?;
    }
    if tasks.is_empty() {
        return Ok(added);
    }
    let begins = begin(transaction, &tasks).await?;
    let released: Vec<Uuid> = tasks
        .iter()
        .filter(|task| begins[&task.id].fallen.is_some() && task.unique.is_some())
        .filter(|task| task.unique.as_ref().is_some_and(|unique| !matches!(unique.hold, UniqueHold::For(_))))
        .map(|task| task.id.0)
        .collect();
    for chunk in chunks(tasks.iter()) {
        let arrays = Arrays::of(&chunk, Some(&begins));
        transaction.query(SQL, &arrays.params()).await?;
    }
    if !released.is_empty() {
        transaction
            .query("SELECT taskyard.unique_key_release($1, false)", &[(&released, Type::UUID_ARRAY)])
            .await?;
    }
    Ok(added)
}

/// Takes the unique keys, in the order of the batch; answers for each task that is not to be added who holds its key.
async fn take_keys(
    transaction: &Transaction<'_>,
    batch: &[NewTask],
) -> Result<HashMap<TaskId, TaskId>, Interrupted> {
    let mut holders = HashMap::new();
    let mut left: Vec<&NewTask> = batch.iter().filter(|task| task.unique.is_some()).collect();
    while !left.is_empty() {
        // The first task of each key, sorted by key as every writer locks them.
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
            // Held for no time at all: the next of the batch asks again.
            let for_nothing = holder == taker.id
                && taker.unique.as_ref().is_some_and(|unique| unique.hold == UniqueHold::For(std::time::Duration::ZERO));
            if for_nothing && !std::ptr::eq(*task, taker) {
                return true;
            }
            holders.insert(task.id, holder);
            false
        });
    }
    Ok(holders)
}

/// Locks the parents that are there already and decides what each task starts as.
async fn begin(
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
            path.extend(task.parents.iter().filter(|parent| {
                inside.contains_key(parent) && !begins.contains_key(parent)
            }));
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
        // A parent of the same batch is unfinished, unless it falls while it is being added.
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

/// The columns of a batch. A column without any value is no array at all.
#[derive(Default)]
struct Arrays<'a> {
    ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    runtimes: Vec<i16>,
    names: Option<Vec<Option<&'a str>>>,
    queues: Vec<&'a str>,
    priorities: Vec<i32>,
    payloads: Vec<&'a [u8]>,
    contexts: Option<Vec<Option<&'a [u8]>>>,
    policies: Option<Vec<Option<String>>>,
    timeouts: Vec<Option<i64>>,
    after_us: Option<Vec<Option<i64>>>,
    run_ats: Option<Vec<Option<Timestamp>>>,
    expires_us: Option<Vec<Option<i64>>>,
    keys: Option<Vec<Option<&'a str>>>,
    holds: Option<Vec<Option<i16>>>,
    flags: Option<Vec<i32>>,
    tags: Option<Vec<Option<String>>>,
    on_failures: Option<Vec<i16>>,
    initial: Option<Vec<i16>>,
    open: Option<Vec<i32>>,
    fallen: Option<Vec<Option<Uuid>>>,
    first_parents: Option<Vec<Option<Uuid>>>,
    edge_parents: Option<Vec<Uuid>>,
    edge_children: Option<Vec<Uuid>>,
    edge_places: Option<Vec<i32>>,
    edge_open: Option<Vec<bool>>,
}

/// A column, or nothing if `has` finds no value in any task.
fn column<'a, T>(tasks: &[&'a NewTask], has: impl Fn(&NewTask) -> bool, value: impl Fn(&'a NewTask) -> T) -> Option<Vec<T>> {
    tasks.iter().any(|task| has(task)).then(|| tasks.iter().map(|task| value(task)).collect())
}

impl<'a> Arrays<'a> {
    fn of(tasks: &[&'a NewTask], begins: Option<&HashMap<TaskId, Begin>>) -> Self {
        let default = RetryPolicy::default();
        let begin = |task: &NewTask| begins.and_then(|begins| begins.get(&task.id));
        let mut arrays = Self {
            ids: tasks.iter().map(|task| task.id.0).collect(),
            kinds: tasks.iter().map(|task| task.kind.as_str()).collect(),
            runtimes: tasks.iter().map(|task| task.runtime.code()).collect(),
            names: column(tasks, |task| task.name.is_some(), |task| task.name.as_deref()),
            queues: tasks.iter().map(|task| task.queue.as_str()).collect(),
            priorities: tasks.iter().map(|task| task.priority).collect(),
            payloads: tasks.iter().map(|task| task.payload.as_slice()).collect(),
            contexts: column(tasks, |task| task.context.is_some(), |task| task.context.as_deref()),
            policies: column(
                tasks,
                |task| task.retry != default,
                |task| (task.retry != default).then(|| serde_json::to_string(&task.retry).unwrap_or_default()),
            ),
            timeouts: tasks.iter().map(|task| task.timeout.map(millis)).collect(),
            after_us: column(
                tasks,
                |task| matches!(task.start, Start::After(_)),
                |task| if let Start::After(after) = task.start { Some(micros(after)) } else { None },
            ),
            run_ats: column(
                tasks,
                |task| matches!(task.start, Start::At(_)),
                |task| if let Start::At(at) = task.start { Some(at) } else { None },
            ),
            expires_us: column(tasks, |task| task.expires.is_some(), |task| task.expires.map(micros)),
            keys: column(
                tasks,
                |task| task.unique.is_some(),
                |task| task.unique.as_ref().map(|unique| unique.key.as_str()),
            ),
            holds: column(
                tasks,
                |task| task.unique.is_some(),
                |task| {
                    task.unique.as_ref().map(|unique| match unique.hold {
                        UniqueHold::UntilFinished => 0,
                        UniqueHold::UntilStarted => 1,
                        UniqueHold::For(_) => 2,
                    })
                },
            ),
            flags: column(
                tasks,
                |task| {
                    task.auto_remove || task.at_most_once || begin(task).is_some_and(|begin| begin.has_children)
                },
                |task| {
                    i32::from(task.auto_remove)
                        + 2 * i32::from(task.at_most_once)
                        + 4 * i32::from(begin(task).is_some_and(|begin| begin.has_children))
                },
            ),
            tags: column(
                tasks,
                |task| !task.tags.is_empty(),
                |task| (!task.tags.is_empty()).then(|| array_literal(&task.tags)),
            ),
            on_failures: column(
                tasks,
                |task| task.on_parent_failure != OnParentFailure::Fail,
                |task| task.on_parent_failure.code(),
            ),
            ..Self::default()
        };
        if begins.is_some() && tasks.iter().any(|task| !task.parents.is_empty()) {
            arrays.link(tasks, begin);
        }
        arrays
    }

    fn link<'b>(&mut self, tasks: &[&'a NewTask], begin: impl Fn(&NewTask) -> Option<&'b Begin>) {
        let (mut initial, mut open, mut fallen, mut first) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut parents, mut children, mut places, mut opens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for task in tasks {
            let nothing = Begin::default();
            let begin = begin(task).unwrap_or(&nothing);
            let open_count = begin.parents.iter().filter(|(_, open)| *open).count();
            initial.push(match begin.fallen {
                Some((state, _)) => state.code(),
                None => i16::from(open_count > 0),
            });
            open.push(i32::try_from(open_count).unwrap_or(i32::MAX));
            fallen.push(begin.fallen.map(|(_, root)| root));
            first.push(begin.parents.first().map(|(id, _)| *id));
            for (place, (parent, is_open)) in begin.parents.iter().enumerate() {
                parents.push(*parent);
                children.push(task.id.0);
                places.push(i32::try_from(place).unwrap_or(i32::MAX));
                opens.push(*is_open);
            }
        }
        self.initial = Some(initial);
        self.open = Some(open);
        self.fallen = Some(fallen);
        self.first_parents = Some(first);
        self.edge_parents = Some(parents);
        self.edge_children = Some(children);
        self.edge_places = Some(places);
        self.edge_open = Some(opens);
    }

    fn params(&self) -> [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 26] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.runtimes, Type::INT2_ARRAY),
            (&self.names, Type::TEXT_ARRAY),
            (&self.queues, Type::TEXT_ARRAY),
            (&self.priorities, Type::INT4_ARRAY),
            (&self.payloads, Type::BYTEA_ARRAY),
            (&self.contexts, Type::BYTEA_ARRAY),
            (&self.policies, Type::TEXT_ARRAY),
            (&self.timeouts, Type::INT8_ARRAY),
            (&self.after_us, Type::INT8_ARRAY),
            (&self.run_ats, Type::TIMESTAMPTZ_ARRAY),
            (&self.expires_us, Type::INT8_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.holds, Type::INT2_ARRAY),
            (&self.flags, Type::INT4_ARRAY),
            (&self.tags, Type::TEXT_ARRAY),
            (&self.on_failures, Type::INT2_ARRAY),
            (&self.initial, Type::INT2_ARRAY),
            (&self.open, Type::INT4_ARRAY),
            (&self.fallen, Type::UUID_ARRAY),
            (&self.first_parents, Type::UUID_ARRAY),
            (&self.edge_parents, Type::UUID_ARRAY),
            (&self.edge_children, Type::UUID_ARRAY),
            (&self.edge_places, Type::INT4_ARRAY),
            (&self.edge_open, Type::BOOL_ARRAY),
        ]
    }
}
