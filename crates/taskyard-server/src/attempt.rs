//! One running attempt inside this process: its claim, whether it was asked to end, and what it wants stored.
//!
//! An attempt is decided exactly once here ([`Attempt::conclude`]): by its body's end, by the watchdog that gave its
//! thread up, or by the shutdown that released it. Whoever comes later is ignored, as the database would ignore it.

mod additions;
mod failure_log;
mod live;
mod verdict;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use taskyard_core::client::additions::Additions;
use taskyard_core::rest::SlotRelease;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Claimed, Finish, Outcome, WriteReply};
use taskyard_core::{ClaimId, Client, Failure, TaskId};
use tokio::sync::{Notify, oneshot};
use tracing::Span;

pub(crate) use failure_log::{FailureLog, ParkedLog};
pub(crate) use live::{Live, line_bytes};
pub(crate) use verdict::{End, judge};

use crate::engine::{Ended, Engine, lock};
use crate::{TaskContext, panics, task_context};

/// Why a running attempt is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Interrupt {
    /// Someone asked to cancel or stop it.
    Asked = 1,
    /// The server stops, or its lease is over: the task goes back uncharged.
    Release = 2,
    /// A blocking body's time is over.
    Timeout = 3,
}

/// A place that running bodies take.
pub(crate) trait ConcurrencySlot: Send + Sync {
    /// Gives the place of this attempt's body to others until the answer is dropped.
    fn release(&self, attempt: Arc<Attempt>) -> SlotRelease;
}

pub(crate) struct Attempt {
    pub claimed: Claimed,
    pub claim: ClaimId,
    pub engine: Arc<Engine>,
    decided: AtomicBool,
    interrupt: AtomicU8,
    interrupted_at: OnceLock<Instant>,
    bell: Notify,
    /// Rings when a record of this attempt was written.
    recorded: Notify,
    /// Whether `live` was ever used: an attempt that neither logs nor sets context takes no lock at its end.
    touched: AtomicBool,
    live: Mutex<Live>,
    /// The place that its body takes, if it takes one of this process.
    slot: Option<Arc<dyn ConcurrencySlot>>,
    /// How many tasks its body waits for.
    rests: AtomicUsize,
    /// The span that a body of this process runs in.
    span: OnceLock<Span>,
    /// Its child logs how it failed.
    logged_elsewhere: AtomicBool,
    /// The additions of its body; made when the body adds without waiting or asks for the client.
    additions: OnceLock<Arc<Additions>>,
    client: OnceLock<Box<Client>>,
    is_settling: AtomicBool,
}

impl Attempt {
    pub fn new(claimed: Claimed, claim: ClaimId, engine: Arc<Engine>) -> Arc<Self> {
        Self::made(None, claimed, claim, engine)
    }

    /// An attempt whose body takes a place of this process.
    pub fn with_slot(
        slot: Arc<dyn ConcurrencySlot>,
        claimed: Claimed,
        claim: ClaimId,
        engine: Arc<Engine>,
    ) -> Arc<Self> {
        Self::made(Some(slot), claimed, claim, engine)
    }

    fn made(
        slot: Option<Arc<dyn ConcurrencySlot>>,
        claimed: Claimed,
        claim: ClaimId,
        engine: Arc<Engine>,
    ) -> Arc<Self> {
        Arc::new(Self {
            slot,
            claimed,
            claim,
            engine,
            decided: AtomicBool::new(false),
            interrupt: AtomicU8::new(0),
            interrupted_at: OnceLock::new(),
            bell: Notify::new(),
            recorded: Notify::new(),
            touched: AtomicBool::new(false),
            live: Mutex::default(),
            rests: AtomicUsize::new(0),
            span: OnceLock::new(),
            logged_elsewhere: AtomicBool::new(false),
            additions: OnceLock::new(),
            client: OnceLock::new(),
            is_settling: AtomicBool::new(false),
        })
    }

    pub fn id(&self) -> TaskId {
        self.claimed.id
    }

    /// Asks the body to end; the first reason counts.
    pub fn interrupt(&self, why: Interrupt) {
        if self.interrupt.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let _ = self.interrupted_at.set(Instant::now());
            self.bell.notify_waiters();
        }
    }

    /// Wakes the tasks that wait for its interruption, so that one that is not needed any more ends.
    pub fn wake(&self) {
        self.bell.notify_waiters();
    }

    /// Why it is to end, if it is.
    pub fn interrupted(&self) -> Option<Interrupt> {
        match self.interrupt.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Interrupt::Asked),
            2 => Some(Interrupt::Release),
            _ => Some(Interrupt::Timeout),
        }
    }

    pub fn interrupted_at(&self) -> Option<Instant> {
        self.interrupted_at.get().copied()
    }

    /// Waits until it is to end.
    pub async fn until_interrupted(&self) -> Interrupt {
        loop {
            let notified = self.bell.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(why) = self.interrupted() {
                return why;
            }
            notified.await;
        }
    }

    /// Runs a piece of its body: in its span, known to [`TaskContext::current`]; a panic becomes a failure.
    pub fn run<T>(self: &Arc<Self>, piece: impl FnOnce() -> T) -> Result<T, Failure> {
        let _entered = task_context::enter(&TaskContext(self.clone()));
        let _span = self.span.get_or_init(|| self.open_span()).enter();
        panics::catch(piece)
    }

    /// A root: what encloses it where the body happens to be polled means nothing.
    fn open_span(&self) -> Span {
        let Claimed { id, kind, queue, attempt, .. } = &self.claimed;
        tracing::info_span!(target: "taskyard::task", parent: None, "task", %id, kind, queue, attempt)
    }

    /// Gives the place of its body to others, if it takes one.
    pub fn release_slot(self: Arc<Self>) -> Option<SlotRelease> {
        let slot = self.slot.clone()?;
        Some(slot.release(self))
    }

    /// Its body begins to wait for another task; whether it waited for none before.
    pub fn begin_rest(&self) -> bool {
        self.rests.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// Its body has waited; whether it waits for none any more.
    pub fn end_rest(&self) -> bool {
        self.rests.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Its failure is not to be logged by this server.
    pub fn log_elsewhere(&self) {
        self.logged_elsewhere.store(true, Ordering::Release);
    }

    /// What is to be logged once this outcome is stored.
    fn failure_log(&self, outcome: &Outcome) -> Option<Box<FailureLog>> {
        match outcome {
            Outcome::Done { .. } => None,
            Outcome::Refused { reason, build } => {
                let runtime = if *build == self.engine.rust_build { Runtime::Rust } else { Runtime::Python };
                self.engine.parked.write(reason, runtime, self.engine.registry.namespace());
                None
            }
            Outcome::Parked { reason } => {
                self.engine.parked.write(reason, Runtime::Python, self.engine.registry.namespace());
                None
            }
            _ if self.logged_elsewhere.load(Ordering::Acquire) => None,
            outcome => FailureLog::of(&self.claimed, outcome),
        }
    }

    /// Its body is given up: how it goes on waiting has no effect. Whether it waited for any.
    pub fn forget_rests(&self) -> bool {
        // Neither number of waits from here on is the first or the last.
        self.rests.swap(usize::MAX / 2, Ordering::AcqRel) > 0
    }

    pub fn is_decided(&self) -> bool {
        self.decided.load(Ordering::Acquire)
    }

    /// Runs `f` on what the attempt wants stored.
    pub fn live<T>(&self, f: impl FnOnce(&mut Live) -> T) -> T {
        self.touched.store(true, Ordering::Release);
        f(&mut lock(&self.live))
    }

    /// Puts the attempt before the recorder, once.
    pub fn offer(self: &Arc<Self>) {
        if self.engine.store.is_some() && !self.live(|live| std::mem::replace(&mut live.queued, true)) {
            self.engine.records.push(self.clone());
        }
    }

    /// Returns at the next record of this attempt that was written, or at its end.
    pub fn recorded(&self) -> tokio::sync::futures::Notified<'_> {
        self.recorded.notified()
    }

    /// A record of this attempt was answered.
    pub fn ring_recorded(&self) {
        self.recorded.notify_waiters();
    }

    /// Decides the attempt. `None` if it was decided before, or if its end must wait for a record in flight (the
    /// recorder then sends it).
    pub fn conclude(&self, outcome: Outcome) -> Option<Ended> {
        self.conclude_told(outcome, None)
    }

    /// The same, telling what the store said of it; nothing is told if it was decided before.
    fn conclude_told(&self, outcome: Outcome, answer: Option<oneshot::Sender<WriteReply>>) -> Option<Ended> {
        if self.decided.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.leave_additions();
        let failure = self.failure_log(&outcome);
        let finish =
            Finish { id: self.claimed.id, token: self.claimed.token, outcome, context: None, logs: Vec::new() };
        let mut ended = Ended { finish, claim: self.claim, answer, refusal: None, failure };
        if self.touched.load(Ordering::Acquire) {
            let mut live = lock(&self.live);
            self.recorded.notify_waiters();
            if live.recording {
                self.engine.parting.fetch_add(1, Ordering::AcqRel);
                live.parting = Some(ended);
                return None;
            }
            live.part(&mut ended.finish, self.claimed.attempt, &self.engine.limits());
        }
        Some(ended)
    }

    /// Decides the attempt and sends its end on its way.
    pub fn end(&self, outcome: Outcome) {
        if let Some(ended) = self.conclude(outcome) {
            self.engine.ends.push(ended);
        }
    }

    /// The same; what comes is what the store said of it, and an error if it was decided before.
    pub fn end_told(&self, outcome: Outcome) -> oneshot::Receiver<WriteReply> {
        let (answer, told) = oneshot::channel();
        if let Some(ended) = self.conclude_told(outcome, Some(answer)) {
            self.engine.ends.push(ended);
        }
        told
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("id", &self.claimed.id)
            .field("kind", &self.claimed.kind)
            .field("attempt", &self.claimed.attempt)
            .finish_non_exhaustive()
    }
}
