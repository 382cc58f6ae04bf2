//! The single writer of a client: additions and control calls in the order of the calls, batched without a timer.
//!
//! The first push is written at once; pushes that arrive during a write form the next batch. A group (one `add_tasks`)
//! is atomic: if a batch of several groups is refused, each group is tried on its own, so that the unknown parent of
//! one caller does not fail the others ([`write`]). A group that meets a lock of another transaction, or that alone
//! fails with a transient error, is set aside together with everything that depends on it, and retried separately; the
//! others continue ([`deferred`]). While the database is unreachable everything waits here, in order.
//!
//! The configuration bounds all undecided additions at all times ([`capacity`]): an addition over the bound waits until
//! others are decided, and is refused while the database is unreachable or no decisions are made any more.
//!
//! After the last handle is dropped, or the runtime has ended, the rest is written within [`CLOSING`]; tasks that could
//! not be written are logged by id and kind ([`shutdown`]).

mod capacity;
mod deferred;
mod shutdown;
mod worker;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use self::deferred::Deferred;
use self::write::{Batch, Group};
use super::{ClientConfig, RUNTIME_ENDED, SHUT_DOWN};
use crate::store::{Added, ControlReply, Store};
use crate::task::NewTask;
use crate::{Error, Result, TaskId, failpoint};

/// Maximum number of tasks in one statement.
const BATCH_MAX: usize = 10_000;
/// Maximum time for writing the rest after the last handle is dropped or the runtime has ended.
const CLOSING: Duration = Duration::from_secs(5);

/// The outcome of one group, shared between its callers and the writer.
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
    /// Returns the outcome, if it is known.
    pub(super) fn peek(&self) -> Option<&Result<Vec<Added>>> {
        self.outcome.get()
    }

    /// Waits until the group is written or refused, and marks the outcome as observed by the caller. A caller that stops waiting has
    /// not observed it.
    pub(super) async fn outcome(&self) -> &Result<Vec<Added>> {
        let outcome = self.settled().await;
        self.observed.store(true, Ordering::Relaxed);
        outcome
    }

    /// Returns whether the caller has received the outcome.
    pub(super) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// Marks the outcome as reported; returns whether it was before.
    pub(super) fn observe(&self) -> bool {
        self.observed.swap(true, Ordering::Relaxed)
    }

    /// Returns the id of its first task, and its number of tasks.
    pub(super) fn tasks(&self) -> (TaskId, usize) {
        (self.first, self.tasks)
    }

    /// Waits until the group is written or refused, without marking the outcome as observed.
    pub(super) async fn settled(&self) -> &Result<Vec<Added>> {
        loop {
            let written = self.written.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            written.await;
        }
    }

    /// Stores the outcome, unless there is one. Returns whether this was the first.
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
            // Additions lost because the database was unreachable were logged when they were given up.
            && !error.is_transient()
        {
            shutdown::say(self.first, "", format_args!("was refused, and its result was not awaited: {error}"));
        }
    }
}

/// A control call, carried out in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Cancel(Option<String>),
    /// Cancels tasks that an addition has stored, but not another task that held its unique key.
    Withdraw,
    Stop,
    Retry,
    Priority(i32),
}

/// Channel for the reply to a control call.
type ControlSender = oneshot::Sender<Result<ControlReply>>;

enum Push {
    Add { tasks: Vec<NewTask>, ticket: Arc<Ticket> },
    Control { verb: Verb, id: TaskId, reply: ControlSender },
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    /// Number of undecided tasks: those in `pushes`, and those that the writer has. And their size.
    tasks: usize,
    bytes: usize,
    /// When a group was last decided, or the first of these tasks arrived, if that is later.
    progress: Option<Instant>,
    /// Number of threads that wait for room.
    blocked: usize,
    /// Number of tasks that are set aside, and the last failure among them.
    deferred: usize,
    failure: Option<String>,
    closed: bool,
    /// Closed because the writer's runtime has ended.
    runtime_ended: bool,
    /// Closed, and the time for that is over: nothing is retried any more.
    given_up: bool,
    /// Reason why the database is unreachable, while it is.
    away: Option<String>,
    /// Tasks that the writer has and that were withdrawn since.
    withdrawn: HashSet<TaskId>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    pushed: Notify,
    lost: Notify,
    /// Notified when the last handle is dropped.
    left: Notify,
    /// Notified when there may be room, for the caller whose turn it is.
    capacity: Notify,
    /// Notified when there may be room, for blocked threads.
    room_of_threads: Condvar,
    /// Queue of the callers that wait for room, in order.
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

/// The handle that clients push through. The writer ends when the last handle is dropped and everything is written, or
/// after [`CLOSING`].
pub(super) struct InsertBatcher {
    shared: Arc<Shared>,
    config: Arc<RwLock<ClientConfig>>,
    /// The runtime that the writer runs on.
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for InsertBatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InsertBatcher").finish_non_exhaustive()
    }
}

impl Drop for InsertBatcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.pushed.notify_one();
        self.shared.left.notify_one();
        self.shared.tell_room();
    }
}

impl InsertBatcher {
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
            deferred: Deferred::default(),
            calling: None,
            proven: None,
        };
        runtime.spawn(shutdown::guarded(writer));
        Arc::new(Self { shared, config, runtime: runtime.clone() })
    }

    /// Withdraws a group: tasks not handed to the database yet are never sent, and tasks that may have been sent are
    /// cancelled directly after it. Its outcome is an error from here on, unless it was known before.
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

    /// Queues a control call after everything that was pushed before.
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

    /// Checks that the writer's runtime is running.
    ///
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
        let cause = waiting.away.clone().unwrap_or_else(|| "the time limit of the shutdown was reached".into());
        drop(waiting);
        self.shared.lost.notify_one();
        self.shared.pushed.notify_one();
        self.shared.tell_room();
        let error = Error::QueueUnavailable { waiting: tasks, bytes, cause };
        for push in left {
            if let Push::Add { tasks, ticket, .. } = push {
                shutdown::lose(&self.shared, &tasks, &ticket, &error);
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
    /// Ids that turned out to be duplicates of a unique key, and the task that replaces each.
    aliases: HashMap<TaskId, TaskId>,
    /// Taken from the pushes, and not started.
    taken: VecDeque<Work>,
    /// Started, until every group of it is settled or set aside. After an interruption it may or may not have been
    /// written.
    writing: Option<Batch>,
    /// Groups that met a lock or failed, and everything that must not overtake them.
    deferred: Deferred,
    /// Control calls in progress. After an interruption they are carried out again.
    calling: Option<(Verb, Vec<(TaskId, ControlSender)>)>,
    /// When the database was last found to accept writes while others failed.
    proven: Option<Instant>,
}

impl Writer {
    /// Writes until the last handle is dropped and everything is written. May be dropped and called again.
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
            if self.deferred.is_due() {
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
                if closed && self.deferred.is_empty() {
                    return;
                }
                tokio::select! {
                    // A push since the check left a permit, so this never sleeps through one.
                    () = self.shared.pushed.notified() => {}
                    () = self.deferred.due() => {}
                }
            }
        }
    }

    /// Takes the waiting pushes: adjacent additions together, adjacent control calls of one verb together.
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

    /// Carries out control calls; calls for tasks that are set aside wait until these are written.
    async fn control(&mut self, verb: Verb, mut calls: Vec<(TaskId, ControlSender)>) {
        if !self.deferred.is_empty() {
            let waiting: Vec<_> = calls.extract_if(.., |(id, _)| self.deferred.has(*id)).collect();
            for (id, reply) in waiting {
                self.deferred.put_control(verb.clone(), id, reply);
            }
        }
        if calls.is_empty() {
            return;
        }
        self.calling = Some((verb, calls));
        self.call().await;
    }

    /// Carries out the control calls in progress.
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
                tracing::error!(task = %id, %error, ?verb, "a control call failed, and its result was not awaited");
            }
        }
    }
}

enum Work {
    Add(Batch),
    Control { verb: Verb, calls: Vec<(TaskId, ControlSender)> },
    Flush(oneshot::Sender<()>),
}
