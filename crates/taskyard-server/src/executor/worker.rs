//! A worker for async bodies: it takes tasks from its crew's line, makes their bodies and polls each once in place.
//!
//! Most of the cost of a short task is what surrounds it, so only what is still pending after that poll becomes a task of
//! the runtime, with a timer and an entry in the table of running attempts ([`super::pending`]). Ends are handed over in
//! batches, at the latest a millisecond after they came about.
//!
//! There are two kinds ([`Home`]): workers on the caller's runtime, and worker threads with a runtime of their own.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::rest::SlotRelease;
use tokio::sync::Notify;

use super::Queued;
use super::crew::Crew;
use super::pending::{self, Pending};
use super::poll_watch::PollWatch;
use super::pool::Pool;
use super::running::{RunSite, Running};
use crate::attempt::{Attempt, ConcurrencySlot, End, judge};
use crate::engine::{Ended, lock};
use crate::{AsyncBody, BodyResult, Run, TaskContext};

/// Tasks started in a row before the runtime's other tasks get their turn.
const ROW_MAX: u32 = 64;
/// The age at which ends are handed over while more are coming.
const ROW_TIME: Duration = Duration::from_millis(1);

/// Where a worker and its pending bodies run.
pub(super) trait Home: Sized + 'static {
    /// Its bodies.
    type Body: Future<Output = BodyResult> + Unpin + 'static;

    /// Its workers.
    fn crew(pool: &Pool) -> &Crew;

    /// Makes a body.
    fn make(run: Run, context: TaskContext) -> Self::Body;

    /// Converts a body that may run anywhere.
    fn adapt(body: AsyncBody) -> Self::Body;

    /// Where a pending body of this worker runs.
    fn site(face: &Arc<WorkerFace>, pending: &Arc<Pending<Self>>) -> RunSite;

    /// Starts a task that carries a pending body on.
    fn carry(pending: Arc<Pending<Self>>, running: Arc<Running>, carrier: u64);

    /// Whether its threads are the caller's.
    const IS_SHARED: bool;
}

/// The first polls of a worker's bodies.
#[derive(Default)]
pub(super) struct FirstPolls {
    pub watch: PollWatch,
    /// The body being polled.
    current: Mutex<Option<Arc<Attempt>>>,
    /// Ends that are handed over soon; by the watchdog, if the poll that follows lasts.
    ends: Mutex<Vec<Ended>>,
}

impl FirstPolls {
    /// The body that is being polled.
    pub fn current(&self) -> Option<Arc<Attempt>> {
        if self.watch.is_polling() { lock(&self.current).clone() } else { None }
    }

    /// Hands the ends over.
    pub fn hand_over(&self, pool: &Pool) {
        let mut ends = std::mem::take(&mut *lock(&self.ends));
        if !ends.is_empty() {
            pool.engine.ends.append(&mut ends);
            pool.changed.notify_one();
        }
    }
}

/// What others see of a worker.
#[derive(Default)]
pub(super) struct WorkerFace {
    /// Those of the task that is this worker.
    polls: Mutex<Arc<FirstPolls>>,
    tasks: AtomicUsize,
    /// Those of them that wait for other tasks: their places are free.
    resting: AtomicUsize,
    /// A place came free.
    freed: Notify,
    /// One poll has lasted long: its places do not count as free.
    stalled: AtomicBool,
    abandoned: AtomicBool,
}

impl WorkerFace {
    pub fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Acquire)
    }

    pub fn resting(&self) -> usize {
        self.resting.load(Ordering::Acquire)
    }

    /// Tasks that take a place.
    fn seated(&self) -> usize {
        self.tasks().saturating_sub(self.resting())
    }

    pub fn take_task(&self) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
    }

    /// The place of a body that was given up is free, also if it waited for other tasks.
    pub fn give_place_up(&self, attempt: &Attempt) {
        if attempt.forget_rests() {
            self.resting.fetch_sub(1, Ordering::AcqRel);
        }
        self.task_ended();
    }

    /// A task takes no place any more.
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

    /// Whether one of its polls lasts long; whether that was so before.
    pub fn set_stalled(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::AcqRel)
    }

    /// Places that cannot take a task now.
    pub fn taken(&self, concurrency: usize) -> usize {
        if self.is_stalled() { concurrency } else { self.seated().min(concurrency) }
    }

    pub fn polls(&self) -> Arc<FirstPolls> {
        lock(&self.polls).clone()
    }

    /// Another task is this worker from now on; the one before ends when it can. `false` if that one polls a body now.
    pub fn retire(&self) -> bool {
        let mut polls = lock(&self.polls);
        let retired = polls.watch.retire();
        if retired {
            *polls = Arc::default();
            self.freed.notify_waiters();
        }
        retired
    }

    /// The same, where it polls this body, which is given up. `false` if that poll has ended.
    pub fn abandon_poll(&self, given_up: &Arc<FirstPolls>, beat: u64) -> bool {
        let mut polls = lock(&self.polls);
        let abandoned = Arc::ptr_eq(&polls, given_up) && given_up.watch.abandon(beat);
        if abandoned {
            *polls = Arc::default();
        }
        abandoned
    }

    /// Gives the worker's thread up.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// The worker's own side.
pub(super) struct Worker<H> {
    pub pool: Arc<Pool>,
    pub face: Arc<WorkerFace>,
    slot: Arc<dyn ConcurrencySlot>,
    polls: Arc<FirstPolls>,
    home: PhantomData<fn() -> H>,
}

impl<H: Home> Worker<H> {
    pub fn new(pool: Arc<Pool>, face: Arc<WorkerFace>) -> Arc<Self> {
        let slot = Arc::new(WorkerSlot { pool: pool.clone(), face: face.clone() });
        let polls = face.polls();
        Arc::new(Self { pool, face, slot, polls, home: PhantomData })
    }

    /// The poll of a body has ended: the worker is not stalled any more, if it was.
    pub fn goes_on(&self) {
        if self.face.is_stalled() && self.face.set_stalled(false) {
            self.pool.changed.notify_one();
        }
    }

    fn is_leaving(&self) -> bool {
        self.face.is_abandoned() || self.polls.watch.is_over() || self.pool.is_closing()
    }
}

/// The places of a worker.
struct WorkerSlot {
    pool: Arc<Pool>,
    face: Arc<WorkerFace>,
}

impl ConcurrencySlot for WorkerSlot {
    fn release(&self, attempt: Arc<Attempt>) -> SlotRelease {
        // A body that waits for several tasks at once has one place all the same.
        if attempt.begin_rest() {
            self.face.resting.fetch_add(1, Ordering::AcqRel);
            self.face.freed.notify_one();
            self.pool.changed.notify_one();
        }
        Box::new(SlotTakenAgain { face: self.face.clone(), attempt })
    }
}

struct SlotTakenAgain {
    face: Arc<WorkerFace>,
    attempt: Arc<Attempt>,
}

impl Drop for SlotTakenAgain {
    fn drop(&mut self) {
        if self.attempt.end_rest() {
            self.face.resting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Takes the worker out of its crew when it ends, however it ends.
struct Leave<H: Home>(Arc<Worker<H>>);

impl<H: Home> Drop for Leave<H> {
    fn drop(&mut self) {
        let Worker { pool, face, .. } = &*self.0;
        if self.0.polls.watch.is_over() {
            // Another task is this worker. What woke this one was meant for that.
            face.freed.notify_one();
            H::crew(pool).line.arrived.notify_last();
            return;
        }
        if face.is_abandoned() {
            // It came back after all: one thread less is lost.
            pool.came_back(H::IS_SHARED);
        }
        H::crew(pool).remove(face);
        pool.changed.notify_one();
    }
}

/// The worker's life.
pub(super) async fn work<H: Home>(worker: Arc<Worker<H>>) {
    let _leave = Leave(worker.clone());
    let pool = worker.pool.clone();
    let crew = H::crew(&pool);
    loop {
        start_row(&worker).await;
        if worker.is_leaving() {
            return;
        }
        let config = pool.config();
        let surplus = crew.is_surplus(&worker.face, config.workers.max(1));
        if surplus && worker.face.is_idle() {
            return;
        }
        let full = surplus || worker.face.seated() >= config.concurrency.max(1);
        let arrived = crew.line.arrived.notified();
        tokio::pin!(arrived);
        // From here on an arrival is not missed; what arrived before is seen by the look at the line.
        arrived.as_mut().enable();
        let closed = pool.closed.notified();
        tokio::pin!(closed);
        closed.as_mut().enable();
        if worker.is_leaving() {
            return;
        }
        if !full && crew.line.len() > 0 {
            continue;
        }
        let idle = worker.face.is_idle();
        tokio::select! {
            () = &mut arrived, if !full => {}
            () = worker.face.freed.notified() => {}
            () = &mut closed => return,
            () = tokio::time::sleep(config.worker_idle_timeout), if idle => {
                if crew.may_leave(&worker.face, config.workers_min) {
                    return;
                }
            }
        }
    }
}

/// Starts tasks while there are places and tasks, letting the runtime's other tasks run in between.
async fn start_row<H: Home>(worker: &Arc<Worker<H>>) {
    let pool = &worker.pool;
    let crew = H::crew(pool);
    let config = pool.config();
    let concurrency = config.concurrency.max(1);
    if crew.is_surplus(&worker.face, config.workers.max(1)) {
        return;
    }
    let (mut began, mut count, mut ended) = (None, 0, 0);
    let mut spent = Duration::ZERO;
    let mut last = Instant::now();
    while worker.face.seated() < concurrency && !worker.is_leaving() {
        let Some(queued) = crew.pop(pool, &worker.face) else { break };
        let Some(at_once) = start(worker, queued).await else { break };
        let now = Instant::now();
        if at_once {
            worker.face.tasks.fetch_sub(1, Ordering::AcqRel);
            spent += now - last;
            ended += 1;
        }
        last = now;
        count += 1;
        // tokio keeps what was spawned last in a slot of the thread from which no other thread takes it: the pending body gets
        // its turn before the next body, which may block.
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

/// Lets other tasks run. Unlike `tokio::task::yield_now`, behind which the task waits on this thread, it can go on on another one
/// at once.
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

fn hand_over<H: Home>(worker: &Worker<H>, spent: Duration, ended: u32) {
    if ended > 0 {
        H::crew(&worker.pool).pace.note(spent, ended);
        worker.polls.hand_over(&worker.pool);
    }
}

/// Makes a body and polls it once. Whether it ended at once; `None` if another task is this worker by now.
async fn start<H: Home>(worker: &Arc<Worker<H>>, queued: Queued) -> Option<bool> {
    let polls = &worker.polls;
    let run = queued.function().run;
    if !polls.watch.begin() {
        H::crew(&worker.pool).line.put_back(queued, || worker.face.task_ended());
        return None;
    }
    let attempt = Attempt::with_slot(worker.slot.clone(), queued.claimed, queued.claim, worker.pool.engine.clone());
    *lock(&polls.current) = Some(attempt.clone());
    failpoint!("body", Before);
    let first = std::future::poll_fn(|cx| {
        Poll::Ready(attempt.run(|| {
            let mut body = H::make(run, TaskContext(attempt.clone()));
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
        // It was given up and came back after all: its attempt has ended, its place is another's.
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
            if let Some(ended) = attempt.conclude(judge(&attempt, end)) {
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
