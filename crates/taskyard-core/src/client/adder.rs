//! The one writer of a client: additions and control calls in the order of the calls, grouped without a timer.
//!
//! The first push is written at once; whatever arrives while a write is in flight is the next batch. A group (one
//! `add_tasks`) is atomic: when a batch of several groups is refused, each group is tried by itself, so that one
//! caller's unknown parent is nobody else's. While the database is away everything waits here, in order, up to the
//! bounds of the configuration.
//!
//! Once the last handle is gone, or the runtime ends, the rest is written within [`CLOSING`], and what could not be
//! written is named, id and kind each ([`leaving`]).

mod leaving;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::ClientConfig;
use crate::failpoint;
use crate::store::{AddRequest, Added, ControlReply, Store};
use crate::task::NewTask;
use crate::{AdditionId, Error, Result, TaskId};

/// Tasks in one statement at most.
const BATCH_MAX: usize = 10_000;
/// The longest pause between two tries while the database is away.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long the rest may take once the last handle is gone, or the runtime has ended.
const CLOSING: Duration = Duration::from_secs(5);

/// What became of one group.
#[derive(Debug)]
pub(super) struct Ticket {
    outcome: OnceLock<Result<Vec<Added>>>,
    written: Notify,
    observed: AtomicBool,
    first: TaskId,
}

impl Ticket {
    /// The outcome, if it is known.
    pub(super) fn peek(&self) -> Option<&Result<Vec<Added>>> {
        self.outcome.get()
    }

    /// Waits until the group is written or refused.
    pub(super) async fn outcome(&self) -> &Result<Vec<Added>> {
        self.observed.store(true, Ordering::Relaxed);
        loop {
            let written = self.written.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            written.await;
        }
    }

    fn settle(&self, outcome: Result<Vec<Added>>) {
        if self.outcome.set(outcome).is_ok() {
            self.written.notify_waiters();
        }
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

enum Push {
    Add { tasks: Vec<NewTask>, bytes: usize, ticket: Arc<Ticket> },
    Control { verb: Verb, id: TaskId, reply: oneshot::Sender<Result<ControlReply>> },
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    tasks: usize,
    bytes: usize,
    closed: bool,
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
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle that clients push through; the writer ends when the last handle is gone and all is written, or after
/// [`CLOSING`].
pub(super) struct Adder {
    shared: Arc<Shared>,
    config: Arc<RwLock<ClientConfig>>,
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
        };
        runtime.spawn(leaving::guarded(writer));
        Arc::new(Self { shared, config })
    }

    /// Queues one atomic group.
    pub(super) fn push(&self, tasks: Vec<NewTask>) -> Result<Arc<Ticket>> {
        let bytes = tasks.iter().map(NewTask::weight).sum();
        let ticket = Arc::new(Ticket {
            outcome: OnceLock::new(),
            written: Notify::new(),
            observed: AtomicBool::new(false),
            first: tasks.first().map_or(TaskId(uuid::Uuid::nil()), |task| task.id),
        });
        if tasks.is_empty() {
            ticket.settle(Ok(Vec::new()));
            return Ok(ticket);
        }
        let mut waiting = self.shared.lock();
        if waiting.closed {
            return Err(Error::ShutDown("this client"));
        }
        if let Some(cause) = &waiting.away {
            let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
            if waiting.tasks + tasks.len() > config.waiting_max || waiting.bytes + bytes > config.waiting_bytes_max {
                return Err(Error::QueueUnavailable {
                    waiting: waiting.tasks,
                    bytes: waiting.bytes,
                    cause: cause.clone(),
                });
            }
        }
        waiting.tasks += tasks.len();
        waiting.bytes += bytes;
        waiting.pushes.push_back(Push::Add { tasks, bytes, ticket: Arc::clone(&ticket) });
        drop(waiting);
        self.shared.pushed.notify_one();
        Ok(ticket)
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
        if let Some(Push::Add { tasks, bytes, .. }) = place.and_then(|place| waiting.pushes.remove(place)) {
            waiting.tasks -= tasks.len();
            waiting.bytes -= bytes;
        } else if ticket.peek().is_none() {
            // The writer has it.
            waiting.withdrawn.extend(ids);
        }
        drop(waiting);
        ticket.settle(Err(Error::QueueUnavailable { waiting: count, bytes: size, cause }));
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
            let _ = reply.send(Err(Error::ShutDown("this client")));
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
            if waiting.closed && waiting.pushes.is_empty() {
                return Ok(());
            }
            waiting.pushes.push_back(Push::Flush(reply));
        }
        self.shared.pushed.notify_one();
        answer.await.map_err(|_| Error::ShutDown("this client"))
    }

    pub(super) async fn close(&self, bound: Duration) -> Result<()> {
        let flushed = tokio::time::timeout(bound, self.flush()).await;
        let mut waiting = self.shared.lock();
        (waiting.closed, waiting.given_up) = (true, true);
        let left: Vec<Push> = waiting.pushes.drain(..).collect();
        let (tasks, bytes) = (waiting.tasks, waiting.bytes);
        let cause = waiting.away.clone().unwrap_or_else(|| "the shutdown's bound was over".into());
        drop(waiting);
        self.shared.lost.notify_one();
        self.shared.pushed.notify_one();
        let error = Error::QueueUnavailable { waiting: tasks, bytes, cause };
        for push in left {
            if let Push::Add { tasks, ticket, .. } = push {
                leaving::lose(&tasks, &ticket, &error);
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
    /// Begun, until every group of it is settled. After an interruption it may have been written or not.
    writing: Option<Batch>,
}

/// Groups that are written by one statement, one behind the other.
#[derive(Default)]
struct Batch {
    tasks: Vec<NewTask>,
    /// How many tasks each has.
    groups: Vec<(usize, Arc<Ticket>)>,
    /// The last try to write what is not settled.
    addition: Option<AdditionId>,
}

impl Batch {
    fn push(&mut self, tasks: Vec<NewTask>, ticket: Arc<Ticket>) {
        self.groups.push((tasks.len(), ticket));
        if self.tasks.is_empty() {
            self.tasks = tasks;
        } else {
            self.tasks.extend(tasks);
        }
    }

    /// What is left of it without the groups that are settled before it is written.
    fn without_withdrawn(mut self) -> Self {
        if self.groups.iter().all(|(_, ticket)| ticket.peek().is_none()) {
            return self;
        }
        let mut left = Self::default();
        let mut tasks = std::mem::take(&mut self.tasks).into_iter();
        for (size, ticket) in self.groups {
            let group = tasks.by_ref().take(size).collect();
            if ticket.peek().is_none() {
                left.push(group, ticket);
            }
        }
        left
    }

    /// Each group with its tasks; and the last try.
    fn parts(&mut self) -> (impl Iterator<Item = (&[NewTask], &Arc<Ticket>)>, &mut Option<AdditionId>) {
        let mut rest = self.tasks.as_slice();
        let groups = self.groups.iter().map(move |(size, ticket)| {
            let (tasks, after) = rest.split_at(*size);
            rest = after;
            (tasks, ticket)
        });
        (groups, &mut self.addition)
    }
}

impl Writer {
    /// Writes until the last handle is gone and all is written. May be dropped and called again.
    async fn run(&mut self) {
        self.settle_interrupted().await;
        loop {
            while let Some(work) = self.taken.pop_front() {
                match work {
                    Work::Add(batch) => self.add(batch).await,
                    Work::Control { verb, calls } => self.control(verb, calls).await,
                    Work::Flush(reply) => drop(reply.send(())),
                }
            }
            let closed = {
                let mut waiting = self.shared.lock();
                self.taken = Self::take(&mut waiting);
                waiting.closed
            };
            if self.taken.is_empty() {
                if closed {
                    return;
                }
                // A push since the look left a permit, so this never sleeps through one.
                self.shared.pushed.notified().await;
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
                (Push::Add { tasks, bytes, ticket }, last) => {
                    taken += tasks.len();
                    waiting.tasks -= tasks.len();
                    waiting.bytes -= bytes;
                    if let Some(Work::Add(batch)) = last {
                        batch.push(tasks, ticket);
                    } else {
                        let mut batch = Batch::default();
                        batch.push(tasks, ticket);
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

    async fn add(&mut self, batch: Batch) {
        let mut batch = batch.without_withdrawn();
        if batch.groups.is_empty() {
            return;
        }
        if !self.aliases.is_empty() {
            for task in batch.tasks.iter_mut().filter(|task| !task.parents.is_empty()) {
                task.rename_parents(|parent| self.aliases.get(&parent).copied().unwrap_or(parent));
            }
        }
        let Self { store, shared, aliases, writing, .. } = self;
        let batch = writing.insert(batch);
        let mut write = Write { store: store.as_ref(), shared, aliases, addition: &mut batch.addition };
        match write.first(&batch.tasks).await {
            Ok(added) => {
                let mut added = added.into_iter();
                for (size, ticket) in &batch.groups {
                    ticket.settle(Ok(added.by_ref().take(*size).collect()));
                }
            }
            // Transient ones come back only once the client was closed.
            Err(error) if batch.groups.len() == 1 || error.is_transient() => {
                batch.groups.iter().for_each(|(_, ticket)| ticket.settle(Err(error.clone())));
            }
            Err(_) => {
                let (groups, addition) = batch.parts();
                let mut write = Write { store: store.as_ref(), shared, aliases, addition };
                for (tasks, ticket) in groups.filter(|(_, ticket)| ticket.peek().is_none()) {
                    ticket.settle(write.first(tasks).await);
                }
            }
        }
        *writing = None;
        shared.lock().withdrawn.clear();
    }

    /// Brings to its end what an interruption left begun.
    async fn settle_interrupted(&mut self) {
        let Self { store, shared, aliases, writing, .. } = self;
        let Some(batch) = writing else { return };
        let (groups, addition) = batch.parts();
        let begun = *addition;
        let mut write = Write { store: store.as_ref(), shared, aliases, addition };
        for (tasks, ticket) in groups.filter(|(_, ticket)| ticket.peek().is_none()) {
            // What was tried for all of them is asked for each of them.
            *write.addition = begun;
            ticket.settle(write.again(tasks).await);
        }
        *writing = None;
    }

    async fn control(&self, verb: Verb, calls: Vec<(TaskId, oneshot::Sender<Result<ControlReply>>)>) {
        let meant = |id: &TaskId| self.aliases.get(id).filter(|_| verb != Verb::Withdraw).copied().unwrap_or(*id);
        let ids: Vec<TaskId> = calls.iter().map(|(id, _)| meant(id)).collect();
        let replies = match &verb {
            Verb::Withdraw => self.store.cancel(&ids).await,
            Verb::Cancel(reason) => self.store.cancel_because(&ids, reason.as_deref()).await,
            Verb::Stop => self.store.stop(&ids).await,
            Verb::Retry => self.store.retry(&ids).await,
            Verb::Priority(priority) => self.store.set_priority(&ids, *priority).await,
        };
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
    Control { verb: Verb, calls: Vec<(TaskId, oneshot::Sender<Result<ControlReply>>)> },
    Flush(oneshot::Sender<()>),
}

/// What writing a batch needs of the writer.
struct Write<'a> {
    store: &'a dyn Store,
    shared: &'a Shared,
    aliases: &'a mut HashMap<TaskId, TaskId>,
    addition: &'a mut Option<AdditionId>,
}

impl Write<'_> {
    /// Writes one batch, however long the database is away; only a refusal comes back.
    async fn first(&mut self, batch: &[NewTask]) -> Result<Vec<Added>> {
        let request = AddRequest::new(batch);
        *self.addition = Some(request.id);
        failpoint!("add", Before);
        let added = self.store.add_batch(request).await;
        failpoint!("add", After);
        let added = match added {
            Err(error) if error.is_transient() => self.go_on(batch, request.id, Some(error)).await,
            added => added,
        };
        self.known(batch, added)
    }

    /// The same for a batch that an interruption left begun: it may have been written.
    async fn again(&mut self, batch: &[NewTask]) -> Result<Vec<Added>> {
        let Some(addition) = *self.addition else { return self.first(batch).await };
        let added = self.go_on(batch, addition, None).await;
        self.known(batch, added)
    }

    fn known(&mut self, batch: &[NewTask], added: Result<Vec<Added>>) -> Result<Vec<Added>> {
        self.shared.lock().away = None;
        if let Ok(added) = &added {
            for (task, added) in batch.iter().zip(added).filter(|(task, added)| task.id != added.id) {
                if self.aliases.len() >= BATCH_MAX {
                    self.aliases.clear();
                }
                self.aliases.insert(task.id, added.id);
            }
        }
        added
    }

    /// Goes on after a try whose outcome is unknown: asks for it, which decides it, and tries again if nothing was stored.
    async fn go_on(
        &mut self,
        batch: &[NewTask],
        mut addition: AdditionId,
        mut error: Option<Error>,
    ) -> Result<Vec<Added>> {
        let mut pause = Duration::from_millis(50);
        let mut answers: HashMap<TaskId, Added> = HashMap::with_capacity(batch.len());
        let mut left: Vec<NewTask> = batch.to_vec();
        loop {
            if let Some(error) = &error {
                self.pause(error, batch, pause).await?;
                pause = (pause * 2).min(BACKOFF_MAX);
            }
            let ids: Vec<TaskId> = left.iter().map(|task| task.id).collect();
            let stored = match self.store.added(addition, &ids).await {
                Ok(stored) => stored,
                Err(again) if again.is_transient() => {
                    error = Some(again);
                    continue;
                }
                Err(refusal) => return Err(refusal),
            };
            if let Some(first) = stored.iter().position(|stored| *stored) {
                // A batch is atomic: what is missing of it has a key that another task held, or an id of it was taken before.
                if left.iter().zip(&stored).any(|(task, stored)| !stored && task.unique.is_none()) {
                    return Err(Error::DuplicateId(ids[first]));
                }
                let found = ids.iter().zip(&stored).filter(|(_, stored)| **stored);
                answers.extend(found.map(|(id, _)| (*id, Added { id: *id, existing: false })));
                left.retain(|task| !answers.contains_key(&task.id));
            }
            for id in &self.shared.lock().withdrawn {
                // Its ticket is settled: nobody is told this.
                answers.entry(*id).or_insert(Added { id: *id, existing: false });
            }
            left.retain(|task| !answers.contains_key(&task.id));
            if !left.is_empty() {
                let request = AddRequest::new(&left);
                addition = request.id;
                *self.addition = Some(addition);
                match self.store.add_batch(request).await {
                    Ok(added) => answers.extend(left.iter().map(|task| task.id).zip(added)),
                    Err(again) if again.is_transient() => {
                        error = Some(again);
                        continue;
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            return Ok(batch.iter().map(|task| answers[&task.id]).collect());
        }
    }

    fn give_up(&self, batch: &[NewTask], error: &Error) -> Result<()> {
        leaving::name(batch, "may be lost: whether it was written is not known at the shutdown", error);
        Err(error.clone())
    }

    /// Notes that the database is away and waits before the next try.
    ///
    /// # Errors
    /// The error given, if the client is closed meanwhile.
    async fn pause(&self, error: &Error, batch: &[NewTask], pause: Duration) -> Result<()> {
        let (is_news, given_up) = {
            let mut waiting = self.shared.lock();
            (waiting.away.replace(error.to_string()).is_none(), waiting.given_up)
        };
        if given_up {
            return self.give_up(batch, error);
        }
        if is_news {
            tracing::warn!(%error, waiting = batch.len(), "the database is away; additions wait in memory");
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => Ok(()),
            () = self.shared.lost.notified() => {
                self.give_up(batch, error)
            }
        }
    }
}
