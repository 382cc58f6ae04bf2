//! A lane: one thread with a runtime of its own that runs up to `concurrency` async bodies at once.
//!
//! Most of the cost of a short task is what surrounds it, so a body is polled once in place and only what is still
//! pending then becomes a task of the runtime with a timer and an entry in the table of running attempts. Ends are
//! handed over in batches, at the latest a millisecond after they came about.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use taskyard_core::Failure;
use taskyard_core::failpoint;
use taskyard_core::rest::{self, Resting, Seat};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::Queued;
use super::pending;
use super::pool::Pool;
use crate::attempt::{Attempt, End, Interrupt, judge};
use crate::engine::{Ended, lock};
use crate::{AsyncBody, Body, BodyResult, TaskContext, panics, task_context};

/// Tasks started in a row before the lane's other bodies get their turn.
const ROW_MAX: u32 = 64;
/// The age at which ends are handed over while more are coming.
const ROW_TIME: Duration = Duration::from_millis(1);

/// What others see of a lane.
pub(super) struct LaneFace {
    pub number: u64,
    /// Grows at the beginning and at the end of each poll; odd = a body is being polled.
    beat: AtomicU64,
    /// The body being polled, or that was polled last.
    current: Mutex<Option<Arc<Attempt>>>,
    tasks: AtomicUsize,
    /// Those of them that wait for other tasks: their places are free.
    resting: AtomicUsize,
    /// A place came free.
    freed: Notify,
    /// One poll has lasted long: its places do not count as free.
    stalled: AtomicBool,
    abandoned: AtomicBool,
    /// For the watchdog: the beat it saw last, and since when.
    pub seen: Mutex<(u64, Option<Instant>)>,
}

impl LaneFace {
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

    pub fn is_idle(&self) -> bool {
        self.tasks() == 0
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub fn set_stalled(&self) {
        self.stalled.store(true, Ordering::Release);
    }

    /// Places that cannot take a task now.
    pub fn taken(&self, concurrency: usize) -> usize {
        if self.is_stalled() { concurrency } else { self.seated().min(concurrency) }
    }

    pub fn beat(&self) -> u64 {
        self.beat.load(Ordering::Acquire)
    }

    /// The body that is being polled.
    pub fn current(&self) -> Option<Arc<Attempt>> {
        if self.beat() % 2 == 1 { lock(&self.current).clone() } else { None }
    }

    pub fn interrupt_current(&self, why: Interrupt, meant: impl Fn(&Attempt) -> bool) {
        if let Some(attempt) = self.current().filter(|attempt| meant(attempt)) {
            attempt.interrupt(why);
        }
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

/// The lane's own side.
pub(super) struct Lane {
    pub pool: Arc<Pool>,
    pub face: Arc<LaneFace>,
}

impl Lane {
    /// Runs a piece of a body: the watchdog sees it, `TaskContext::current` knows it, a panic is caught.
    pub fn guard<T>(&self, attempt: &Arc<Attempt>, f: impl FnOnce() -> T) -> Result<T, Failure> {
        *lock(&self.face.current) = Some(attempt.clone());
        self.face.beat.fetch_add(1, Ordering::AcqRel);
        let entered = task_context::enter(&TaskContext(attempt.clone()));
        let done = panics::catch(f);
        drop(entered);
        self.face.beat.fetch_add(1, Ordering::AcqRel);
        if self.face.is_stalled() {
            self.face.stalled.store(false, Ordering::Release);
            self.pool.changed.notify_one();
        }
        done
    }

    fn is_leaving(&self) -> bool {
        self.face.is_abandoned() || self.pool.is_closing()
    }

    pub fn task_ended(&self) {
        self.face.tasks.fetch_sub(1, Ordering::AcqRel);
    }

    /// A pending body ended.
    pub fn freed(&self) {
        self.face.freed.notify_one();
    }
}

/// The places of a lane, for bodies that wait for other tasks.
struct LaneSeat {
    pool: Arc<Pool>,
    face: Arc<LaneFace>,
}

impl Seat for LaneSeat {
    fn rest(&self) -> Option<Resting> {
        let TaskContext(attempt) = TaskContext::current()?;
        let seat = Self { pool: self.pool.clone(), face: self.face.clone() };
        // A body that waits for several tasks at once has one place all the same.
        if attempt.begin_rest() {
            self.face.resting.fetch_add(1, Ordering::AcqRel);
            self.face.freed.notify_one();
            self.pool.changed.notify_one();
        }
        Some(Box::new(LaneRest { seat, attempt }))
    }
}

struct LaneRest {
    seat: LaneSeat,
    attempt: Arc<Attempt>,
}

impl Drop for LaneRest {
    fn drop(&mut self) {
        if self.attempt.end_rest() {
            self.seat.face.resting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Starts a lane's thread.
pub(super) fn spawn(pool: Arc<Pool>, number: u64) -> io::Result<Arc<LaneFace>> {
    let face = Arc::new(LaneFace {
        number,
        beat: AtomicU64::new(0),
        current: Mutex::default(),
        tasks: AtomicUsize::new(0),
        resting: AtomicUsize::new(0),
        freed: Notify::new(),
        stalled: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        seen: Mutex::default(),
    });
    let shown = face.clone();
    std::thread::Builder::new().name(format!("taskyard-lane-{number}")).spawn(move || {
        let leave = Leave { pool: pool.clone(), face: face.clone() };
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let local = LocalSet::new();
                rest::sit(Arc::new(LaneSeat { pool: pool.clone(), face: face.clone() }));
                let lane = Rc::new(Lane { pool, face });
                local.block_on(&runtime, work(lane));
                // Bodies that are still pending are dropped here, on the thread they belong to.
                let _ = panics::catch(|| drop(local));
                // Not a plain drop: that would wait for what bodies have sent to other threads.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "cannot start a worker's runtime"),
        }
        drop(leave);
    })?;
    Ok(shown)
}

/// Takes the lane out of the pool when its thread ends, however it ends.
struct Leave {
    pool: Arc<Pool>,
    face: Arc<LaneFace>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.face.is_abandoned() {
            // It came back after all: one thread less is lost.
            self.pool.abandoned.fetch_sub(1, Ordering::AcqRel);
        }
        lock(&self.pool.lanes).retain(|lane| !Arc::ptr_eq(lane, &self.face));
        self.pool.changed.notify_one();
    }
}

async fn work(lane: Rc<Lane>) {
    let pool = lane.pool.clone();
    let mut ends = Vec::new();
    loop {
        start_row(&lane, &mut ends).await;
        if lane.is_leaving() {
            return;
        }
        let config = pool.config();
        let surplus = pool.is_surplus(&lane.face, config.workers.max(1));
        if surplus && lane.face.is_idle() {
            return;
        }
        let full = surplus || lane.face.seated() >= config.concurrency.max(1);
        let arrived = pool.arrived.notified();
        tokio::pin!(arrived);
        // From here on an arrival is not missed; what arrived before is seen by the look at the line.
        arrived.as_mut().enable();
        let closed = pool.closed.notified();
        tokio::pin!(closed);
        closed.as_mut().enable();
        if lane.is_leaving() {
            return;
        }
        if !full && pool.has_line() {
            continue;
        }
        let idle = lane.face.is_idle();
        tokio::select! {
            () = &mut arrived, if !full => {}
            () = lane.face.freed.notified() => {}
            () = &mut closed => return,
            () = tokio::time::sleep(config.worker_idle_timeout), if idle => {
                if pool.may_leave(&lane.face, config.workers_min) {
                    return;
                }
            }
        }
    }
}

/// Starts tasks while there are places and tasks, letting the lane's other bodies run in between.
async fn start_row(lane: &Rc<Lane>, ends: &mut Vec<Ended>) {
    let pool = &lane.pool;
    let config = pool.config();
    let concurrency = config.concurrency.max(1);
    if pool.is_surplus(&lane.face, config.workers.max(1)) {
        return;
    }
    let (mut began, mut count, mut ended) = (None, 0, 0);
    let mut spent = Duration::ZERO;
    let mut last = Instant::now();
    while lane.face.seated() < concurrency && !lane.is_leaving() {
        let Some(queued) = pool.pop(&lane.face) else { break };
        let at_once = start(lane, queued, ends).await;
        let now = Instant::now();
        if at_once {
            lane.task_ended();
            spent += now - last;
            ended += 1;
        }
        last = now;
        count += 1;
        if count >= ROW_MAX || now - *began.get_or_insert(now) >= ROW_TIME {
            hand_over(lane, ends, spent, ended);
            (began, count, ended, spent) = (None, 0, 0, Duration::ZERO);
            tokio::task::yield_now().await;
            last = Instant::now();
        }
    }
    hand_over(lane, ends, spent, ended);
}

fn hand_over(lane: &Lane, ends: &mut Vec<Ended>, spent: Duration, ended: u32) {
    if ended > 0 {
        lane.pool.pace.note(spent, ended);
        lane.pool.engine.ends.append(ends);
        lane.pool.changed.notify_one();
    }
}

/// Makes a body and polls it once. Whether it ended at once.
async fn start(lane: &Rc<Lane>, queued: Queued, ends: &mut Vec<Ended>) -> bool {
    let def = queued.function();
    let attempt = Attempt::new(queued.claimed, queued.claim, lane.pool.engine.clone());
    failpoint!("body", Before);
    let first = std::future::poll_fn(|cx| {
        Poll::Ready(lane.guard(&attempt, || match (def.run)(TaskContext(attempt.clone())) {
            Body::Blocking(body) => First::Blocking(body),
            Body::Async(mut body) => match body.as_mut().poll(cx) {
                Poll::Ready(result) => First::Ended(result),
                Poll::Pending => First::Pending(body),
            },
        }))
    })
    .await;
    failpoint!("body", After);
    let end = match first {
        Ok(First::Ended(result)) => End::Returned(result),
        Err(failure) => End::Panicked(failure),
        Ok(First::Pending(body)) => {
            pending::adopt(lane, attempt, body);
            return false;
        }
        Ok(First::Blocking(body)) => {
            // Its definition promised an async body; a thread of its own is the right place all the same.
            lane.pool.blocking.accept_body(&lane.pool, attempt, body);
            return true;
        }
    };
    ends.extend(attempt.conclude(judge(&attempt, end)));
    true
}

enum First {
    Ended(BodyResult),
    Pending(AsyncBody),
    Blocking(crate::BlockingBody),
}

/// Polls a body under its lane's guard.
pub(super) fn poll_guarded(
    lane: &Lane,
    attempt: &Arc<Attempt>,
    body: &mut AsyncBody,
    cx: &mut std::task::Context<'_>,
) -> Poll<End> {
    match lane.guard(attempt, || Pin::new(body).poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
        Err(failure) => Poll::Ready(End::Panicked(failure)),
    }
}

impl Pool {
    /// Whether this lane is one too many, since `workers` was lowered.
    fn is_surplus(&self, face: &Arc<LaneFace>, workers: usize) -> bool {
        let lanes = lock(&self.lanes);
        lanes.len() > workers && lanes.iter().skip(workers).any(|lane| Arc::ptr_eq(lane, face))
    }

    /// Whether an idle lane may go; it is out of the list then, so that no one counts on it.
    fn may_leave(&self, face: &Arc<LaneFace>, workers_min: usize) -> bool {
        let mut lanes = lock(&self.lanes);
        // A task that arrived a moment ago counted on this lane.
        if lanes.len() <= workers_min || !face.is_idle() || self.has_line() {
            return false;
        }
        lanes.retain(|lane| !Arc::ptr_eq(lane, face));
        true
    }
}
