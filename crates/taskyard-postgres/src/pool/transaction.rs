//! A transaction of several round trips, which has its connection alone while it lasts.

use std::sync::Arc;

use taskyard_core::failpoint;
use taskyard_core::{Error, Result};
use tokio::sync::RwLockWriteGuard;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, Row};

use super::{Params, RERUNS_MAX, Slot, rerun_pause};
use crate::failure;

/// A transaction. Dropped before its end, it takes its connection with it, and the server rolls back.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(super) slot: &'a Slot,
    pub(super) client: Arc<Client>,
    pub(super) deadline: Instant,
    pub(super) _turn: RwLockWriteGuard<'a, ()>,
    pub(super) ended: bool,
    pub(super) shown: &'a str,
}

/// An error of a statement in a transaction, and whether the whole may be run again.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub error: Error,
    pub rerun: bool,
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self { error, rerun: false }
    }
}

impl Transaction<'_> {
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Interrupted> {
        self.answer(self.client.query_typed(sql, params)).await
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Interrupted> {
        match timeout_at(self.deadline, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                Err(Interrupted { rerun: failure::may_rerun(&error), error: failure::of_statement(&error) })
            }
            Err(_) => Err(Error::Connection(format!("{}: no answer in time", self.shown)).into()),
        }
    }

    pub async fn commit(mut self) -> Result<(), Interrupted> {
        failpoint!("commit", Before);
        self.answer(self.client.batch_execute("COMMIT")).await?;
        failpoint!("commit", After);
        self.ended = true;
        Ok(())
    }

    pub async fn rollback(mut self) {
        self.ended = self.answer(self.client.batch_execute("ROLLBACK")).await.is_ok();
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // The turn is still held, so nobody else is looking at the connection.
        if !self.ended
            && let Ok(mut link) = self.slot.link.try_lock()
            && link.client.as_ref().is_some_and(|known| Arc::ptr_eq(known, &self.client))
        {
            link.client = None;
        }
    }
}

/// Runs a transaction again after a deadlock or a serialization failure.
pub(crate) async fn rerunning<T, Run>(mut run: impl FnMut() -> Run) -> Result<T>
where
    Run: Future<Output = Result<T, Interrupted>>,
{
    let mut reruns = 0;
    loop {
        match run().await {
            Ok(value) => return Ok(value),
            Err(interrupted) if interrupted.rerun && reruns < RERUNS_MAX => {
                reruns += 1;
                rerun_pause(reruns).await;
            }
            Err(interrupted) => return Err(interrupted.error),
        }
    }
}
