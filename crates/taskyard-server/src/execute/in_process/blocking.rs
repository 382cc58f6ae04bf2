//! Blocking bodies: at most `max_workers` at once, each on a reusable thread. They notice a cancel only by checking for it;
//! a thread whose body exceeds its time is abandoned by the watchdog and replaced.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use taskyard_core::concurrency_slot::SlotRelease;
use taskyard_core::{TaskId, Token};

use super::pool::Pool;
use super::running::{RunSite, Running};
use crate::attempt::{Attempt, ConcurrencySlot, End, resolve_outcome};
use crate::execute::Queued;
use crate::execute::capacity::ThroughputEstimate;
use crate::layer::settled_on_thread;
use crate::primitives::lock::lock;
use crate::{Run, TaskContext};

#[derive(Default)]
struct State {
    run_queue: VecDeque<Queued>,
    /// Number of threads, without abandoned ones.
    threads: usize,
    busy: usize,
    /// Bodies that wait for other tasks, each with the number of these: neither the bodies nor their threads count.
    released_slots: HashMap<Token, usize>,
    /// Bodies that were abandoned and have not returned; they no longer count, whatever they do.
    given_up: HashSet<Token>,
    number: u64,
    closing: bool,
}

pub(super) struct Blocking {
    state: Mutex<State>,
    changed: Condvar,
    pub throughput: ThroughputEstimate,
    handle: tokio::runtime::Handle,
}

impl Blocking {
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), throughput: ThroughputEstimate::default(), handle }
    }

    pub fn waiting(&self) -> usize {
        lock(&self.state).run_queue.len()
    }

    pub fn busy(&self) -> usize {
        lock(&self.state).busy
    }

    pub fn threads(&self) -> usize {
        lock(&self.state).threads
    }

    pub fn accept(&self, pool: &Arc<Pool>, tasks: Vec<Queued>) {
        lock(&self.state).run_queue.extend(tasks);
        self.stir(pool);
    }

    /// Wakes threads, and starts some if too few are idle.
    pub fn stir(&self, pool: &Arc<Pool>) {
        let workers = pool.config().max_workers.max(1);
        let mut state = lock(&self.state);
        let idle = state.threads.saturating_sub(state.busy);
        let missing = state.run_queue.len().saturating_sub(idle).min(workers.saturating_sub(state.threads));
        for _ in 0..missing {
            state.number += 1;
            state.threads += 1;
            let (number, pool) = (state.number, pool.clone());
            let thread = std::thread::Builder::new().name(format!("taskyard-blocking-{number}"));
            if let Err(error) = thread.spawn(move || work(&pool)) {
                state.threads -= 1;
                tracing::error!(%error, "cannot start a thread for a blocking task");
                break;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    pub fn take_unstarted(&self, now: Instant, patience: Duration) -> Vec<Queued> {
        self.take(|queued| now.saturating_duration_since(queued.since) >= patience)
    }

    /// Takes the tasks whose cancel or stop was requested.
    pub fn take_meant(&self, meant: &mut HashSet<(TaskId, Token)>) -> Vec<Queued> {
        self.take(|queued| meant.remove(&(queued.claimed.id, queued.claimed.token)))
    }

    fn take(&self, mut is_meant: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let run_queue = &mut lock(&self.state).run_queue;
        let (taken, kept) = std::mem::take(run_queue).into_iter().partition(|queued| is_meant(queued));
        *run_queue = kept;
        Vec::from(taken)
    }

    /// Abandons the body of one thread: the thread no longer counts.
    pub fn give_up(&self, attempt: &Attempt) {
        let mut state = lock(&self.state);
        state.given_up.insert(attempt.claimed.token);
        if state.released_slots.remove(&attempt.claimed.token).is_none() {
            state.threads -= 1;
            state.busy -= 1;
        }
    }

    pub fn released_slots(&self) -> usize {
        lock(&self.state).released_slots.len()
    }

    /// Notes that a body waits for another task: another thread may use its slot.
    fn rest(&self, pool: &Arc<Pool>, token: Token) {
        let mut state = lock(&self.state);
        if state.given_up.contains(&token) {
            return;
        }
        let waits = state.released_slots.entry(token).or_default();
        *waits += 1;
        if *waits == 1 {
            state.threads -= 1;
            state.busy -= 1;
            drop(state);
            self.stir(pool);
            pool.changed.notify_one();
        }
    }

    /// Notes that a body continues, even if there is one thread too many for a while; ignored if it was abandoned.
    fn resume(&self, token: Token) {
        let mut state = lock(&self.state);
        let Some(waits) = state.released_slots.get_mut(&token) else { return };
        *waits -= 1;
        if *waits == 0 {
            state.released_slots.remove(&token);
            state.threads += 1;
            state.busy += 1;
        }
    }

    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closing = true;
        state.run_queue.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Returns the next task, or `None` when the thread is to end (it no longer counts then).
    fn next(&self, pool: &Pool) -> Option<Queued> {
        let mut state = lock(&self.state);
        loop {
            let config = pool.config();
            let workers = config.max_workers.max(1);
            if state.closing || state.threads > workers {
                state.threads -= 1;
                return None;
            }
            if state.busy < workers
                && let Some(queued) = state.run_queue.pop_front()
            {
                state.busy += 1;
                return Some(queued);
            }
            let (next, waited) = self
                .changed
                .wait_timeout(state, config.worker_idle_timeout)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state = next;
            if waited.timed_out() && state.run_queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

/// The concurrency slot of a blocking thread.
struct ThreadSlot(Arc<Pool>);

impl ConcurrencySlot for ThreadSlot {
    fn release(&self, attempt: Arc<Attempt>) -> SlotRelease {
        let token = attempt.claimed.token;
        self.0.blocking.rest(&self.0, token);
        Box::new(SlotTakenAgain { pool: self.0.clone(), token })
    }
}

/// Re-acquires the slot when it is dropped.
struct SlotTakenAgain {
    pool: Arc<Pool>,
    token: Token,
}

impl Drop for SlotTakenAgain {
    fn drop(&mut self) {
        self.pool.blocking.resume(self.token);
    }
}

fn work(pool: &Arc<Pool>) {
    let blocking = &pool.blocking;
    let slot = Arc::new(ThreadSlot(pool.clone()));
    while let Some(queued) = blocking.next(pool) {
        let run = queued.function().run;
        let attempt = queued.begin(&pool.run_context.host, Some(slot.clone()));
        let running = Running::new(attempt, Instant::now(), RunSite::Thread);
        pool.table.insert(running.clone());
        let end = call(pool, &running.attempt, run);
        blocking.throughput.note(running.started.elapsed(), 1);
        pool.table.remove(&running);
        if !running.abandon() {
            // The body was abandoned and returned after all; another thread uses its slot.
            pool.came_back(false);
            lock(&blocking.state).given_up.remove(&running.attempt.claimed.token);
            return;
        }
        running.attempt.end(resolve_outcome(&running.attempt, end));
        lock(&blocking.state).busy -= 1;
        pool.changed.notify_one();
    }
    pool.changed.notify_one();
}

/// Runs a body to its end on this thread.
fn call(pool: &Pool, attempt: &Arc<Attempt>, run: Run) -> End {
    let Run::Blocking(body) = run else { unreachable!("async bodies have workers") };
    let _runtime = pool.blocking.handle.enter();
    let end = attempt
        .run(|| pool.layers().blocking_body(body, TaskContext(attempt.clone())))
        .map_or_else(End::Panicked, End::Returned);
    settled_on_thread(attempt, end)
}
