//! Adds tasks.
//!
//! A batch without parents and unique keys is one statement, or one transaction of several if it is large. Otherwise
//! the keys are taken first, then the existing parents are locked in id order and read, and the initial state of each
//! task is decided here, parents before children: a task whose parent has already fallen falls with it at once.

mod arrays;
mod begin;
mod keys;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use taskyard_core::store::{AddRequest, Added};
use taskyard_core::task::UniqueHold;
use taskyard_core::{AdditionId, NewTask, Result, TaskId, graph};
use tokio_postgres::types::Type;
use uuid::Uuid;

use self::arrays::Arrays;
use crate::inner::Inner;
use crate::notify;
use crate::pool::{Interrupted, Params, Role, Transaction, rerunning};
use crate::row::get;

const SQL: &str = "SELECT taskyard.task_add_as($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
                   $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";
/// [`SQL`] as a statement of its own: an argument sets the lock timeout, and so before the function runs.
const ALONE: &str = "SELECT taskyard.task_add_as(CASE WHEN pg_catalog.set_config('lock_timeout', $28, true) IS NOT NULL \
                     THEN $1 END, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                     $21, $22, $23, $24, $25, $26, $27)";

/// Default time that an addition waits for a lock.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Maximum number of tasks in one statement.
const CHUNK_TASKS_MAX: usize = 2_000;
/// Approximate maximum of bytes in one statement: the arrays are held in the server's memory.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Maximum number of statements of one transaction that are sent and have no response yet.
const CHUNKS_SENT_MAX: usize = 2;

/// Adds all tasks of a batch, or none.
pub(crate) async fn add(store: &Inner, request: AddRequest<'_>, lock_wait: Duration) -> Result<Vec<Added>> {
    let AddRequest { id, batch } = request;
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let plain = batch.iter().all(|task| task.parents.is_empty() && task.unique.is_none());
    if plain {
        let told = add_plain(store, id, batch, lock_wait).await?;
        if told {
            store.notifications.work.notify()
        } else {
            store.notify_work()
        }
        return Ok(batch.iter().map(|task| Added { id: task.id, existing: false }).collect());
    }
    let added = rerunning(|| add_linked(store, id, batch, lock_wait)).await?;
    store.notify_work();
    Ok(added)
}

/// Returns which tasks of an addition are stored; if none is, the addition is revoked and will never be stored.
pub(crate) async fn added(store: &Inner, addition: AdditionId, ids: &[TaskId]) -> Result<Vec<bool>> {
    let params =
        [(&addition.0 as _, Type::UUID), (&ids.iter().map(|id| id.0).collect::<Vec<Uuid>>() as _, Type::UUID_ARRAY)];
    let rows = store.pool.query_idempotent(Role::Client, "SELECT * FROM taskyard.task_added($1, $2)", &params).await?;
    let stored = rows.iter().map(|row| get(row, 0)).collect::<Result<HashSet<Uuid>>>()?;
    Ok(ids.iter().map(|id| stored.contains(&id.0)).collect())
}

/// Payload size of a trial addition: large enough to need disk space of its own, and random so that it is not
/// compressed.
const TRIED_BYTES: usize = 32 << 10;

/// Adds a task in a transaction that is rolled back, to check that the database accepts additions.
pub(crate) async fn check(store: &Inner) -> Result<()> {
    let mut payload = String::with_capacity(TRIED_BYTES + 64);
    payload.push_str("{\"args\": [\"");
    while payload.len() < TRIED_BYTES {
        payload.push_str(&Uuid::new_v4().simple().to_string());
    }
    payload.push_str("\"]}");
    let task = NewTask::new("taskyard:check", payload.into_bytes());
    let arrays = Arrays::of(None, &[&task], None);
    rerunning(|| async {
        let transaction = store.pool.begin(Role::Client, LOCK_WAIT).await?;
        let tried = transaction.query(SQL, &arrays.params()).await;
        transaction.rollback().await;
        tried.map(drop)
    })
    .await
}

/// Returns whether other processes have been notified.
async fn add_plain(store: &Inner, id: AdditionId, batch: &[NewTask], lock_wait: Duration) -> Result<bool> {
    let chunks = chunks(batch.iter());
    if let [chunk] = chunks.as_slice() {
        let arrays = Arrays::of(Some(id), chunk, None);
        let lock_timeout = lock_wait.as_millis().max(1).to_string();
        let mut params = arrays.params().to_vec();
        params.push((&lock_timeout, Type::TEXT));
        if !(store.options.notify && store.notifier.may_tell_work()) {
            store.pool.query_frequent(Role::Client, ALONE, &params).await?;
            return Ok(false);
        }
        let behind: Params<'_> = &[(&store.options.notify_channel, Type::TEXT)];
        store.pool.query_and_send(Role::Client, ALONE, &params, (notify::ONE, behind)).await?;
        return Ok(true);
    }
    rerunning(|| async {
        let transaction = store.pool.begin(Role::Client, lock_wait).await?;
        match write_chunks(&transaction, id, &chunks).await {
            Ok(()) => transaction.commit().await,
            Err(interrupted) => {
                transaction.rollback().await;
                Err(interrupted)
            }
        }
    })
    .await?;
    Ok(false)
}

/// Writes the chunks of a large batch. While the server processes one chunk, the next one is encoded and sent.
async fn write_chunks(
    transaction: &Transaction<'_>,
    id: AdditionId,
    chunks: &[Vec<&NewTask>],
) -> Result<(), Interrupted> {
    let mut rest = chunks.iter();
    let mut sent = FuturesOrdered::new();
    let mut written = Ok(());
    loop {
        while written.is_ok()
            && sent.len() < CHUNKS_SENT_MAX
            && let Some(chunk) = rest.next()
        {
            sent.push_back(async {
                let arrays = Arrays::of(Some(id), chunk, None);
                transaction.query(SQL, &arrays.params()).await.map(drop)
            });
        }
        match sent.next().await {
            // After the first error, the server rejects the rest because the transaction is aborted.
            Some(answer) => written = written.and(answer),
            None => return written,
        }
    }
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

async fn add_linked(
    store: &Inner,
    id: AdditionId,
    batch: &[NewTask],
    lock_wait: Duration,
) -> Result<Vec<Added>, Interrupted> {
    let transaction = store.pool.begin(Role::Client, lock_wait).await?;
    match linked(&transaction, Some(id), batch).await {
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

/// Adds a batch with unique keys or parents inside a transaction. `addition` is `None` if the caller will not query it
/// later.
pub(crate) async fn linked(
    transaction: &Transaction<'_>,
    addition: Option<AdditionId>,
    batch: &[NewTask],
) -> Result<Vec<Added>, Interrupted> {
    let holders = keys::take(transaction, batch).await?;
    let stands_in = |id: TaskId| holders.get(&id).copied().unwrap_or(id);
    let added: Vec<Added> =
        batch.iter().map(|task| Added { id: stands_in(task.id), existing: holders.contains_key(&task.id) }).collect();
    let mut tasks: Vec<NewTask> = batch.iter().filter(|task| !holders.contains_key(&task.id)).cloned().collect();
    for task in &mut tasks {
        task.rename_parents(stands_in);
    }
    // Replacing a task by the holder of its key may have closed a cycle.
    if !holders.is_empty() {
        graph::check_cycles(&tasks)?;
    }
    if tasks.is_empty() {
        return Ok(added);
    }
    let begins = begin::begin(transaction, &tasks).await?;
    let released: Vec<Uuid> = tasks
        .iter()
        .filter(|task| begins[&task.id].fallen.is_some() && task.unique.is_some())
        .filter(|task| task.unique.as_ref().is_some_and(|unique| !matches!(unique.hold, UniqueHold::For(_))))
        .map(|task| task.id.0)
        .collect();
    for chunk in chunks(tasks.iter()) {
        let arrays = Arrays::of(addition, &chunk, Some(&begins));
        transaction.query(SQL, &arrays.params()).await?;
    }
    if !released.is_empty() {
        transaction.query("SELECT taskyard.unique_key_release($1, false)", &[(&released, Type::UUID_ARRAY)]).await?;
    }
    Ok(added)
}
