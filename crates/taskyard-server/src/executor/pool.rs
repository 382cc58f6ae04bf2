//! The executor of Rust tasks: workers on the caller's runtime, worker threads for bodies that cannot move between
//! threads, and threads for blocking bodies. Each kind has its own queue of unstarted tasks and its own concurrency
//! slots.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Outcome, Signal};
use taskyard_core::{TaskId, TaskRecord, Token};
use tokio::sync::Notify;

use super::blocking::Blocking;
use super::crew::Crew;
use super::room;
use super::running::Table;
use super::shared::{self, SharedRuntime};
use super::{Executor, Figures, Queued, local};
use crate::attempt::{Attempt, Interrupt};
use crate::engine::Engine;
use crate::hooks::Heard;
use crate::{Run, ServerConfig};

/// Values of `mostly`: the kind of workers that runs most of the last batch. Claims are sized for these.
const SHARED: u8 = 0;
const LOCAL: u8 = 1;
const BLOCKING: u8 = 2;

pub(crate) struct Pool {
    pub(super) engine: Arc<Engine>,
    /// The caller's runtime, if it has several threads; otherwise local workers run all async bodies.
    pub(super) runtime: Option<SharedRuntime>,
    /// Workers on that runtime.
    pub(super) shared: Crew,
    /// Worker threads, each with a runtime of its own.
    pub(super) local: Crew,
    pub(super) blocking: Blocking,
    pub(super) table: Table,
    pub(super) changed: Notify,
    /// Number of abandoned threads that have not returned.
    pub(super) abandoned: AtomicUsize,
    /// Number of these that are threads of the caller's runtime and cannot be replaced.
    pub(super) abandoned_shared: AtomicUsize,
    mostly: AtomicU8,
    closing: AtomicBool,
    pub(super) closed: Notify,
}

impl Pool {
    /// Creates the pool. `runtime` is the caller's, `own` the server's: the first available one is the current runtime
    /// of blocking bodies.
    pub fn new(engine: Arc<Engine>, runtime: Option<SharedRuntime>, own: &tokio::runtime::Handle) -> Arc<Self> {
        let found = runtime.as_ref().map_or(own, SharedRuntime::handle);
        let pool = Arc::new(Self {
            engine,
            blocking: Blocking::new(found.clone()),
            runtime,
            shared: Crew::new(shared::spawn),
            local: Crew::new(local::spawn),
            table: Table::default(),
            changed: Notify::new(),
            abandoned: AtomicUsize::new(0),
            abandoned_shared: AtomicUsize::new(0),
            mostly: AtomicU8::new(SHARED),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
        });
        shared::watch_runtime(&pool);
        pool
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.engine.settings.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn crews(&self) -> [&Crew; 2] {
        [&self.shared, &self.local]
    }

    /// Notes that an abandoned thread has returned.
    pub(super) fn came_back(&self, is_shared: bool) {
        self.abandoned.fetch_sub(1, Ordering::AcqRel);
        if is_shared {
            self.abandoned_shared.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Notes that a thread is abandoned.
    pub(super) fn give_up_thread(&self, is_shared: bool) {
        self.abandoned.fetch_add(1, Ordering::AcqRel);
        if is_shared {
            self.abandoned_shared.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Ends a task that has not started.
    fn end_unstarted(&self, queued: Queued, outcome: Outcome) {
        Attempt::new(queued.claimed, queued.claim, self.engine.clone()).end(outcome);
    }

    fn lines(&self) -> usize {
        self.crews().iter().map(|crew| crew.line.len()).sum()
    }

    /// Calls `f` for every attempt whose body is in its first poll.
    fn each_first_poll(&self, mut f: impl FnMut(&Arc<Attempt>)) {
        for crew in self.crews() {
            for worker in crate::engine::lock(&crew.workers).iter() {
                if let Some(attempt) = worker.polls().current() {
                    f(&attempt);
                }
            }
        }
    }
}

impl Executor for Arc<Pool> {
    fn runtime(&self) -> Runtime {
        Runtime::Rust
    }

    fn room(&self) -> usize {
        let config = self.config();
        let workers = config.workers.max(1);
        let (blocked, lines) = (self.blocking.waiting(), self.lines());
        if blocked > 0 && self.blocking.pace.is_behind(blocked, workers) {
            return 0;
        }
        let ahead_max = config.claim_max * 2;
        let mostly = self.mostly.load(Ordering::Acquire);
        if mostly == BLOCKING {
            let free = workers.saturating_sub(self.blocking.busy());
            return room::room(free, self.blocking.pace.prefetch(workers).min(ahead_max), blocked + lines);
        }
        let crew = if mostly == LOCAL { &self.local } else { &self.shared };
        let others = lines - crew.line.len().min(lines);
        if others > 0 && others >= workers * config.concurrency.max(1) {
            return 0;
        }
        if mostly == SHARED && self.runtime.as_ref().is_some_and(SharedRuntime::is_blocked) {
            return 0;
        }
        let prefetch = crew.pace.prefetch(crew.responsive(workers)).min(ahead_max);
        room::room(crew.free_places(&config), prefetch, blocked + lines)
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn accept(&self, tasks: Vec<Queued>) {
        let (mut shared, mut local, mut blocking) = (Vec::new(), Vec::new(), Vec::new());
        for queued in tasks {
            match queued.function().run {
                Run::Async(_) if self.runtime.is_some() => shared.push(queued),
                Run::Async(_) | Run::Local(_) => local.push(queued),
                Run::Blocking(_) => blocking.push(queued),
            }
        }
        // The last one among equals.
        let mostly = [(blocking.len(), BLOCKING), (local.len(), LOCAL), (shared.len(), SHARED)];
        if let Some((_, mostly)) = mostly.into_iter().max_by_key(|(count, _)| *count) {
            self.mostly.store(mostly, Ordering::Release);
        }
        self.shared.accept(self, shared);
        self.local.accept(self, local);
        if !blocking.is_empty() {
            self.blocking.accept(self, blocking);
        }
    }

    fn take_unstarted(&self, patience: Duration) -> Vec<Queued> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for crew in self.crews() {
            let older = crew.line.take_older(now, patience);
            if !older.is_empty() {
                crew.pace.is_slow();
            }
            taken.extend(older);
        }
        let older = self.blocking.take_unstarted(now, patience);
        if !older.is_empty() {
            self.blocking.pace.is_slow();
        }
        taken.extend(older);
        taken
    }

    fn signal(&self, signals: &[Signal]) {
        let mut meant: HashSet<(TaskId, Token)> = signals.iter().map(|signal| (signal.id, signal.token)).collect();
        if meant.is_empty() {
            return;
        }
        let mut unstarted = self.blocking.take_meant(&mut meant);
        for crew in self.crews() {
            unstarted.extend(crew.line.take_meant(&mut meant));
        }
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Interrupted);
        }
        for (id, token) in &meant {
            if let Some(running) = self.table.get(*id, *token) {
                running.attempt.interrupt(Interrupt::Asked);
            }
        }
        self.each_first_poll(|attempt| {
            if meant.contains(&(attempt.id(), attempt.claimed.token)) {
                attempt.interrupt(Interrupt::Asked);
            }
        });
    }

    fn known(&self, reasons: &[String]) -> Vec<String> {
        reasons.iter().filter(|reason| self.engine.registry.knows_reason(reason)).cloned().collect()
    }

    fn hears_deaths(&self) -> Option<bool> {
        Some(!self.engine.registry.death_hooks().is_empty())
    }

    fn tell_death(&self, dead: TaskRecord) -> BoxFuture<'_, Heard> {
        let runtime = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        Box::pin(self.engine.registry.death_hooks().tell_apart(dead, runtime))
    }

    fn interrupt_all(&self, why: Interrupt) {
        for running in self.table.all() {
            running.attempt.interrupt(why);
        }
        self.each_first_poll(|attempt| attempt.interrupt(why));
    }

    fn release_running(&self) {
        let release = |attempt: &Arc<Attempt>| {
            attempt.interrupt(Interrupt::Release);
            attempt.end(Outcome::CutShort);
        };
        for running in self.table.all() {
            release(&running.attempt);
        }
        self.each_first_poll(release);
    }

    fn watch(&self, now: Instant) {
        super::watchdog::watch(self, now);
    }

    fn worn_out(&self, abandoned_max: usize) -> Option<usize> {
        let reached = |count: usize, max: usize| (max > 0 && count >= max).then_some(count);
        let runtime = self.runtime.as_ref().filter(|runtime| runtime.is_blocked());
        // All threads are abandoned, or one is while the others are blocked by something else.
        let enough = |runtime: &SharedRuntime| if runtime.is_lost(Instant::now()) { 1 } else { runtime.threads() };
        reached(self.abandoned.load(Ordering::Acquire), abandoned_max)
            .or_else(|| reached(self.abandoned_shared.load(Ordering::Acquire), runtime.map_or(usize::MAX, enough)))
    }

    fn has_lost_its_runtime(&self) -> bool {
        self.runtime.as_ref().is_some_and(SharedRuntime::is_gone)
    }

    fn figures(&self) -> Figures {
        // In the order in which tasks move, so that one that moves meanwhile is counted at least once.
        let lines = self.lines();
        let mut figures = Figures { unstarted: lines, ..Figures::default() };
        for crew in self.crews() {
            for worker in crate::engine::lock(&crew.workers).iter() {
                if worker.is_idle() {
                    figures.workers_idle += 1;
                } else {
                    figures.workers_active += 1;
                }
                figures.running += worker.tasks();
                figures.resting += worker.resting();
            }
        }
        let blocked = self.blocking.resting();
        figures.unstarted += self.blocking.waiting();
        let (threads, busy) = (self.blocking.threads(), self.blocking.busy());
        figures.workers_active += busy + blocked;
        figures.workers_idle += threads.saturating_sub(busy);
        figures.running += busy + blocked;
        figures.resting += blocked;
        figures.abandoned = self.abandoned.load(Ordering::Acquire);
        figures
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.notify_waiters();
        // Bodies on the caller's runtime are dropped too.
        self.interrupt_all(Interrupt::Release);
        for crew in self.crews() {
            crew.line.arrived.notify_waiters();
        }
        self.blocking.close();
        for crew in self.crews() {
            crew.line.clear();
        }
    }
}
