//! Writing around locks that others hold: a batch waits for a lock for a moment only, then for what is locked alone.
//!
//! Anybody may lock a row of ours for long: a body that ends its attempt inside its own transaction, a caller's `enqueue` with a
//! unique key, a person with an open session. What is not locked must not wait for that.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use taskyard_core::store::WriteReply;
use taskyard_core::{Error, Result, TaskId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::pool::Role;
use crate::row::get;
use crate::store::Inner;

/// How long a write waits for a lock, as a value of `lock_timeout`. Other writes on its connection wait as long.
pub(crate) const WAIT: &str = "250ms";
/// The same for a write that is known to have met a lock.
pub(crate) const WAIT_AGAIN: &str = "20ms";
/// How long a batch is divided; what was not written by then waits with what is locked.
pub(crate) const DIVIDE_MAX: Duration = Duration::from_secs(1);
/// The same for refusals of kinds, which as a rule wait for one lock that all of them need: other ends wait for the connection.
pub(crate) const DIVIDE_REFUSED_MAX: Duration = Duration::from_millis(100);

/// Writes what it can of a batch that met a lock: `write` is called with the places of a part; what it cannot write because of a
/// lock, or within the bound, is answered `Locked`. A part that was written stays written when a later one fails: a token makes its repetition safe.
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
    // Rows of tasks are told apart in one look. Other locks (a key's, a child's) are found by halving.
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

/// Those of these tasks whose rows somebody else holds locked now; none if the look itself meets a lock.
async fn locked_rows(store: &Inner, ids: &[TaskId]) -> Result<HashSet<Uuid>> {
    const SQL: &str = "SELECT u.id FROM pg_catalog.unnest($1) AS u(id) WHERE u.id NOT IN (SELECT f.id FROM taskyard.task_unlocked($1) f)";
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    match store.pool.ask(Role::Attempt, SQL, &[(&ids, Type::UUID_ARRAY)]).await {
        Ok(rows) => rows.iter().map(|row| get(row, 0)).collect(),
        Err(Error::Locked(_)) => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}
