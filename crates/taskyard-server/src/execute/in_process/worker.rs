//! A worker for async bodies: takes tasks from its group's queue, creates their bodies and polls each once in place.
//!
//! Most of the cost of a short task is overhead, so only a body that is still pending after that poll becomes a task of
//! the runtime, with a timer and an entry in the table of running attempts ([`super::pending`]). Ends are passed on in
//! batches, at most a millisecond after they occur.
//!
//! There are two kinds ([`WorkerHost`]): workers on the caller's runtime, and worker threads with a runtime of their own.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use taskyard_core::concurrency_slot::SlotRelease;
use taskyard_core::failpoint;
use tokio::sync::Notify;

use super::pending::{self, Pending};
use super::poll_watch::PollWatch;
use super::pool::Pool;
use super::running::{RunSite, Running};
use super::worker_group::WorkerGroup;
use crate::attempt::Ended;
use crate::attempt::{Attempt, ConcurrencySlot, End, resolve_outcome};
use crate::execute::Queued;
use crate::layer::Layers;
use crate::primitives::lock::lock;
use crate::{AsyncBody, BodyResult, Run, TaskContext};

/// Maximum number of tasks started in a row before the runtime's other tasks get their turn.
const ROW_MAX: u32 = 64;
/// Maximum age of ends before they are passed on while more are coming.
const ROW_TIME: Duration = Duration::from_millis(1);

/// The kind of a worker: where it and its pending bodies run.
pub(super) trait WorkerHost: Sized + 'static {
    /// The type of its bodies.
    type Body: Future<Output = BodyResult> + Unpin + 'static;

    /// Returns the group of such workers.
    fn worker_group(pool: &Pool) -> &WorkerGroup;

    /// Creates a body.
    fn make(layers: &Layers, run: Run, context: TaskContext) -> Self::Body;

    /// Converts a body that may run anywhere.
    fn adapt(body: AsyncBody) -> Self::Body;

    /// Returns where a pending body of this worker runs.
    fn site(worker_handle: &Arc<WorkerHandle>, pending: &Arc<Pending<Self>>) -> RunSite;

    /// Starts a task that continues a pending body.
    fn carry(pending: Arc<Pending<Self>>, running: Arc<Running>, carrier: u64);

    /// Whether the worker's threads belong to the caller's runtime.
    const IS_SHARED: bool;
}

/// The first polls of a worker's bodies.
#[derive(Default)]
pub(super) struct FirstPolls {
    pub watch: PollWatch,
    /// The attempt whose body is being polled.
    current: Mutex<Option<Arc<Attempt>>>,
    /// Ends that are passed on soon; by the watchdog, if the next poll takes long.
    ends: Mutex<Vec<Ended>>,
}

impl FirstPolls {
    /// Returns the attempt whose body is being polled.
    pub fn current(&self) -> Option<Arc<Attempt>> {
        if self.watch.is_polling() { lock(&self.current).clone() } else { None }
    }

    /// Passes the ends on to the completer.
    pub fn hand_over(&self, pool: &Pool) {
        let mut ends = std::mem::take(&mut *lock(&self.ends));
        if !ends.is_empty() {
            pool.run_context.host.outbox.ends.append(&mut ends);
            pool.changed.notify_one();
        }
    }
}

/// The state of a worker that other code can access.
#[derive(Default)]
pub(super) struct WorkerHandle {
    /// The polls of the task that currently is this worker.
    polls: Mutex<Arc<FirstPolls>>,
    tasks: AtomicUsize,
    /// Number of these that wait for other tasks: their slots are free.
    released_slots: AtomicUsize,
    /// Notified when a slot becomes free.
    freed: Notify,
    /// Set while a poll takes long: its slots do not count as free.
    stalled: AtomicBool,
    abandoned: AtomicBool,
}

impl WorkerHandle {
    pub fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Acquire)
    }

    pub fn released_slots(&self) -> usize {
        self.released_slots.load(Ordering::Acquire)
    }

    /// Returns the number of tasks that occupy a slot.
    fn occupying(&self) -> usize {
        self.tasks().saturating_sub(self.released_slots())
    }

    pub fn take_task(&self) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
    }

    /// Frees the slot of an abandoned body, even if it waited for other tasks.
    pub fn give_place_up(&self, attempt: &Attempt) {
        if attempt.forget_rests() {
            self.released_slots.fetch_sub(1, Ordering::AcqRel);
        }
        self.task_ended();
    }

    /// Notes that a task no longer occupies a slot.
    pub fn task_ended(&self) {
        self.tasks.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_one();
    }

    pub fn is_idle(&self) -> bool {
        self.tasks() == 0
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Sets whether one of its polls takes long; returns the previous value.
    pub fn set_stalled(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::AcqRel)
    }

    /// Returns the number of slots that cannot take a task now.
    pub fn taken(&self, concurrency: usize) -> usize {
        if self.is_stalled() { concurrency } else { self.occupying().min(concurrency) }
    }

    pub fn polls(&self) -> Arc<FirstPolls> {
        lock(&self.polls).clone()
    }

    /// Lets another task become this worker; the previous one ends when it can. Returns false if that one is polling a
    /// body.
    pub fn retire(&self) -> bool {
        let mut polls = lock(&self.polls);
        let retired = polls.watch.retire();
        if retired {
            *polls = Arc::default();
            self.freed.notify_waiters();
        }
        retired
    }

    /// As [`Self::retire`], but while it polls this body, which is abandoned. Returns false if that poll has ended.
    pub fn abandon_poll(&self, given_up: &Arc<FirstPolls>, beat: u64) -> bool {
        let mut polls = lock(&self.polls);
        let abandoned = Arc::ptr_eq(&polls, given_up) && given_up.watch.abandon(beat);
        if abandoned {
            *polls = Arc::default();
        }
        abandoned
    }

    /// Abandons the worker's thread.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// The state of a worker that only itself accesses.
pub(super) struct Worker<H> {
    pub pool: Arc<Pool>,
    pub worker_handle: Arc<WorkerHandle>,
    slot: Arc<dyn ConcurrencySlot>,
    polls: Arc<FirstPolls>,
    home: PhantomData<fn() -> H>,
}

impl<H: WorkerHost> Worker<H> {
    pub fn new(pool: Arc<Pool>, worker_handle: Arc<WorkerHandle>) -> Arc<Self> {
        let slot = Arc::new(WorkerSlot { pool: pool.clone(), worker_handle: worker_handle.clone() });
        let polls = worker_handle.polls();
        Arc::new(Self { pool, worker_handle, slot, polls, home: PhantomData })
    }

    /// Clears the stalled state after a poll has ended.
    pub fn goes_on(&self) {
        if self.worker_handle.is_stalled() && self.worker_handle.set_stalled(false) {
            self.pool.changed.notify_one();
        }
    }

    fn is_leaving(&self) -> bool {
        self.worker_handle.is_abandoned() || self.polls.watch.is_over() || self.pool.is_closing()
    }
}

/// The concurrency slots of a worker.
struct WorkerSlot {
    pool: Arc<Pool>,
    worker_handle: Arc<WorkerHandle>,
}

impl ConcurrencySlot for WorkerSlot {
    fn release(&self, attempt: Arc<Attempt>) -> SlotRelease {
        // A body that waits for several tasks at once still has only one slot.
        if attempt.begin_rest() {
            self.worker_handle.released_slots.fetch_add(1, Ordering::AcqRel);
            self.worker_handle.freed.notify_one();
            self.pool.changed.notify_one();
        }
        Box::new(SlotTakenAgain { worker_handle: self.worker_handle.clone(), attempt })
    }
}

/// Re-acquires the slot when it is dropped.
struct SlotTakenAgain {
    worker_handle: Arc<WorkerHandle>,
    attempt: Arc<Attempt>,
}

impl Drop for SlotTakenAgain {
    fn drop(&mut self) {
        if self.attempt.end_rest() {
            self.worker_handle.released_slots.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Removes the worker from its group when it ends for any reason.
struct Leave<H: WorkerHost>(Arc<Worker<H>>);

impl<H: WorkerHost> Drop for Leave<H> {
    fn drop(&mut self) {
        let Worker { pool, worker_handle, .. } = &*self.0;
        if self.0.polls.watch.is_over() {
            // Another task is this worker now, and the notification of this one was meant for it.
            worker_handle.freed.notify_one();
            H::worker_group(pool).run_queue.arrived.notify_last();
            return;
        }
        if worker_handle.is_abandoned() {
            // The abandoned thread has returned after all.
            pool.came_back(H::IS_SHARED);
        }
        H::worker_group(pool).remove(worker_handle);
        pool.changed.notify_one();
    }
}

/// The main loop of a worker.
pub(super) async fn work<H: WorkerHost>(worker: Arc<Worker<H>>) {
    let _leave = Leave(worker.clone());
    let pool = worker.pool.clone();
    let worker_group = H::worker_group(&pool);
    loop {
        start_row(&worker).await;
        if worker.is_leaving() {
            return;
        }
        let config = pool.config();
        let surplus = worker_group.is_surplus(&worker.worker_handle, config.max_workers.max(1));
        if surplus && worker.worker_handle.is_idle() {
            return;
        }
        let full = surplus || worker.worker_handle.occupying() >= config.concurrency.max(1);
        let arrived = worker_group.run_queue.arrived.notified();
        tokio::pin!(arrived);
        // From here on an arrival is not missed; earlier ones are found by checking the queue.
        arrived.as_mut().enable();
        let closed = pool.closed.notified();
        tokio::pin!(closed);
        closed.as_mut().enable();
        if worker.is_leaving() {
            return;
        }
        if !full && worker_group.run_queue.len() > 0 {
            continue;
        }
        let idle = worker.worker_handle.is_idle();
        tokio::select! {
            () = &mut arrived, if !full => {}
            () = worker.worker_handle.freed.notified() => {}
            () = &mut closed => return,
            () = tokio::time::sleep(config.worker_idle_timeout), if idle => {
                if worker_group.may_leave(&worker.worker_handle, config.workers_min) {
                    return;
                }
            }
        }
    }
}

/// Starts tasks while there are free slots and tasks, and lets the runtime's other tasks run in between.
async fn start_row<H: WorkerHost>(worker: &Arc<Worker<H>>) {
    let pool = &worker.pool;
    let worker_group = H::worker_group(pool);
    let config = pool.config();
    let concurrency = config.concurrency.max(1);
    if worker_group.is_surplus(&worker.worker_handle, config.max_workers.max(1)) {
        return;
    }
    let (mut began, mut count, mut ended) = (None, 0, 0);
    let mut spent = Duration::ZERO;
    let mut last = Instant::now();
    while worker.worker_handle.occupying() < concurrency && !worker.is_leaving() {
        let Some(queued) = worker_group.pop(pool, &worker.worker_handle) else { break };
        let Some(at_once) = start(worker, queued).await else { break };
        let now = Instant::now();
        if at_once {
            worker.worker_handle.tasks.fetch_sub(1, Ordering::AcqRel);
            spent += now - last;
            ended += 1;
        }
        last = now;
        count += 1;
        // tokio stores the task that was spawned last in a slot of the thread from which no other thread takes it: the
        // pending body must run before the next body, which may block.
        let yields = H::IS_SHARED && !at_once;
        if yields || count >= ROW_MAX || now - *began.get_or_insert(now) >= ROW_TIME {
            hand_over(worker, spent, ended);
            (began, count, ended, spent) = (None, 0, 0, Duration::ZERO);
            give_way().await;
            last = Instant::now();
        }
    }
    hand_over(worker, spent, ended);
}

/// Lets other tasks run. Unlike `tokio::task::yield_now`, after which the task waits on this thread, it can continue on
/// another one at once.
async fn give_way() {
    let mut gave_way = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn hand_over<H: WorkerHost>(worker: &Worker<H>, spent: Duration, ended: u32) {
    if ended > 0 {
        H::worker_group(&worker.pool).throughput.note(spent, ended);
        worker.polls.hand_over(&worker.pool);
    }
}

/// Creates a body and polls it once. Returns true if it ended at once; `None` if another task is this worker by now.
async fn start<H: WorkerHost>(worker: &Arc<Worker<H>>, queued: Queued) -> Option<bool> {
    let polls = &worker.polls;
    let run = queued.function().run;
    if !polls.watch.begin() {
        H::worker_group(&worker.pool).run_queue.put_back(queued, || worker.worker_handle.task_ended());
        return None;
    }
    let attempt = queued.begin(&worker.pool.run_context.host, Some(worker.slot.clone()));
    *lock(&polls.current) = Some(attempt.clone());
    failpoint!("body", Before);
    let first = std::future::poll_fn(|cx| {
        Poll::Ready(attempt.run(|| {
            let mut body = H::make(worker.pool.layers(), run, TaskContext(attempt.clone()));
            match Pin::new(&mut body).poll(cx) {
                Poll::Ready(result) => Ok(result),
                Poll::Pending => Err(body),
            }
        }))
    })
    .await;
    let goes_on = polls.watch.end();
    let shown = lock(&polls.current).take();
    drop(shown);
    failpoint!("body", After);
    if !goes_on {
        // The poll was abandoned and returned after all: its attempt has ended, and its slot was reused.
        let _ = attempt.run(|| drop(first));
        worker.pool.came_back(H::IS_SHARED);
        return None;
    }
    worker.goes_on();
    let end = match first {
        Ok(Ok(result)) => End::Returned(result),
        Err(failure) => End::Panicked(failure),
        Ok(Err(body)) => {
            pending::adopt(worker, attempt, body);
            return Some(false);
        }
    };
    match attempt.after_body(end) {
        Ok(end) => {
            if let Some(ended) = attempt.conclude(resolve_outcome(&attempt, end)) {
                lock(&polls.ends).push(ended);
            }
            Some(true)
        }
        Err(settling) => {
            pending::adopt(worker, attempt, H::adapt(settling));
            Some(false)
        }
    }
}
