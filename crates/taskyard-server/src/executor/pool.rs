//! The executor of Rust tasks: one line of unstarted tasks from which lanes and blocking threads help themselves.
//!
//! One line for all lanes, so that a body which holds up its lane holds up nothing else, and what has not started can
//! be given back. Lanes start when every other one is busy, up to `workers`, and leave after being idle.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Outcome, Signal};
use taskyard_core::{TaskId, TaskRecord, Token};
use tokio::sync::Notify;

use super::blocking::Blocking;
use super::lane::{self, LaneFace};
use super::room::{self, Pace};
use super::running::Table;
use super::{Executor, Figures, Queued};
use crate::ServerConfig;
use crate::attempt::{Attempt, Interrupt};
use crate::engine::{Engine, lock};
use crate::hooks::Heard;

pub(crate) struct Pool {
    pub(super) engine: Arc<Engine>,
    line: Mutex<VecDeque<Queued>>,
    /// The line's length, to be read without its lock.
    line_len: AtomicUsize,
    /// Wakes idle lanes, the one that became idle last first, so that the others can leave.
    pub(super) arrived: Notify,
    pub(super) lanes: Mutex<Vec<Arc<LaneFace>>>,
    lane_number: AtomicU64,
    pub(super) table: Table,
    pub(super) blocking: Blocking,
    pub(super) changed: Notify,
    pub(super) pace: Pace,
    /// Threads given up that have not come back.
    pub(super) abandoned: AtomicUsize,
    /// The last batch was mostly blocking tasks: claim what their threads can take.
    blocks: AtomicBool,
    closing: AtomicBool,
    pub(super) closed: Notify,
}

impl Pool {
    /// `handle` is the runtime that blocking bodies find as the current one.
    pub fn new(engine: Arc<Engine>, handle: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            engine,
            line: Mutex::default(),
            line_len: AtomicUsize::new(0),
            arrived: Notify::new(),
            lanes: Mutex::default(),
            lane_number: AtomicU64::new(0),
            table: Table::default(),
            blocking: Blocking::new(handle),
            changed: Notify::new(),
            pace: Pace::default(),
            abandoned: AtomicUsize::new(0),
            blocks: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.engine.settings.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The next async task to start. The lane counts it before the line does not: whoever looks meanwhile sees it.
    pub(super) fn pop(&self, lane: &LaneFace) -> Option<Queued> {
        if self.line_len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut line = lock(&self.line);
        let next = line.pop_front();
        if next.is_some() {
            lane.take_task();
        }
        self.line_len.store(line.len(), Ordering::Release);
        // A line that runs short is the moment to claim the next batch: before it is empty.
        if next.is_some() && line.len().is_multiple_of(64) {
            self.changed.notify_one();
        }
        next
    }

    pub(super) fn has_line(&self) -> bool {
        self.line_len.load(Ordering::Acquire) > 0
    }

    /// Wakes as many lanes as there are tasks, and starts some if all are busy.
    pub(super) fn stir(self: &Arc<Self>) {
        let waiting = self.line_len.load(Ordering::Acquire);
        if waiting == 0 || self.is_closing() {
            return;
        }
        let workers = self.config().workers.max(1);
        let mut lanes = lock(&self.lanes);
        let idle = lanes.iter().filter(|lane| lane.is_idle()).count();
        for _ in 0..waiting.min(lanes.len()) {
            self.arrived.notify_last();
        }
        let missing = waiting.saturating_sub(idle).min(workers.saturating_sub(lanes.len()));
        for _ in 0..missing {
            let number = self.lane_number.fetch_add(1, Ordering::Relaxed);
            match lane::spawn(self.clone(), number) {
                Ok(face) => lanes.push(face),
                Err(error) => {
                    // Those that exist do the work; the watchdog tries again.
                    tracing::error!(%error, "cannot start a worker thread");
                    break;
                }
            }
        }
    }

    /// Ends a task that did not start.
    fn end_unstarted(&self, queued: Queued, outcome: Outcome) {
        Attempt::new(queued.claimed, queued.claim, self.engine.clone()).end(outcome);
    }

    fn free_places(&self, config: &ServerConfig) -> usize {
        let concurrency = config.concurrency.max(1);
        let lanes = lock(&self.lanes);
        let taken: usize = lanes.iter().map(|lane| lane.taken(concurrency)).sum();
        (config.workers.max(1) * concurrency).saturating_sub(taken)
    }
}

impl Executor for Arc<Pool> {
    fn runtime(&self) -> Runtime {
        Runtime::Rust
    }

    fn room(&self) -> usize {
        let config = self.config();
        let workers = config.workers.max(1);
        let (blocked, line) = (self.blocking.waiting(), self.line_len.load(Ordering::Acquire));
        if blocked > 0 && self.blocking.pace.is_behind(blocked, workers) {
            return 0;
        }
        let ahead_max = config.claim_max * 2;
        if self.blocks.load(Ordering::Acquire) {
            let free = workers.saturating_sub(self.blocking.busy());
            return room::room(free, self.blocking.pace.prefetch(workers).min(ahead_max), blocked + line);
        }
        let responsive = workers.saturating_sub(lock(&self.lanes).iter().filter(|lane| lane.is_stalled()).count());
        room::room(self.free_places(&config), self.pace.prefetch(responsive).min(ahead_max), blocked + line)
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn accept(&self, tasks: Vec<Queued>) {
        let (blocking, plain): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|queued| queued.function().blocking);
        self.blocks.store(blocking.len() > plain.len(), Ordering::Release);
        if !plain.is_empty() {
            let mut line = lock(&self.line);
            line.extend(plain);
            self.line_len.store(line.len(), Ordering::Release);
            drop(line);
            self.stir();
        }
        if !blocking.is_empty() {
            self.blocking.accept(self, blocking);
        }
    }

    fn take_unstarted(&self, patience: Duration) -> Vec<Queued> {
        let now = Instant::now();
        let mut line = lock(&self.line);
        let mut taken = Vec::new();
        while line.front().is_some_and(|queued| now.saturating_duration_since(queued.since) >= patience) {
            taken.extend(line.pop_front());
        }
        self.line_len.store(line.len(), Ordering::Release);
        drop(line);
        let plain = taken.len();
        if plain > 0 {
            self.pace.is_slow();
        }
        taken.extend(self.blocking.take_unstarted(now, patience));
        if taken.len() > plain {
            self.blocking.pace.is_slow();
        }
        taken
    }

    fn signal(&self, signals: &[Signal]) {
        let mut meant: HashSet<(TaskId, Token)> = signals.iter().map(|signal| (signal.id, signal.token)).collect();
        if meant.is_empty() {
            return;
        }
        let mut line = lock(&self.line);
        let mut unstarted = Vec::new();
        if line.iter().any(|queued| meant.contains(&(queued.claimed.id, queued.claimed.token))) {
            for queued in std::mem::take(&mut *line) {
                if meant.remove(&(queued.claimed.id, queued.claimed.token)) {
                    unstarted.push(queued);
                } else {
                    line.push_back(queued);
                }
            }
            self.line_len.store(line.len(), Ordering::Release);
        }
        drop(line);
        unstarted.extend(self.blocking.take_meant(&mut meant));
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Interrupted);
        }
        for (id, token) in meant {
            if let Some(running) = self.table.get(id, token) {
                running.attempt.interrupt(Interrupt::Asked);
            }
            for lane in lock(&self.lanes).iter() {
                lane.interrupt_current(Interrupt::Asked, |attempt| attempt.claimed.token == token);
            }
        }
    }

    fn known(&self, reasons: &[String]) -> Vec<String> {
        reasons.iter().filter(|reason| self.engine.registry.knows_reason(reason)).cloned().collect()
    }

    fn hears_deaths(&self) -> Option<bool> {
        Some(!self.engine.registry.death_hooks().is_empty())
    }

    fn tell_death(&self, dead: TaskRecord) -> BoxFuture<'_, Heard> {
        Box::pin(self.engine.registry.death_hooks().tell_apart(dead))
    }

    fn interrupt_all(&self, why: Interrupt) {
        for running in self.table.all() {
            running.attempt.interrupt(why);
        }
        for lane in lock(&self.lanes).iter() {
            lane.interrupt_current(why, |_| true);
        }
    }

    fn release_running(&self) {
        for running in self.table.all() {
            running.attempt.interrupt(Interrupt::Release);
            running.attempt.end(Outcome::CutShort);
        }
        for lane in lock(&self.lanes).iter() {
            if let Some(attempt) = lane.current() {
                attempt.interrupt(Interrupt::Release);
                attempt.end(Outcome::CutShort);
            }
        }
    }

    fn watch(&self, now: Instant) {
        super::watchdog::watch(self, now);
    }

    fn figures(&self) -> Figures {
        // In the order in which tasks move, so that one that moves meanwhile is counted at least once.
        let line = self.line_len.load(Ordering::Acquire);
        let lanes = lock(&self.lanes);
        let idle = lanes.iter().filter(|lane| lane.is_idle()).count();
        let running: usize = lanes.iter().map(|lane| lane.tasks()).sum();
        let resting: usize = lanes.iter().map(|lane| lane.resting()).sum();
        let blocked = self.blocking.resting();
        let waiting = self.blocking.waiting();
        let (threads, busy) = (self.blocking.threads(), self.blocking.busy());
        Figures {
            workers_active: lanes.len() - idle + busy + blocked,
            workers_idle: idle + threads.saturating_sub(busy),
            running: running + busy + blocked,
            resting: resting + blocked,
            unstarted: line + waiting,
            abandoned: self.abandoned.load(Ordering::Acquire),
            questions: 0,
        }
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.notify_waiters();
        self.arrived.notify_waiters();
        self.blocking.close();
        let mut line = lock(&self.line);
        line.clear();
        self.line_len.store(0, Ordering::Release);
    }
}
