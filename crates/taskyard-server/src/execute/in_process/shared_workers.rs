//! Workers on the runtime that started the server: resources that a body opens there, such as connections of a pool,
//! live as long as the application's own, and the tasks that it spawns continue.
//!
//! A body that blocks holds up one thread of that runtime and is logged; one that never yields is abandoned by the
//! watchdog. Its thread cannot be replaced, so a server that has lost all of them drains and exits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use taskyard_core::{Error, Result};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::pending::{Pending, carry_on};
use super::pool::Pool;
use super::running::{RunSite, Running};
use super::worker::{Worker, WorkerHandle, WorkerHost, work};
use super::worker_group::WorkerGroup;
use crate::layer::Layers;
use crate::primitives::lock::lock;
use crate::{AsyncBody, Run, TaskContext};

/// The caller's runtime.
pub(crate) struct SharedRuntime {
    handle: Handle,
    threads: usize,
    gone: Arc<AtomicBool>,
    probe: Arc<Probe>,
}

/// An empty task that shows whether the runtime has a thread to run it. Bodies in `block_in_place` have passed theirs
/// on.
#[derive(Default)]
struct Probe {
    is_under_way: AtomicBool,
    is_overdue: AtomicBool,
    overdue_since: Mutex<Option<Instant>>,
}

/// Time after which a runtime that has run nothing, while a body blocks one of its threads forever, counts as lost.
const LOST: Duration = Duration::from_secs(10);

impl SharedRuntime {
    /// Returns the calling runtime; `None` if there is none, or if it has only one thread, which bodies must not block.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the runtime has no timer, which time limits need.
    pub fn of_caller() -> Result<Option<Self>> {
        let Ok(handle) = Handle::try_current() else { return Ok(None) };
        let threads = handle.metrics().num_workers();
        if handle.runtime_flavor() != RuntimeFlavor::MultiThread || threads < 2 {
            return Ok(None);
        }
        // tokio has no other way to detect a missing timer.
        if std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
            let why = "the runtime that starts it has no timer: build it with `enable_all()`".into();
            return Err(Error::InvalidArgument { what: "server", why });
        }
        Ok(Some(Self { handle, threads, gone: Arc::default(), probe: Arc::default() }))
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns true if the runtime was shut down.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Returns true if no thread is left that could start a task.
    pub fn is_blocked(&self) -> bool {
        self.probe.is_overdue.load(Ordering::Acquire)
    }

    /// Returns true if the runtime has run nothing for a long time.
    pub fn is_lost(&self, now: Instant) -> bool {
        lock(&self.probe.overdue_since).is_some_and(|since| now.saturating_duration_since(since) >= LOST)
    }

    /// Notes that `count` threads are blocked by polls, `for_good` of them forever. If that may be all of them (other
    /// code may block the rest), one check sends a probe, and the next one checks whether it ran.
    pub(super) fn note_blocked(&self, count: usize, for_good: usize, pool: &Arc<Pool>, now: Instant) {
        let probe = &self.probe;
        if !self.is_blocked() {
            *lock(&probe.overdue_since) = None;
        }
        if count < self.threads && for_good == 0 {
            if probe.is_overdue.swap(false, Ordering::AcqRel) {
                pool.changed.notify_one();
            }
        } else if probe.is_under_way.swap(true, Ordering::AcqRel) {
            probe.is_overdue.store(true, Ordering::Release);
            lock(&probe.overdue_since).get_or_insert(now);
        } else {
            let (probe, pool) = (probe.clone(), pool.clone());
            self.handle.spawn(async move {
                probe.is_under_way.store(false, Ordering::Release);
                if probe.is_overdue.swap(false, Ordering::AcqRel) {
                    pool.changed.notify_one();
                }
            });
        }
    }
}

pub(super) struct Shared;

impl WorkerHost for Shared {
    type Body = AsyncBody;

    fn worker_group(pool: &Pool) -> &WorkerGroup {
        &pool.shared
    }

    fn make(layers: &Layers, run: Run, context: TaskContext) -> AsyncBody {
        match run {
            Run::Async(make) => layers.async_body(make, context),
            Run::Local(_) | Run::Blocking(_) => unreachable!("such bodies have threads of their own"),
        }
    }

    fn adapt(body: AsyncBody) -> AsyncBody {
        body
    }

    fn site(worker_handle: &Arc<WorkerHandle>, pending: &Arc<Pending<Self>>) -> RunSite {
        let pending = pending.clone();
        RunSite::Shared { worker: worker_handle.clone(), revive: Box::new(move |running| pending.revive(running)) }
    }

    fn carry(pending: Arc<Pending<Self>>, running: Arc<Running>, carrier: u64) {
        // Not spawned on the current runtime: the watchdog runs on another one.
        let runtime = pending.worker().pool.runtime.as_ref().map(|runtime| runtime.handle.clone());
        if let Some(runtime) = runtime {
            runtime.spawn(carry_on(pending, running, carrier));
        }
    }

    const IS_SHARED: bool = true;
}

/// Starts a worker.
pub(super) fn spawn(pool: Arc<Pool>, _number: u64) -> io::Result<Arc<WorkerHandle>> {
    let worker_handle = Arc::new(WorkerHandle::default());
    if drive(pool, worker_handle.clone()) { Ok(worker_handle) } else { Err(io::Error::other("the runtime has ended")) }
}

/// Starts a task that is this worker; returns false if the runtime was shut down.
pub(super) fn drive(pool: Arc<Pool>, worker_handle: Arc<WorkerHandle>) -> bool {
    let Some(runtime) = pool.runtime.as_ref().filter(|runtime| !runtime.is_gone()) else { return false };
    let handle = runtime.handle.clone();
    handle.spawn(work(Worker::<Shared>::new(pool, worker_handle)));
    true
}

/// Handles a blocked thread of the runtime. A task that was woken there may wait where no other thread takes it (see
/// [`super::pending`]), so every worker and every body that is not being polled moves to another task.
pub(super) fn revive(pool: &Arc<Pool>) {
    let workers = lock(&pool.shared.workers).clone();
    for worker in workers.into_iter().filter(|worker| worker.retire()) {
        drive(pool.clone(), worker);
    }
    for running in pool.table.all() {
        running.revive();
    }
}

/// Detects a shutdown of the runtime while the server runs.
pub(super) fn watch_runtime(pool: &Arc<Pool>) {
    struct Noticed(Arc<AtomicBool>);
    impl Drop for Noticed {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let Some(runtime) = &pool.runtime else { return };
    let (noticed, watched) = (Noticed(runtime.gone.clone()), pool.clone());
    runtime.handle.spawn(async move {
        let noticed = noticed;
        let closed = watched.closed.notified();
        tokio::pin!(closed);
        closed.as_mut().enable();
        if !watched.is_closing() {
            closed.await;
        }
        std::mem::forget(noticed);
    });
}
