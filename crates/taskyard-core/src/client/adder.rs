//! The one writer of a client: additions and control calls in the order of the calls, grouped without a timer.
//!
//! The first push is written at once; whatever arrives while a write is in flight is the next batch. A group (one
//! `add_tasks`) is atomic: when a batch of several groups is refused, each group is tried by itself, so that one
//! caller's unknown parent is nobody else's ([`write`]). A group that meets a lock of another transaction, or that alone
//! fails with an error that may pass, is set aside and tried apart, and with it what depends on it; the others go on
//! ([`aside`]). While the database is away everything waits here, in order.
//!
//! What is not decided, wherever it is, is bounded by the configuration at all times ([`room`]): an addition over the
//! bound waits until others are decided, and is refused while the database is away or nothing is decided any more.
//!
//! Once the last handle is gone, or the runtime ends, the rest is written within [`CLOSING`], and what could not be
//! written is named, id and kind each ([`leaving`]).

mod aside;
mod leaving;
mod room;
mod worker;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use self::aside::Aside;
use self::write::{Batch, Group};
use super::{ClientConfig, RUNTIME_ENDED, SHUT_DOWN};
use crate::store::{Added, ControlReply, Store};
use crate::task::NewTask;
use crate::{Error, Result, TaskId, failpoint};

/// Tasks in one statement at most.
const BATCH_MAX: usize = 10_000;
/// How long the rest may take once the last handle is gone, or the runtime has ended.
const CLOSING: Duration = Duration::from_secs(5);

/// What became of one group.
#[derive(Debug)]
pub(super) struct Ticket {
    outcome: OnceLock<Result<Vec<Added>>>,
    written: Notify,
    observed: AtomicBool,
    first: TaskId,
    tasks: usize,
    bytes: usize,
}

impl Ticket {
    /// The outcome, if it is known.
    pub(super) fn peek(&self) -> Option<&Result<Vec<Added>>> {
        self.outcome.get()
    }

    /// Waits until the group is written or refused, on behalf of the caller, who learns of a refusal.
    pub(super) async fn outcome(&self) -> &Result<Vec<Added>> {
        self.observed.store(true, Ordering::Relaxed);
        self.settled().await
    }

    /// Whether the caller has asked for the outcome.
    pub(super) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// Marks the outcome as reported; returns whether it was before.
    pub(super) fn observe(&self) -> bool {
        self.observed.swap(true, Ordering::Relaxed)
    }

    /// The id of its first task, and how many tasks it has.
    pub(super) fn tasks(&self) -> (TaskId, usize) {
        (self.first, self.tasks)
    }

    /// The same without telling the caller.
    pub(super) async fn settled(&self) -> &Result<Vec<Added>> {
        loop {
            let written = self.written.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            written.await;
        }
    }

    /// Whether this was the first outcome: a later one does not count.
    fn settle(&self, outcome: Result<Vec<Added>>) -> bool {
        let first = self.outcome.set(outcome).is_ok();
        if first {
            self.written.notify_waiters();
        }
        first
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let (Some(Err(error)), false) = (self.outcome.get(), self.observed.load(Ordering::Relaxed))
            // What is lost to a database that is away was named where it was given up.
            && !error.is_transient()
        {
            leaving::say(self.first, "", format_args!("was refused, and nobody awaited it: {error}"));
        }
    }
}

/// A control call, carried out in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Cancel(Option<String>),
    /// Cancels what an addition has stored, but not another task that had its unique key.
    Withdraw,
    Stop,
    Retry,
    Priority(i32),
}

/// Where the answer of a control call goes.
type ControlSender = oneshot::Sender<Result<ControlReply>>;

enum Push {
    Add { tasks: Vec<NewTask>, ticket: Arc<Ticket> },
    Control { verb: Verb, id: TaskId, reply: ControlSender },
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    /// Tasks that are not decided: those of `pushes`, and those that the writer has. And their size.
    tasks: usize,
    bytes: usize,
    /// When something was decided last, or, if that is later, when the first of these tasks came.
    progress: Option<Instant>,
    /// Threads that wait for room.
    blocked: usize,
    /// Tasks that are set aside, and how one of them failed.
    aside: usize,
    failure: Option<String>,
    closed: bool,
    /// It was closed because the runtime of the writer has ended.
    runtime_ended: bool,
    /// It was closed, and the time for that is over: nothing is tried twice any more.
    given_up: bool,
    /// Why the database is away, while it is.
    away: Option<String>,
    /// Of what the writer has, the tasks that were withdrawn since.
    withdrawn: HashSet<TaskId>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    pushed: Notify,
    lost: Notify,
    /// The last handle is gone.
    left: Notify,
    /// There may be room, for the caller that has the turn.
    room: Notify,
    /// The same for threads.
    room_of_threads: Condvar,
    /// Callers that wait for room, in their order.
    turn: tokio::sync::Mutex<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides a group.
    fn settle(&self, ticket: &Ticket, outcome: Result<Vec<Added>>) {
        if ticket.settle(outcome) {
            self.decided(ticket.tasks, ticket.bytes);
        }
    }
}

/// The handle that clients push through; the writer ends when the last handle is gone and all is written, or after
/// [`CLOSING`].
pub(super) struct Adder {
    shared: Arc<Shared>,
    config: Arc<RwLock<ClientConfig>>,
    /// The runtime that the writer runs on.
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Adder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adder").finish_non_exhaustive()
    }
}

impl Drop for Adder {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.pushed.notify_one();
        self.shared.left.notify_one();
        self.shared.tell_room();
    }
}

impl Adder {
    pub(super) fn start(
        store: Arc<dyn Store>,
        config: Arc<RwLock<ClientConfig>>,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            store,
            shared: Arc::clone(&shared),
            aliases: HashMap::new(),
            taken: VecDeque::new(),
            writing: None,
            aside: Aside::default(),
            calling: None,
            proven: None,
        };
        runtime.spawn(leaving::guarded(writer));
        Arc::new(Self { shared, config, runtime: runtime.clone() })
    }

    /// Takes a group back: what was not handed to the database yet is never sent, and what may have been is cancelled right
    /// behind it. Its outcome is an error from here on, unless it was known before.
    pub(super) fn withdraw(&self, ticket: &Arc<Ticket>, ids: &[TaskId]) {
        ticket.observed.store(true, Ordering::Relaxed);
        let mut waiting = self.shared.lock();
        let (count, size) = (waiting.tasks, waiting.bytes);
        let cause = waiting.away.clone().unwrap_or_else(|| "it has not answered yet".into());
        let is_it = |push: &Push| matches!(push, Push::Add { ticket: other, .. } if Arc::ptr_eq(other, ticket));
        let place = waiting.pushes.iter().position(is_it);
        let removed = place.and_then(|place| waiting.pushes.remove(place));
        if removed.is_none() && ticket.peek().is_none() {
            // The writer has it.
            waiting.withdrawn.extend(ids);
        }
        drop(waiting);
        self.shared.settle(ticket, Err(Error::QueueUnavailable { waiting: count, bytes: size, cause }));
        if place.is_none() {
            for id in ids {
                drop(self.control(Verb::Withdraw, *id));
            }
        }
    }

    /// Queues a control call behind everything that was pushed before.
    pub(super) fn control(&self, verb: Verb, id: TaskId) -> oneshot::Receiver<Result<ControlReply>> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.shared.lock();
        if waiting.closed {
            let _ = reply.send(Err(waiting.shut_down()));
        } else {
            waiting.pushes.push_back(Push::Control { verb, id, reply });
            drop(waiting);
            self.shared.pushed.notify_one();
        }
        answer
    }

    pub(super) async fn flush(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.lock();
            if waiting.runtime_ended {
                return Err(RUNTIME_ENDED);
            }
            if waiting.closed && waiting.pushes.is_empty() {
                return Ok(());
            }
            waiting.pushes.push_back(Push::Flush(reply));
        }
        self.shared.pushed.notify_one();
        answer.await.map_err(|_| self.shared.lock().shut_down())
    }

    /// # Errors
    /// [`Error::ShutDown`] if the runtime of the writer has ended.
    pub(super) fn check_runtime(&self) -> Result<()> {
        if self.shared.lock().runtime_ended { Err(RUNTIME_ENDED) } else { Ok(()) }
    }

    pub(super) async fn close(&self, bound: Duration) -> Result<()> {
        self.check_runtime()?;
        let flushed = tokio::time::timeout(bound, self.flush()).await;
        let mut waiting = self.shared.lock();
        (waiting.closed, waiting.given_up) = (true, true);
        let left: Vec<Push> = waiting.pushes.drain(..).collect();
        let (tasks, bytes) = (waiting.tasks, waiting.bytes);
        let cause = waiting.away.clone().unwrap_or_else(|| "the shutdown's bound was over".into());
        drop(waiting);
        self.shared.lost.notify_one();
        self.shared.pushed.notify_one();
        self.shared.tell_room();
        let error = Error::QueueUnavailable { waiting: tasks, bytes, cause };
        for push in left {
            if let Push::Add { tasks, ticket, .. } = push {
                leaving::lose(&self.shared, &tasks, &ticket, &error);
            }
        }
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(error),
        }
    }
}

struct Writer {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// Ids that turned out to be duplicates of a unique key, and the task that stands in for each.
    aliases: HashMap<TaskId, TaskId>,
    /// Taken from what waits, and not begun.
    taken: VecDeque<Work>,
    /// Begun, until every group of it is settled or set aside. After an interruption it may have been written or not.
    writing: Option<Batch>,
    /// Groups that met a lock or failed, and all that must not overtake them.
    aside: Aside,
    /// Control calls under way. After an interruption they are carried out again.
    calling: Option<(Verb, Vec<(TaskId, ControlSender)>)>,
    /// When the database was last found to take writes, while others failed.
    proven: Option<Instant>,
}

impl Writer {
    /// Writes until the last handle is gone and all is written. May be dropped and called again.
    async fn run(&mut self) {
        self.settle_interrupted().await;
        self.call().await;
        loop {
            while let Some(work) = self.taken.pop_front() {
                match work {
                    Work::Add(batch) => self.add(batch).await,
                    Work::Control { verb, calls } => self.control(verb, calls).await,
                    Work::Flush(reply) => self.flush(reply),
                }
            }
            if self.aside.is_due() {
                self.retry_aside().await;
            }
            let (closed, given_up) = {
                let mut waiting = self.shared.lock();
                self.taken = Self::take(&mut waiting);
                (waiting.closed, waiting.given_up)
            };
            if given_up {
                self.lose_aside();
            }
            if self.taken.is_empty() {
                if closed && self.aside.is_empty() {
                    return;
                }
                tokio::select! {
                    // A push since the look left a permit, so this never sleeps through one.
                    () = self.shared.pushed.notified() => {}
                    () = self.aside.due() => {}
                }
            }
        }
    }

    /// Takes what waits, adjacent additions together, adjacent control calls of one verb together.
    fn take(waiting: &mut Waiting) -> VecDeque<Work> {
        let mut works: VecDeque<Work> = VecDeque::new();
        let mut taken = 0;
        while taken < BATCH_MAX {
            let Some(push) = waiting.pushes.pop_front() else { break };
            match (push, works.back_mut()) {
                (Push::Add { tasks, ticket }, last) => {
                    taken += tasks.len();
                    let group = Group::new(&tasks, ticket);
                    if let Some(Work::Add(batch)) = last {
                        batch.push(tasks, group);
                    } else {
                        let mut batch = Batch::default();
                        batch.push(tasks, group);
                        works.push_back(Work::Add(batch));
                    }
                }
                (Push::Control { verb, id, reply }, Some(Work::Control { verb: last, calls })) if *last == verb => {
                    taken += 1;
                    calls.push((id, reply));
                }
                (Push::Control { verb, id, reply }, _) => {
                    taken += 1;
                    works.push_back(Work::Control { verb, calls: vec![(id, reply)] });
                }
                (Push::Flush(reply), _) => works.push_back(Work::Flush(reply)),
            }
        }
        works
    }

    /// Carries out control calls; those of tasks that are set aside once these are written.
    async fn control(&mut self, verb: Verb, mut calls: Vec<(TaskId, ControlSender)>) {
        if !self.aside.is_empty() {
            let waiting: Vec<_> = calls.extract_if(.., |(id, _)| self.aside.has(*id)).collect();
            for (id, reply) in waiting {
                self.aside.put_control(verb.clone(), id, reply);
            }
        }
        if calls.is_empty() {
            return;
        }
        self.calling = Some((verb, calls));
        self.call().await;
    }

    /// Carries out the control calls under way.
    async fn call(&mut self) {
        let Some((verb, calls)) = &self.calling else { return };
        let meant = |id: &TaskId| self.aliases.get(id).filter(|_| *verb != Verb::Withdraw).copied().unwrap_or(*id);
        let ids: Vec<TaskId> = calls.iter().map(|(id, _)| meant(id)).collect();
        let replies = match verb {
            Verb::Withdraw => self.store.cancel(&ids).await,
            Verb::Cancel(reason) => {
                failpoint!("cancel", Before);
                let replies = self.store.cancel_because(&ids, reason.as_deref()).await;
                failpoint!("cancel", After);
                replies
            }
            Verb::Stop => self.store.stop(&ids).await,
            Verb::Retry => {
                failpoint!("retry", Before);
                let replies = self.store.retry(&ids).await;
                failpoint!("retry", After);
                replies
            }
            Verb::Priority(priority) => self.store.set_priority(&ids, *priority).await,
        };
        let Some((verb, calls)) = self.calling.take() else { return };
        for (place, (id, sender)) in calls.into_iter().enumerate() {
            let reply = match &replies {
                Ok(replies) => Ok(replies[place]),
                Err(error) => Err(error.clone()),
            };
            if let Err(Err(error)) = sender.send(reply) {
                tracing::error!(task = %id, %error, ?verb, "a control call failed, and nobody awaited it");
            }
        }
    }
}

enum Work {
    Add(Batch),
    Control { verb: Verb, calls: Vec<(TaskId, ControlSender)> },
    Flush(oneshot::Sender<()>),
}
