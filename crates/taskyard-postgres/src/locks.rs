//! Writes around locks held by other transactions: a batch waits for a lock only briefly, then the locked tasks alone
//! wait.
//!
//! Any client may lock a row for long: a task body that ends its attempt inside its own transaction, a caller's
//! `enqueue` with a unique key, an open interactive session. Tasks that are not locked must not wait for it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use taskyard_core::store::WriteReply;
use taskyard_core::{Error, Result, TaskId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::get;

/// Time that a write waits for a lock, as a value of `lock_timeout`. Other writes on its connection wait as long.
pub(crate) const WAIT: &str = "250ms";
/// [`WAIT`] for a write that is known to have met a lock.
pub(crate) const WAIT_AGAIN: &str = "20ms";
/// Maximum time for dividing a batch; tasks not written by then wait with the locked ones.
pub(crate) const DIVIDE_MAX: Duration = Duration::from_secs(1);
/// [`DIVIDE_MAX`] for refusals of kinds, which usually all wait for the same lock while other ends wait for the
/// connection.
pub(crate) const DIVIDE_REFUSED_MAX: Duration = Duration::from_millis(100);

/// Writes the unlocked part of a batch that met a lock. `write` is called with the indices of a part. Tasks that are
/// not written because of a lock, or not within `bound`, get the reply `Locked`. A part that was written stays written
/// when a later one fails: a token makes its repetition safe.
pub(crate) async fn divide<Run>(
    store: &Inner,
    ids: &[TaskId],
    bound: Duration,
    mut write: impl FnMut(Vec<usize>) -> Run,
) -> Result<Vec<WriteReply>>
where
    Run: Future<Output = Result<Vec<WriteReply>>>,
{
    let until = Instant::now() + bound;
    let mut replies = vec![WriteReply::Locked; ids.len()];
    // Locked rows of tasks are found with one query. Other locks (of a key, of a child) are found by halving.
    let locked = locked_rows(store, ids).await?;
    let free: Vec<usize> = (0..ids.len()).filter(|at| !locked.contains(&ids[*at].0)).collect();
    let mut parts = vec![free];
    while let Some(part) = parts.pop() {
        if part.is_empty() || Instant::now() >= until {
            continue;
        }
        match write(part.clone()).await {
            Ok(answers) => part.into_iter().zip(answers).for_each(|(at, answer)| replies[at] = answer),
            Err(Error::Locked(_)) if part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right.to_vec(), left.to_vec()]);
            }
            Err(Error::Locked(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(replies)
}

/// Returns which of these tasks have rows locked by other transactions; none if the query itself meets a lock.
async fn locked_rows(store: &Inner, ids: &[TaskId]) -> Result<HashSet<Uuid>> {
    const SQL: &str = "SELECT u.id FROM pg_catalog.unnest($1) AS u(id) WHERE u.id NOT IN (SELECT f.id FROM taskyard.task_unlocked($1) f)";
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    match store.pool.query_idempotent(Role::Attempt, SQL, &[(&ids, Type::UUID_ARRAY)]).await {
        Ok(rows) => rows.iter().map(|row| get(row, 0)).collect(),
        Err(Error::Locked(_)) => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}
