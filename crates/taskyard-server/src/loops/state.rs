//! State shared by a server's loops: its identity, lease, phase and counters.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskyard_core::store::{Outcome, Serves, Store};
use taskyard_core::{Error, ServerId, TaskState};
use tokio::sync::{Notify, watch};

use crate::ServerConfig;
use crate::attempt::Interrupt;
use crate::execute::run_context::RunContext;
use crate::execute::{Executor, ExecutorStats, Queued};
use crate::loops::completer::Claims;
use crate::primitives::clock;
use crate::primitives::lock::lock;

/// Delay of the claim that follows one which passed over locked tasks.
const CLAIM_LATER: Duration = Duration::from_secs(1);

/// Phase in the life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Claims and runs tasks.
    Running,
    /// Claims nothing more; running tasks may continue for the grace period.
    Draining,
    /// The grace period has been ended early.
    Hastened,
    /// Drops everything, as if the process were killed.
    Aborted,
}

/// State of the lease, as observed by the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Valid.
    Good,
    /// No successful heartbeat for some time: nothing is claimed.
    Doubtful,
    /// The lease may be over: nothing runs.
    Over,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub by_state: [AtomicU64; 7],
    pub lost: AtomicU64,
    pub claims: AtomicU64,
    pub claimed: AtomicU64,
    pub writes: AtomicU64,
    /// Number of ends that the database has replied to.
    pub ends: AtomicU64,
    /// Number of ends that the database refuses and that are retried.
    pub held: AtomicUsize,
    /// The last error of a refused end.
    pub held_reason: Mutex<Option<String>>,
    pub given_back: AtomicU64,
    pub rescued: AtomicU64,
    pub reborn: AtomicU64,
}

impl Counters {
    pub fn ended(&self, state: TaskState) {
        let index = TaskState::ALL.iter().position(|other| *other == state).unwrap_or(0);
        self.by_state[index].fetch_add(1, Ordering::Relaxed);
    }
}

/// State shared by the loops of one server.
pub(crate) struct State {
    pub run_context: Arc<RunContext>,
    pub store: Arc<dyn Store>,
    pub executors: Vec<Box<dyn Executor>>,
    pub claims: Claims,
    pub counters: Counters,
    /// Changes when the server was declared dead and registered again.
    pub identity: watch::Sender<ServerId>,
    pub phase: watch::Sender<Phase>,
    pub lease: watch::Sender<Lease>,
    /// Requests a heartbeat now.
    pub beat_now: Notify,
    /// Requests a claim from all fetchers now.
    pub claim_now: watch::Sender<u64>,
    /// Set while a delayed claim is scheduled.
    claims_later: AtomicBool,
    /// Number of claimed tasks whose arguments are being filled with the results that they refer to.
    pub filling: AtomicUsize,
    /// Number of ends that are not written yet.
    pub unwritten: AtomicUsize,
    /// Notified when ends were written.
    pub written: watch::Sender<u64>,
    /// Set when too many threads were abandoned.
    pub worn_out: AtomicBool,
    /// Why the database can never be used again through this process, once that is so.
    lost: watch::Sender<Option<Error>>,
    /// True once the heartbeat has ended; the lease is no longer renewed.
    pub beat_ended: watch::Sender<bool>,
    /// Held while dead letters are passed to hooks.
    pub hook_delivery: tokio::sync::Mutex<()>,
    /// The builds and queues that the database has stored for this server, and under which id.
    pub stored_serves: Mutex<Option<(ServerId, Serves)>>,
    last_beat: Mutex<Duration>,
}

impl State {
    pub fn new(
        run_context: Arc<RunContext>,
        store: Arc<dyn Store>,
        executors: Vec<Box<dyn Executor>>,
        id: ServerId,
    ) -> Self {
        Self {
            run_context,
            store,
            executors,
            claims: Claims::default(),
            counters: Counters::default(),
            identity: watch::Sender::new(id),
            phase: watch::Sender::new(Phase::Running),
            lease: watch::Sender::new(Lease::Good),
            beat_now: Notify::new(),
            claim_now: watch::Sender::new(0),
            claims_later: AtomicBool::new(false),
            filling: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            written: watch::Sender::new(0),
            worn_out: AtomicBool::new(false),
            lost: watch::Sender::new(None),
            beat_ended: watch::Sender::new(false),
            hook_delivery: tokio::sync::Mutex::default(),
            stored_serves: Mutex::new(None),
            last_beat: Mutex::new(clock::elapsed()),
        }
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.run_context.settings.get()
    }

    pub fn id(&self) -> ServerId {
        *self.identity.borrow()
    }

    /// Returns the builds and queues that this server serves now.
    pub fn serves(&self) -> Serves {
        self.run_context.serves()
    }

    /// Notes that the database has stored the builds and queues under this id.
    pub fn note_serves(&self, id: ServerId, serves: Serves) {
        *lock(&self.stored_serves) = Some((id, serves));
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves to a later phase, never back.
    pub fn advance(&self, to: Phase) {
        if to >= Phase::Draining {
            self.run_context.host.stopping.send_replace(true);
        }
        self.phase.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    /// Returns once the phase is this one or a later one.
    pub async fn reached(&self, phase: Phase) {
        let mut watch = self.phase.subscribe();
        // Cannot fail: the sender lives in `self`.
        let _ = watch.wait_for(|now| *now >= phase).await;
    }

    /// Ends the server if the error means that the database can never be used again through this process.
    pub fn note(&self, error: &Error) {
        if error.is_permanent() && self.lost.borrow().is_none() {
            self.lost.send_replace(Some(error.clone()));
        }
    }

    /// Returns once the database is lost, with the reason.
    pub async fn database_lost(&self) -> Error {
        let mut watch = self.lost.subscribe();
        match watch.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(Error::ShutDown("the database has been shut down")),
            // Unreachable: the sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    pub fn may_claim(&self) -> bool {
        self.phase() == Phase::Running && *self.lease.borrow() == Lease::Good
    }

    /// Returns the host's time at which the last successful heartbeat was sent.
    pub fn last_beat(&self) -> Duration {
        *lock(&self.last_beat)
    }

    pub fn set_last_beat(&self, at: Duration) {
        *lock(&self.last_beat) = at;
    }

    pub fn request_claim(&self) {
        self.claim_now.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Requests a claim from the fetchers after a pause: tasks that were locked may be free by then.
    pub fn request_claim_later(self: &Arc<Self>) {
        if self.claims_later.swap(true, Ordering::AcqRel) {
            return;
        }
        let state = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(CLAIM_LATER).await;
            state.claims_later.store(false, Ordering::Release);
            state.request_claim();
        });
    }

    /// Releases tasks that have not started; no attempt is charged.
    pub fn give_back(&self, tasks: Vec<Queued>) {
        self.counters.given_back.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        let outbox = &self.run_context.host.outbox;
        let ended = |queued: Queued| outbox.ended(&queued.claimed, queued.claim, Outcome::Released);
        outbox.ends.append(&mut tasks.into_iter().map(ended).collect());
    }

    /// Releases all tasks that have not started, and interrupts the running ones.
    pub fn drop_work(&self, why: Interrupt) {
        for executor in &self.executors {
            self.give_back(executor.take_unstarted(Duration::ZERO));
            executor.interrupt_all(why);
        }
    }

    /// Returns the sums over all executors.
    pub fn stats(&self) -> ExecutorStats {
        let filling = self.filling.load(Ordering::Acquire);
        let begin = ExecutorStats { unstarted: filling, ..ExecutorStats::default() };
        self.executors.iter().map(|executor| executor.stats()).fold(begin, |sum, one| ExecutorStats {
            workers_active: sum.workers_active + one.workers_active,
            workers_idle: sum.workers_idle + one.workers_idle,
            running: sum.running + one.running,
            released_slots: sum.released_slots + one.released_slots,
            unstarted: sum.unstarted + one.unstarted,
            abandoned: sum.abandoned + one.abandoned,
            questions: sum.questions + one.questions,
        })
    }

    /// Returns the number of ends that are not written yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Acquire) + self.run_context.host.outbox.unwritten()
    }
}
