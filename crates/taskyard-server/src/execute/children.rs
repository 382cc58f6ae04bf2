//! The executor of tasks that run in child processes: one queue of unstarted tasks, and children that take from it.
//!
//! A child is connected by a socket, which is its standard input, and speaks the protocol of [`frame`]; it never
//! accesses the database. Children are started when there is more work than the running ones can take, up to `max_workers`;
//! each runs up to `concurrency` tasks at once and holds some more ready. They exit when idle, after many tasks, or
//! when their memory has grown.
//!
//! # Invariants
//! - A task is ended exactly once, whatever its child sends or does; a task that has not started returns to the queue.
//! - A body whose end was written does not run any more: one that does not end in time is killed with its process,
//!   after the other bodies of that process have had their time. Those are released without being blamed.
//! - A child that died by itself is blamed: on its only started task as a crash; of several, each is to run alone. A
//!   child reports the start of a body before the body begins.
//! - No child outlives this process: its socket is closed, and the system kills it with the thread that started it.

mod capability_cache;
mod child;
mod child_pool;
pub mod frame;
mod hook_delivery;
mod process;
mod receive;
mod requests;
mod signed;
mod watchdog;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::seal::Keys;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Outcome, Signal};
use taskyard_core::{TaskId, TaskRecord, Token};
use tokio::sync::Notify;

use crate::ServerConfig;
use crate::attempt::Interrupt;
pub use crate::config::{ChildCommand, Embedded};
use crate::execute::capacity::{self, ThroughputEstimate};
use crate::execute::run_context::RunContext;
use crate::execute::{Executor, ExecutorStats, Queued};
use crate::layer::death_hooks::DeliveryResult;
use crate::primitives::lock::lock;
use child::{Assignment, Recall};
use child_pool::ChildPool;

/// Maximum time for which claimed tasks wait for the first child to become ready.
const COMING_UP: Duration = Duration::from_secs(15);

/// Runs the tasks of one runtime in child processes.
pub(crate) struct Children {
    run_context: Arc<RunContext>,
    command: ChildCommand,
    handle: tokio::runtime::Handle,
    pool: Mutex<ChildPool>,
    changed: Notify,
    throughput: ThroughputEstimate,
    /// Set when the server stops: no more children are started.
    leaving: AtomicBool,
    closing: AtomicBool,
}

impl Children {
    /// Creates the executor. The tasks that communicate with the children run on `handle`, whose thread must live as
    /// long as they do.
    pub fn new(run_context: Arc<RunContext>, command: ChildCommand, handle: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            run_context,
            command,
            handle,
            pool: Mutex::default(),
            changed: Notify::new(),
            throughput: ThroughputEstimate::default(),
            leaving: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.run_context.settings.get()
    }

    /// Number of tasks that one child holds ready in addition to its running ones.
    fn ahead(&self) -> usize {
        self.throughput.prefetch(1).min(self.config().claim_max)
    }

    fn keys(&self) -> Option<&dyn Keys> {
        self.run_context.client.as_ref().map(|client| client.keys().as_ref())
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Returns true if the server stops; the death of a child then does not count as a crash.
    fn is_stopping(&self) -> bool {
        *self.run_context.host.stopping.borrow()
    }

    /// Adopts the code fingerprint of a child that became ready as the server's build.
    fn is_of(&self, code: Option<&str>) {
        if let Some(code) = code.filter(|code| self.build_of(Some(code)).is_none()) {
            self.run_context.python_build.send_replace(code.to_owned());
        }
    }

    /// Returns the server's build if it is one of this code.
    fn build_of(&self, code: Option<&str>) -> Option<String> {
        let build = self.run_context.python_build.borrow().clone();
        let is_same = code.is_some_and(|code| build.split('/').next() == Some(code));
        is_same.then_some(build)
    }

    fn end_unstarted(&self, queued: Queued, outcome: Outcome) {
        queued.end(outcome, &self.run_context.host.outbox);
    }

    /// Assigns queued tasks, and starts another child if the running ones cannot take all of them.
    fn feed(self: &Arc<Self>, pool: &mut ChildPool) {
        let config = self.config();
        pool.hook_delivery.hand_out(&pool.children, Instant::now());
        pool.hand_out(config.concurrency.max(1), self.ahead());
        if self.is_closing()
            || self.leaving.load(Ordering::Acquire)
            || !pool.wants_another(config.max_workers.max(1), config.on_demand, Instant::now())
        {
            return;
        }
        if let Err(error) = process::start(self, pool, &config) {
            tracing::error!(%error, program = ?self.command.program, "cannot start a child process; trying again");
            pool.start_failed(Instant::now());
        }
    }
}

impl Executor for Arc<Children> {
    fn runtime(&self) -> Runtime {
        Runtime::Python
    }

    fn capacity(&self) -> usize {
        let config = self.config();
        let workers = config.max_workers.max(1);
        let pool = lock(&self.pool);
        // Nothing is claimed while children fail to start: another server may have working ones.
        if pool.is_broken() {
            return 0;
        }
        let counts = pool.counts();
        // A blocked child takes no tasks.
        let taking = workers.saturating_sub(counts.blocked);
        if taking == 0 {
            return 0;
        }
        let running = (counts.running - counts.released_slots).saturating_sub(counts.running_blocked);
        let free = (taking * config.concurrency.max(1)).saturating_sub(running);
        let ahead = self.throughput.prefetch(workers).min(config.claim_max * 2);
        capacity::capacity(free, ahead, counts.unstarted)
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn accept(&self, tasks: Vec<Queued>) {
        let tasks = self.verified(tasks);
        let mut pool = lock(&self.pool);
        pool.run_queue.extend(tasks);
        self.feed(&mut pool);
    }

    fn known(&self, reasons: &[String]) -> Vec<String> {
        self.known_of(reasons)
    }

    fn hears_deaths(&self) -> Option<bool> {
        self.hears()
    }

    fn deliver_death(&self, dead: TaskRecord) -> BoxFuture<'_, DeliveryResult> {
        self.deliver(&dead)
    }

    fn take_unstarted(&self, patience: Duration) -> Vec<Queued> {
        let now = Instant::now();
        let mut pool = lock(&self.pool);
        // The first child is starting, and an application may take a while to load. Releasing the tasks that wait for
        // it would only claim them again and again.
        let patience =
            if patience > Duration::ZERO && pool.is_coming_up() { patience.max(COMING_UP) } else { patience };
        let late = |queued: &Queued| now.saturating_duration_since(queued.since) >= patience;
        let mut taken = Vec::new();
        while pool.run_queue.front().is_some_and(late) {
            taken.extend(pool.run_queue.pop_front());
        }
        let recalled = pool.recall(Recall::GiveBack, late);
        if !taken.is_empty() || recalled > 0 {
            self.throughput.is_slow();
        }
        taken
    }

    fn signal(&self, signals: &[Signal]) {
        let meant: HashSet<(TaskId, Token)> = signals.iter().map(|signal| (signal.id, signal.token)).collect();
        if meant.is_empty() {
            return;
        }
        let is_meant = |queued: &Queued| meant.contains(&(queued.claimed.id, queued.claimed.token));
        let mut pool = lock(&self.pool);
        let (unstarted, line): (Vec<_>, Vec<_>) = std::mem::take(&mut pool.run_queue).into_iter().partition(&is_meant);
        pool.run_queue = line.into();
        pool.recall(Recall::Asked, is_meant);
        pool.interrupt(Interrupt::Asked, |attempt| meant.contains(&(attempt.claimed.id, attempt.claimed.token)));
        drop(pool);
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Interrupted);
        }
    }

    fn runs_alone(&self) -> bool {
        lock(&self.pool).children.values().any(|child| child.assignments.values().any(Assignment::is_alone))
    }

    fn interrupt_all(&self, why: Interrupt) {
        lock(&self.pool).interrupt(why, |_| true);
    }

    fn release_running(&self) {
        let mut pool = lock(&self.pool);
        let mut unstarted: Vec<Queued> = pool.run_queue.drain(..).collect();
        for child in pool.children.values_mut() {
            // The tasks may run elsewhere at once, so here they must not continue or begin.
            if !child.assignments.is_empty() {
                child.kill();
            }
            for assignment in std::mem::take(&mut child.assignments).into_values() {
                match assignment {
                    Assignment::Sent { queued, .. } => unstarted.push(*queued),
                    Assignment::Started { attempt, .. } => {
                        attempt.interrupt(Interrupt::Release);
                        attempt.end(Outcome::CutShort);
                    }
                }
            }
        }
        drop(pool);
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Released);
        }
    }

    fn watch(&self, now: Instant) {
        watchdog::watch(self, now);
    }

    fn stats(&self) -> ExecutorStats {
        let counts = lock(&self.pool).counts();
        ExecutorStats {
            workers_active: counts.active,
            workers_idle: counts.idle,
            running: counts.running,
            released_slots: counts.released_slots,
            unstarted: counts.unstarted,
            abandoned: 0,
            questions: counts.questions,
        }
    }

    fn renew(&self) {
        let now = Instant::now();
        let mut pool = lock(&self.pool);
        pool.children.values_mut().for_each(|child| child.leave_or_end(now));
        pool.renew();
        self.feed(&mut pool);
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        let now = Instant::now();
        lock(&self.pool).children.values_mut().for_each(|child| child.leave_or_end(now));
    }

    fn has_left(&self) -> bool {
        // An embedded child has no process whose exit could be awaited.
        lock(&self.pool).children.values().all(|child| child.pid.is_none())
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let mut pool = lock(&self.pool);
        pool.run_queue.clear();
        for child in pool.children.values() {
            child.kill();
        }
    }
}
