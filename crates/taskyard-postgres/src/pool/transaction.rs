//! A transaction of several round trips, which holds its connection exclusively while it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskyard_core::backoff::RERUN;
use taskyard_core::failpoint;
use taskyard_core::{Error, Result};
use tokio::sync::RwLockWriteGuard;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Row;

use super::{Connection, Params, RERUNS_MAX, Slot};
use crate::address::Address;
use crate::{connect, failure};

/// An open transaction. Dropping it before its end discards its connection: a running statement is cancelled, and the
/// server rolls back.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(super) slot: &'a Arc<Slot>,
    pub(super) client: Arc<Connection>,
    pub(super) address: &'a Arc<Address>,
    pub(super) deadline: Instant,
    pub(super) _turn: RwLockWriteGuard<'a, ()>,
    pub(super) ended: bool,
    /// Number of statements that were sent and have no response yet.
    pub(super) running: AtomicUsize,
}

/// An error of a statement in a transaction.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub error: Error,
    pub rerun: bool,
    /// Whether the connection is unusable.
    pub broken: bool,
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self { error, rerun: false, broken: false }
    }
}

impl Transaction<'_> {
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Interrupted> {
        self.answer(self.client.query_typed(sql, params)).await
    }

    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Interrupted> {
        self.running.fetch_add(1, Ordering::AcqRel);
        let Ok(answer) = timeout_at(self.deadline, call).await else {
            return Err(Error::Connection(format!("{}: no answer in time", self.address.shown)).into());
        };
        self.running.fetch_sub(1, Ordering::AcqRel);
        answer.map_err(|error| Interrupted {
            rerun: failure::may_rerun(&error),
            broken: failure::wants_another(&error),
            error: failure::of_statement_at(&error, self.address),
        })
    }

    pub async fn commit(mut self) -> Result<(), Interrupted> {
        failpoint!("commit", Before);
        self.answer(self.client.batch_execute("COMMIT")).await?;
        failpoint!("commit", After);
        self.ended = true;
        Ok(())
    }

    pub async fn rollback(mut self) {
        // A rollback would have to wait for the statements that still run; dropping the transaction cancels them.
        if self.running.load(Ordering::Acquire) == 0 {
            self.ended = self.answer(self.client.batch_execute("ROLLBACK")).await.is_ok();
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.slot.forget(&self.client);
        if self.running.load(Ordering::Acquire) > 0
            && !self.client.is_closed()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (client, address) = (Arc::clone(&self.client), Arc::clone(self.address));
            runtime.spawn(async move { connect::cancel(&address, &client).await });
        }
    }
}

/// A transaction that has taken longer than this is not run again here.
const RERUN_WITHIN: Duration = Duration::from_secs(5);

/// Runs a transaction, and again after a deadlock or a serialization failure.
pub(crate) async fn rerunning<T, Run>(mut run: impl FnMut() -> Run) -> Result<T>
where
    Run: Future<Output = Result<T, Interrupted>>,
{
    let (began, mut reruns) = (Instant::now(), 0);
    loop {
        match run().await {
            Ok(value) => return Ok(value),
            Err(interrupted) if interrupted.rerun && reruns < RERUNS_MAX && began.elapsed() < RERUN_WITHIN => {
                sleep(RERUN.draw(reruns)).await;
                reruns += 1;
            }
            Err(interrupted) => return Err(interrupted.error),
        }
    }
}
