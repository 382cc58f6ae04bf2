//! Workers that are threads with a runtime of their own: for bodies that cannot move between threads, and for all async
//! bodies if the caller's runtime has only one thread.

use std::io;
use std::sync::Arc;

use tokio::task::LocalSet;

use super::pending::{Pending, carry_on};
use super::pool::Pool;
use super::running::{RunSite, Running};
use super::worker::{Worker, WorkerHandle, WorkerHost, work};
use super::worker_group::WorkerGroup;
use crate::layer::Layers;
use crate::primitives::panics;
use crate::{AsyncBody, LocalBody, Run, TaskContext};

pub(super) struct Local;

impl WorkerHost for Local {
    type Body = LocalBody;

    fn worker_group(pool: &Pool) -> &WorkerGroup {
        &pool.local
    }

    fn make(layers: &Layers, run: Run, context: TaskContext) -> LocalBody {
        match run {
            Run::Async(make) => layers.async_body(make, context),
            Run::Local(make) => layers.local_body(make, context),
            Run::Blocking(_) => unreachable!("blocking bodies have threads of their own"),
        }
    }

    fn adapt(body: AsyncBody) -> LocalBody {
        body
    }

    fn site(worker_handle: &Arc<WorkerHandle>, _: &Arc<Pending<Self>>) -> RunSite {
        RunSite::Local(worker_handle.clone())
    }

    fn carry(pending: Arc<Pending<Self>>, running: Arc<Running>, carrier: u64) {
        tokio::task::spawn_local(carry_on(pending, running, carrier));
    }

    const IS_SHARED: bool = false;
}

/// Starts a worker's thread.
pub(super) fn spawn(pool: Arc<Pool>, number: u64) -> io::Result<Arc<WorkerHandle>> {
    let worker_handle = Arc::new(WorkerHandle::default());
    let shown = worker_handle.clone();
    std::thread::Builder::new().name(format!("taskyard-worker-{number}")).spawn(move || {
        let worker = Worker::<Local>::new(pool, worker_handle);
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let local = LocalSet::new();
                local.block_on(&runtime, work(worker));
                // Bodies that are still pending are dropped here, on their own thread.
                let _ = panics::catch(|| drop(local));
                // A plain drop would wait for tasks that bodies have moved to other threads.
                runtime.shutdown_background();
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a worker's runtime");
                Local::worker_group(&worker.pool).remove(&worker.worker_handle);
            }
        }
    })?;
    Ok(shown)
}
