//! [`Pool`]: one executor for three kinds of workers. Each kind has its own queue of unstarted tasks and its own concurrency slots.

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
use super::local_workers;
use super::running::Table;
use super::shared_workers::{self, SharedRuntime};
use super::worker_group::WorkerGroup;
use crate::attempt::{Attempt, Interrupt};
use crate::execute::capacity;
use crate::execute::run_context::RunContext;
use crate::execute::{Executor, ExecutorStats, Queued};
use crate::layer::Layers;
use crate::layer::death_hooks::DeliveryResult;
use crate::primitives::lock::lock;
use crate::{Run, ServerConfig};

/// Values of `mostly`: the kind of workers that runs most of the last batch. Claims are sized for these.
const SHARED: u8 = 0;
const LOCAL: u8 = 1;
const BLOCKING: u8 = 2;

pub(crate) struct Pool {
    pub(super) run_context: Arc<RunContext>,
    /// The caller's runtime, if it has several threads; otherwise local workers run all async bodies.
    pub(super) runtime: Option<SharedRuntime>,
    /// Workers on that runtime.
    pub(super) shared: WorkerGroup,
    /// Worker threads, each with a runtime of its own.
    pub(super) local: WorkerGroup,
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
    pub fn new(
        run_context: Arc<RunContext>,
        runtime: Option<SharedRuntime>,
        own: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let found = runtime.as_ref().map_or(own, SharedRuntime::handle);
        let pool = Arc::new(Self {
            run_context,
            blocking: Blocking::new(found.clone()),
            runtime,
            shared: WorkerGroup::new(shared_workers::spawn),
            local: WorkerGroup::new(local_workers::spawn),
            table: Table::default(),
            changed: Notify::new(),
            abandoned: AtomicUsize::new(0),
            abandoned_shared: AtomicUsize::new(0),
            mostly: AtomicU8::new(SHARED),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
        });
        shared_workers::watch_runtime(&pool);
        pool
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.run_context.settings.get()
    }

    pub(super) fn layers(&self) -> &Layers {
        self.run_context.registry.layers()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn worker_groups(&self) -> [&WorkerGroup; 2] {
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
        queued.end(outcome, &self.run_context.host.outbox);
    }

    fn queued(&self) -> usize {
        self.worker_groups().iter().map(|worker_group| worker_group.run_queue.len()).sum()
    }

    /// Calls `f` for every attempt whose body is in its first poll.
    fn each_first_poll(&self, mut f: impl FnMut(&Arc<Attempt>)) {
        for worker_group in self.worker_groups() {
            for worker in lock(&worker_group.workers).iter() {
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

    fn capacity(&self) -> usize {
        let config = self.config();
        let workers = config.max_workers.max(1);
        let (blocked, queued) = (self.blocking.waiting(), self.queued());
        if blocked > 0 && self.blocking.throughput.is_behind(blocked, workers) {
            return 0;
        }
        let ahead_max = config.claim_max * 2;
        let mostly = self.mostly.load(Ordering::Acquire);
        if mostly == BLOCKING {
            let free = workers.saturating_sub(self.blocking.busy());
            return capacity::capacity(
                free,
                self.blocking.throughput.prefetch(workers).min(ahead_max),
                blocked + queued,
            );
        }
        let worker_group = if mostly == LOCAL { &self.local } else { &self.shared };
        let others = queued - worker_group.run_queue.len().min(queued);
        if others > 0 && others >= workers * config.concurrency.max(1) {
            return 0;
        }
        if mostly == SHARED && self.runtime.as_ref().is_some_and(SharedRuntime::is_blocked) {
            return 0;
        }
        let prefetch = worker_group.throughput.prefetch(worker_group.responsive(workers)).min(ahead_max);
        capacity::capacity(worker_group.free_places(&config), prefetch, blocked + queued)
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
        for worker_group in self.worker_groups() {
            let older = worker_group.run_queue.take_older(now, patience);
            if !older.is_empty() {
                worker_group.throughput.is_slow();
            }
            taken.extend(older);
        }
        let older = self.blocking.take_unstarted(now, patience);
        if !older.is_empty() {
            self.blocking.throughput.is_slow();
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
        for worker_group in self.worker_groups() {
            unstarted.extend(worker_group.run_queue.take_meant(&mut meant));
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
        reasons.iter().filter(|reason| self.run_context.registry.knows_reason(reason)).cloned().collect()
    }

    fn hears_deaths(&self) -> Option<bool> {
        Some(!self.run_context.registry.death_hooks().is_empty())
    }

    fn deliver_death(&self, dead: TaskRecord) -> BoxFuture<'_, DeliveryResult> {
        let runtime = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        Box::pin(self.run_context.registry.death_hooks().call_apart(dead, runtime))
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

    fn stats(&self) -> ExecutorStats {
        // In the order in which tasks move, so that one that moves meanwhile is counted at least once.
        let queued = self.queued();
        let mut stats = ExecutorStats { unstarted: queued, ..ExecutorStats::default() };
        for worker_group in self.worker_groups() {
            for worker in lock(&worker_group.workers).iter() {
                if worker.is_idle() {
                    stats.workers_idle += 1;
                } else {
                    stats.workers_active += 1;
                }
                stats.running += worker.tasks();
                stats.released_slots += worker.released_slots();
            }
        }
        let blocked = self.blocking.released_slots();
        stats.unstarted += self.blocking.waiting();
        let (threads, busy) = (self.blocking.threads(), self.blocking.busy());
        stats.workers_active += busy + blocked;
        stats.workers_idle += threads.saturating_sub(busy);
        stats.running += busy + blocked;
        stats.released_slots += blocked;
        stats.abandoned = self.abandoned.load(Ordering::Acquire);
        stats
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.notify_waiters();
        // Bodies on the caller's runtime are dropped too.
        self.interrupt_all(Interrupt::Release);
        for worker_group in self.worker_groups() {
            worker_group.run_queue.arrived.notify_waiters();
        }
        self.blocking.close();
        for worker_group in self.worker_groups() {
            worker_group.run_queue.clear();
        }
    }
}
