//! Workers on the runtime that started the server: what a body opens there, connections of a pool for one, lives as long as
//! the application's own, and what it spawns goes on.
//!
//! A body that blocks holds up one thread of that runtime, and is warned about; one that never yields is given up by the
//! watchdog. Nobody can replace its thread, so a server that has lost all of them drains and exits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use taskyard_core::{Error, Result};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::crew::Crew;
use super::pending::{Pending, carry_on};
use super::pool::Pool;
use super::running::{RunSite, Running};
use super::worker::{Home, Worker, WorkerFace, work};
use crate::engine::lock;
use crate::layer::async_body;
use crate::{AsyncBody, Run, TaskContext};

/// The caller's runtime.
pub(crate) struct SharedRuntime {
    handle: Handle,
    threads: usize,
    gone: Arc<AtomicBool>,
    probe: Arc<Probe>,
}

/// A task that does nothing: it tells whether the runtime has a thread to run it. Bodies in `block_in_place` have given theirs away.
#[derive(Default)]
struct Probe {
    is_under_way: AtomicBool,
    is_overdue: AtomicBool,
    overdue_since: Mutex<Option<Instant>>,
}

/// A runtime that has run nothing for so long, while a body holds one of its threads for good, does not come back.
const LOST: Duration = Duration::from_secs(10);

impl SharedRuntime {
    /// The runtime that calls; `None` if there is none, or if it has one thread only, which bodies must not hold up.
    ///
    /// # Errors
    /// `InvalidArgument` if it can keep no time limits.
    pub fn of_caller() -> Result<Option<Self>> {
        let Ok(handle) = Handle::try_current() else { return Ok(None) };
        let threads = handle.metrics().num_workers();
        if handle.runtime_flavor() != RuntimeFlavor::MultiThread || threads < 2 {
            return Ok(None);
        }
        // tokio has no other way to ask.
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

    /// Whether the runtime was shut down.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether no thread is left that could start a task.
    pub fn is_blocked(&self) -> bool {
        self.probe.is_overdue.load(Ordering::Acquire)
    }

    /// Whether nothing has run for long.
    pub fn is_lost(&self, now: Instant) -> bool {
        lock(&self.probe.overdue_since).is_some_and(|since| now.saturating_duration_since(since) >= LOST)
    }

    /// So many threads are held up by polls, and some of them for good. Where that may be all of them (others may hold up the rest),
    /// one look sends a probe, and the next one asks for it.
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

impl Home for Shared {
    type Body = AsyncBody;

    fn crew(pool: &Pool) -> &Crew {
        &pool.shared
    }

    fn make(run: Run, context: TaskContext) -> AsyncBody {
        match run {
            Run::Async(make) => async_body(make, context),
            Run::Local(_) | Run::Blocking(_) => unreachable!("such bodies have threads of their own"),
        }
    }

    fn adapt(body: AsyncBody) -> AsyncBody {
        body
    }

    fn site(face: &Arc<WorkerFace>, pending: &Arc<Pending<Self>>) -> RunSite {
        let pending = pending.clone();
        RunSite::Shared { worker: face.clone(), revive: Box::new(move |running| pending.revive(running)) }
    }

    fn carry(pending: Arc<Pending<Self>>, running: Arc<Running>, carrier: u64) {
        // Also from the watchdog, which is on no thread of that runtime.
        let runtime = pending.worker().pool.runtime.as_ref().map(|runtime| runtime.handle.clone());
        if let Some(runtime) = runtime {
            runtime.spawn(carry_on(pending, running, carrier));
        }
    }

    const IS_SHARED: bool = true;
}

/// Starts a worker.
pub(super) fn spawn(pool: Arc<Pool>, _number: u64) -> io::Result<Arc<WorkerFace>> {
    let face = Arc::new(WorkerFace::default());
    if drive(pool, face.clone()) { Ok(face) } else { Err(io::Error::other("the runtime has ended")) }
}

/// Starts a task that is this worker; `false` if the runtime is gone.
pub(super) fn drive(pool: Arc<Pool>, face: Arc<WorkerFace>) -> bool {
    let Some(runtime) = pool.runtime.as_ref().filter(|runtime| !runtime.is_gone()) else { return false };
    let handle = runtime.handle.clone();
    handle.spawn(work(Worker::<Shared>::new(pool, face)));
    true
}

/// A thread of the runtime is blocked. One task that was woken there waits where no other thread takes it (see
/// [`super::pending`]): every worker and every body that is not being polled gets another task.
pub(super) fn revive(pool: &Arc<Pool>) {
    let workers = lock(&pool.shared.workers).clone();
    for worker in workers.into_iter().filter(|worker| worker.retire()) {
        drive(pool.clone(), worker);
    }
    for running in pool.table.all() {
        running.revive();
    }
}

/// Notices that the runtime is shut down while the server runs.
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
