//! A running attempt inside this process: its claim, any request to end it, and the data that it wants stored.
//!
//! An attempt is decided exactly once here ([`Attempt::conclude`]): by the end of its body, by the watchdog that gave
//! up its thread, or by the shutdown that released it. Later decisions are ignored, as the database would ignore them.
//!
//! The room owns everything that one attempt is: its unstored data (`live`, `gauge`), the way from the end of a body to an outcome
//! (`resolve`, `task_error`, `additions`), what leaves it (`ended`, `outbox`) and what its process provides (`host`). A claimed task
//! that never begins needs no attempt: [`Outbox::ended`] makes its end. Not here: which function runs, where, and in which layers.
//!
//! Imports `config` and `primitives` only.

mod additions;
pub(crate) mod body;
pub(crate) mod current;
mod ended;
mod failure_log;
mod gauge;
mod hook_tasks;
mod host;
mod live;
mod outbox;
pub(crate) mod parked_reason;
mod resolve;
pub(crate) mod states;
pub(crate) mod task_error;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use taskyard_core::client::additions::Additions;
use taskyard_core::concurrency_slot::SlotRelease;
use taskyard_core::store::{Claimed, Outcome, WriteReply};
use taskyard_core::{ClaimId, Client, Failure, TaskId};
use tokio::sync::{Notify, oneshot};
use tracing::Span;

use body::Function;
pub(crate) use ended::{Ended, Refusal, line_bytes};
pub(crate) use failure_log::{FailureLog, ParkedLog};
pub(crate) use gauge::Gauge;
pub(crate) use hook_tasks::HookTasks;
pub(crate) use host::Host;
pub(crate) use live::Live;
pub(crate) use outbox::Outbox;
pub(crate) use resolve::{End, resolve_outcome};

use crate::TaskError;
use crate::primitives::lock::lock;
use crate::primitives::panics;

/// Why a running attempt is to end early. Its names are words on the wire to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Interrupt {
    /// A cancel or stop was requested.
    Asked = 1,
    /// The server stops or its lease is over: the task is released and no attempt is charged.
    Release = 2,
    /// The time limit of a body that this process cannot drop has passed.
    Timeout = 3,
}

/// A concurrency slot of this process that a running body occupies.
pub(crate) trait ConcurrencySlot: Send + Sync {
    /// Releases the slot of this attempt's body until the returned guard is dropped.
    fn release(&self, attempt: Arc<Attempt>) -> SlotRelease;
}

/// A claimed task and the state of its execution in this process.
pub(crate) struct Attempt {
    pub claimed: Claimed,
    pub claim: ClaimId,
    pub host: Arc<Host>,
    /// The function, if the body runs in this process.
    pub function: Option<&'static dyn Function>,
    decided: AtomicBool,
    interrupt: AtomicU8,
    interrupted_at: OnceLock<Instant>,
    notify: Notify,
    /// Notified when a record of this attempt was written.
    recorded: Notify,
    /// Whether `live` was ever used: an attempt that neither logs nor sets context takes no lock at its end.
    touched: AtomicBool,
    live: Mutex<Live>,
    /// The concurrency slot that its body occupies, if it occupies one of this process.
    slot: Option<Arc<dyn ConcurrencySlot>>,
    /// Number of tasks that its body currently waits for.
    rests: AtomicUsize,
    /// The span that the body runs in, if it runs in this process.
    span: OnceLock<Span>,
    /// Set if the child process logs the failure.
    logged_elsewhere: AtomicBool,
    /// The additions of its body; made when the body adds without waiting or asks for the client.
    additions: OnceLock<Arc<Additions>>,
    client: OnceLock<Box<Client>>,
    is_settling: AtomicBool,
    /// The failure of a body that ended with open additions.
    failed: OnceLock<Box<TaskError>>,
}

impl Attempt {
    /// Creates the attempt of a claimed task. `function` and `slot`: if the body runs in this process, and if it occupies one of the
    /// process's concurrency slots.
    pub fn new(
        host: Arc<Host>,
        claimed: Claimed,
        claim: ClaimId,
        function: Option<&'static dyn Function>,
        slot: Option<Arc<dyn ConcurrencySlot>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            slot,
            claimed,
            claim,
            host,
            function,
            decided: AtomicBool::new(false),
            interrupt: AtomicU8::new(0),
            interrupted_at: OnceLock::new(),
            notify: Notify::new(),
            recorded: Notify::new(),
            touched: AtomicBool::new(false),
            live: Mutex::default(),
            rests: AtomicUsize::new(0),
            span: OnceLock::new(),
            logged_elsewhere: AtomicBool::new(false),
            additions: OnceLock::new(),
            client: OnceLock::new(),
            is_settling: AtomicBool::new(false),
            failed: OnceLock::new(),
        })
    }

    pub fn id(&self) -> TaskId {
        self.claimed.id
    }

    /// Requests that the body end; only the first reason is recorded.
    pub fn interrupt(&self, why: Interrupt) {
        if self.interrupt.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let _ = self.interrupted_at.set(Instant::now());
            self.notify.notify_waiters();
        }
    }

    /// Wakes the tasks that wait for an interrupt, so that those which are no longer needed can end.
    pub fn wake(&self) {
        self.notify.notify_waiters();
    }

    /// Returns why the attempt is to end, if it is.
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

    /// Waits until the attempt is to end.
    pub async fn until_interrupted(&self) -> Interrupt {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(why) = self.interrupted() {
                return why;
            }
            notified.await;
        }
    }

    /// Runs a piece of the body inside its span and as [`crate::TaskContext::current`]. A panic is returned as a failure.
    pub fn run<T>(self: &Arc<Self>, piece: impl FnOnce() -> T) -> Result<T, Failure> {
        let _entered = current::enter(self);
        let _span = self.span.get_or_init(|| self.open_span()).enter();
        panics::catch(piece)
    }

    /// Opens a root span: the spans that happen to be entered where the body is polled are unrelated to it.
    fn open_span(&self) -> Span {
        let Claimed { id, kind, queue, attempt, .. } = &self.claimed;
        tracing::info_span!(target: "taskyard::task", parent: None, "task", %id, kind, queue, attempt)
    }

    /// Releases the concurrency slot of its body, if it occupies one.
    pub fn release_slot(self: Arc<Self>) -> Option<SlotRelease> {
        let slot = self.slot.clone()?;
        Some(slot.release(self))
    }

    /// Records that the body begins to wait for another task. Returns true if it waited for none before.
    pub fn begin_rest(&self) -> bool {
        self.rests.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// Records that a wait of the body has ended. Returns true if it no longer waits for any task.
    pub fn end_rest(&self) -> bool {
        self.rests.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Suppresses the log line of this server for the attempt's failure.
    pub fn log_elsewhere(&self) {
        self.logged_elsewhere.store(true, Ordering::Release);
    }

    /// Abandons the body: its later waits have no effect. Returns true if it was waiting for a task.
    pub fn forget_rests(&self) -> bool {
        // From here on, no wait counts as the first or the last.
        self.rests.swap(usize::MAX / 2, Ordering::AcqRel) > 0
    }

    pub fn is_decided(&self) -> bool {
        self.decided.load(Ordering::Acquire)
    }

    /// Runs `f` on the data that the attempt wants stored.
    pub fn live<T>(&self, f: impl FnOnce(&mut Live) -> T) -> T {
        self.touched.store(true, Ordering::Release);
        f(&mut lock(&self.live))
    }

    /// Queues the attempt for the recorder unless it is queued already.
    pub fn offer(self: &Arc<Self>) {
        if self.host.store.is_some() && !self.live(|live| std::mem::replace(&mut live.queued, true)) {
            self.host.outbox.records.push(self.clone());
        }
    }

    /// Completes when the next record of this attempt has been written, or when the attempt ends.
    pub fn recorded(&self) -> tokio::sync::futures::Notified<'_> {
        self.recorded.notified()
    }

    /// Notifies waiters that the store has replied to a record of this attempt.
    pub fn notify_recorded(&self) {
        self.recorded.notify_waiters();
    }

    /// Decides the attempt. Returns `None` if it was decided before, or if its end must wait for a record in flight
    /// (the recorder then sends it).
    pub fn conclude(&self, outcome: Outcome) -> Option<Ended> {
        self.conclude_told(outcome, None)
    }

    /// As [`Self::conclude`]; the store's reply is sent to `answer`, which is dropped if the attempt was decided
    /// before.
    fn conclude_told(&self, outcome: Outcome, answer: Option<oneshot::Sender<WriteReply>>) -> Option<Ended> {
        if self.decided.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.leave_additions();
        let mut ended = self.host.outbox.ended(&self.claimed, self.claim, outcome);
        ended.answer = answer;
        if self.logged_elsewhere.load(Ordering::Acquire) {
            ended.failure = None;
        }
        if self.touched.load(Ordering::Acquire) {
            let mut live = lock(&self.live);
            self.recorded.notify_waiters();
            if live.recording {
                self.host.outbox.parting.fetch_add(1, Ordering::AcqRel);
                live.parting = Some(ended);
                return None;
            }
            live.part(&mut ended.finish, self.claimed.attempt, &self.host.limits());
        }
        Some(ended)
    }

    /// Decides the attempt and queues its end for writing.
    pub fn end(&self, outcome: Outcome) {
        if let Some(ended) = self.conclude(outcome) {
            self.host.outbox.ends.push(ended);
        }
    }

    /// As [`Self::end`]. The receiver yields the store's reply, or an error if the attempt was decided before.
    pub fn end_told(&self, outcome: Outcome) -> oneshot::Receiver<WriteReply> {
        let (answer, told) = oneshot::channel();
        if let Some(ended) = self.conclude_told(outcome, Some(answer)) {
            self.host.outbox.ends.push(ended);
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
