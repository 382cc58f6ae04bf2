//! What applications add tasks with.
//!
//! Additions go to the [`adder`], which writes the first at once and groups what arrives while a write is in flight.
//! `add` returns when its task is stored; `add_later` returns at once. References wait through one [`waiter`] per
//! client, woken by the database. Everything that a client pushes (additions, cancel, stop, retry) is carried out in
//! the order of the calls.

mod adder;
#[doc(hidden)]
pub mod additions;
mod ask;
mod call;
mod create_hooks;
mod dead;
mod group;
mod guard;
mod queues;
mod reference;
mod schedules;
mod waiter;
mod watch;

use std::sync::{Arc, RwLock};
use std::time::Duration;

pub use ask::{Answering, Ask, DeadAsk, Draft, QueueAsk, ScheduleAsk};
pub use call::Call;
pub(crate) use call::check as check_task;
use create_hooks::CreateHooks;
pub use create_hooks::PendingTask;
pub use dead::DeadEdit;
pub use group::{Group, id_ranges};
pub use reference::{Control, Progress, TaskRef};
pub use schedules::{Schedule, ScheduleAdded};
pub use watch::{Event, EventKind, Watch};

use crate::seal::{Keys, NoKeys};
use crate::store::{Added, ControlReply, Store};
use crate::task::NewTask;
use crate::{Error, Limits, Namespace, Result, Statement, TaskId};
use adder::{Adder, Ticket, Verb};
use additions::Additions;
use waiter::Waiter;
use watch::Hub;

/// How a client behaves; can be changed while it runs with [`Client::configure`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Sizes that are refused at the call.
    pub limits: Limits,
    /// The namespace of the kinds that are added (default: none).
    pub namespace: Option<Namespace>,
    /// Retries of tasks that do not say (default 3).
    pub max_retries: u32,
    /// The longest attempt of tasks that do not say (default 300 s; `None` = no limit).
    pub timeout: Option<Duration>,
    /// Additions in memory that are not decided, at any time (default 10,000). A larger group is taken when it is the only
    /// one.
    pub waiting_max: usize,
    /// Their size in bytes (default 64 MiB).
    pub waiting_bytes_max: usize,
    /// How often waiting references look while no other process's commits are heard (default 2 s).
    pub poll: Duration,
    /// How often they look otherwise (default 30 s).
    pub fallback_poll: Duration,
    /// Further fields may come: a literal ends in `..Default::default()`.
    #[doc(hidden)]
    pub unlisted: crate::Unlisted,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            namespace: None,
            max_retries: 3,
            timeout: Some(Duration::from_secs(300)),
            waiting_max: 10_000,
            waiting_bytes_max: 64 << 20,
            poll: Duration::from_secs(2),
            fallback_poll: Duration::from_secs(30),
            unlisted: crate::Unlisted::default(),
        }
    }
}

/// Why a closed client does nothing more.
const SHUT_DOWN: Error = Error::ShutDown("this client has been shut down");
/// Why a client does nothing more that has lost the runtime of its background work.
const RUNTIME_ENDED: Error = Error::ShutDown(
    "the tokio runtime in which this client was opened has ended: open the client in the runtime that uses it, and keep that \
     runtime as long as the client",
);

/// A handle on the queue; cheap to clone, all clones share one writer.
#[derive(Clone, Debug)]
pub struct Client {
    store: Arc<dyn Store>,
    config: Arc<RwLock<ClientConfig>>,
    adder: Arc<Adder>,
    waiter: Arc<Waiter>,
    hub: Arc<Hub>,
    keys: Arc<dyn Keys>,
    hooks: Arc<CreateHooks>,
    /// Of the task's body that this handle was made for.
    additions: Option<Arc<Additions>>,
    runtime: tokio::runtime::Handle,
}

impl Client {
    /// A client on a store. Its background work runs on the current tokio runtime. Once that has ended, what was added is written
    /// or named, and every call returns [`Error::ShutDown`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[doc(hidden)]
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: ClientConfig) -> Self {
        let config = Arc::new(RwLock::new(config));
        let runtime = tokio::runtime::Handle::current();
        let adder = Adder::start(Arc::clone(&store), Arc::clone(&config), &runtime);
        let waiter = Waiter::new(Arc::clone(&store), Arc::clone(&config), runtime.clone());
        let hub = Hub::new(Arc::clone(&store), runtime.clone());
        Self {
            store,
            config,
            adder,
            waiter,
            hub,
            keys: Arc::new(NoKeys),
            hooks: Arc::default(),
            additions: None,
            runtime,
        }
    }

    /// The same with keys for payloads that another language's serialiser made.
    #[doc(hidden)]
    #[must_use]
    pub fn with_keys(mut self, keys: Arc<dyn Keys>) -> Self {
        self.keys = keys;
        self
    }

    /// The keys it signs with, and its server verifies with.
    #[doc(hidden)]
    #[must_use]
    pub fn keys(&self) -> &Arc<dyn Keys> {
        &self.keys
    }

    /// The store underneath.
    #[doc(hidden)]
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The store, for a call on behalf of this client.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client's runtime has ended.
    fn open_store(&self) -> Result<&dyn Store> {
        self.check_runtime()?;
        Ok(self.store.as_ref())
    }

    /// Whether the runtime that this client was opened in goes on.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if it has ended.
    #[doc(hidden)]
    pub fn check_runtime(&self) -> Result<()> {
        self.adder.check_runtime()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The stored kind that a text means here: for filters, which compare with what is stored. See
    /// `namespace::kind_in`.
    #[must_use]
    pub fn kind_of(&self, text: &str) -> String {
        crate::namespace::kind_in(self.config().namespace.as_ref(), text)
    }

    /// Changes the configuration of this client and its clones, from the next call on.
    pub fn configure(&self, change: impl FnOnce(&mut ClientConfig)) {
        change(&mut self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Adds a task, and returns a reference to it once it is stored. To wait for its result: [`TaskRef::wait`].
    ///
    /// Additions of concurrent callers are written together. While the database is away, or another transaction holds
    /// locked what this one needs, this waits; over the bound on what waits ([`ClientConfig::waiting_max`]) it waits for
    /// room. If the future is dropped before it is ready, the task may be stored or not.
    ///
    /// ```no_run
    /// # async fn example(client: taskyard_core::Client) -> taskyard_core::Result<()> {
    /// # let send = |_: &str| taskyard_core::client::Call::<u64>::new("mail::send", &());
    /// let task = client.add(send("ada@example.org")).await?; // stored
    /// let result = task.wait().await?; // done
    /// # let _: u64 = result;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A call that cannot be stored (arguments, names, limits), [`Error::QueueUnavailable`], [`Error::UnknownParent`],
    /// [`Error::DuplicateId`], or the database's refusal; [`Error::Database`] also if this addition alone fails with an
    /// error that may pass, while the database takes other writes.
    pub async fn add<T>(&self, call: Call<T>) -> Result<TaskRef<T>> {
        let mut refs = self.push_stored(self.settled([call])?).await?;
        Ok(refs.pop().expect("one call gives one reference"))
    }

    /// Adds a task without waiting: it is in memory when this returns, and is lost if the process is killed before it
    /// is written. [`TaskRef::stored`] or [`Client::flush`] waits for that.
    ///
    /// Over the bound on what waits ([`ClientConfig::waiting_max`]) it blocks its thread until there is room, and is
    /// refused if nothing is written for five seconds or while the database is away. It blocks in a `LocalSet` as well,
    /// and the other tasks of the set with it. Where the client's runtime has one thread only (the `current_thread`
    /// flavor), nothing could be written meanwhile: there it is refused at once, and [`Client::add`] is what waits.
    ///
    /// Called by a task's body, it is stored, or its refusal known, before the body's success is: see `TaskContext::client`.
    ///
    /// What is left when the last handle is dropped, or when the runtime ends, is written within five seconds; a task
    /// that could not be written is named on stderr (or by `tracing`, if the program has a subscriber).
    ///
    /// # Errors
    /// A call that cannot be stored (arguments, names, limits), or [`Error::QueueUnavailable`]. A refusal of the
    /// database is returned by [`TaskRef::stored`].
    pub fn add_later<T>(&self, call: Call<T>) -> Result<TaskRef<T>> {
        let mut refs = self.push_tasks(self.settled([call])?)?;
        Ok(refs.pop().expect("one call gives one reference"))
    }

    /// Adds all of these or none, and returns once they are stored; parents may be among them, in any order.
    ///
    /// # Errors
    /// As [`Client::add`], and [`Error::Cycle`].
    pub async fn add_tasks<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_stored(self.settled(calls)?).await
    }

    /// Adds all of these or none, without waiting: see [`Client::add_later`].
    ///
    /// # Errors
    /// As [`Client::add_later`], and [`Error::Cycle`].
    pub fn add_tasks_later<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_tasks(self.settled(calls)?)
    }

    /// The statement that adds a task in a transaction of yours on the queue's PostgreSQL database, for libraries that
    /// `Taskyard::add_in` does not know. The task exists if and only if that transaction commits.
    ///
    /// # Errors
    /// A call that cannot be stored (arguments, names, limits), and [`Error::Refused`] where the queue is in an SQLite file.
    pub fn enqueue_statement<T>(&self, call: Call<T>) -> Result<Statement> {
        self.store.enqueue_statement(&self.new_task(call, &self.config())?)
    }

    /// A reference to the task that a transaction of the caller's has added, or found.
    #[doc(hidden)]
    #[must_use]
    pub fn added_in<T>(&self, added: Added) -> TaskRef<T> {
        TaskRef::added_in(self.clone(), added)
    }

    fn settled<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<NewTask>> {
        let calls: Vec<Call<T>> = calls.into_iter().collect();
        if self.hooks.are_none() {
            let config = self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            return calls.into_iter().map(|call| call.into_task(&config)).collect();
        }
        // The lock is not held while hooks run, which may change the configuration.
        let config = self.config();
        calls.into_iter().map(|call| self.new_task(call, &config)).collect()
    }

    fn push_tasks<T>(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef<T>>> {
        crate::graph::check_cycles(&tasks)?;
        let (ids, noting) = (ids(&tasks), self.noting(&tasks));
        let ticket = self.adder.push(tasks)?;
        noting.pushed(&ticket);
        let tasks = self.refs(ids, &ticket);
        self.tell_when_stored(&tasks);
        Ok(tasks)
    }

    async fn push_when_room<T>(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef<T>>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = ids(&tasks);
        Ok(self.refs(ids, &self.adder.push_when_room(tasks).await?))
    }

    fn refs<T>(&self, ids: Vec<TaskId>, ticket: &Arc<Ticket>) -> Vec<TaskRef<T>> {
        let refs = ids.into_iter().enumerate();
        refs.map(|(place, id)| TaskRef::added(self.clone(), id, Arc::clone(ticket), place)).collect()
    }

    /// A reference to any task; whether it exists shows when it is used.
    #[must_use]
    pub fn get<T>(&self, id: TaskId) -> TaskRef<T> {
        TaskRef::known(self.clone(), id)
    }

    /// How many waits for ends of tasks there are now, in this process.
    #[must_use]
    pub fn open_waits(&self) -> usize {
        self.waiter.len()
    }

    /// Waits until everything that was added before this call is stored.
    ///
    /// # Errors
    /// [`Error::ShutDown`]. A refusal of an addition whose reference is not asked for it is logged, not returned.
    pub async fn flush(&self) -> Result<()> {
        self.adder.flush().await
    }

    /// Flushes for at most `bound`, then refuses further calls. What could not be written is logged, id and kind each.
    ///
    /// # Errors
    /// [`Error::QueueUnavailable`] with the number that was lost.
    pub async fn close(&self, bound: Duration) -> Result<()> {
        self.adder.close(bound).await
    }

    /// Cancels these tasks, or asks their servers to; behind what was added before, but not behind additions of other tasks
    /// that cannot be written now.
    ///
    /// # Errors
    /// The database's, and [`Error::ShutDown`].
    pub async fn cancel(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Cancel(None), ids).await
    }

    /// Gives these tasks another priority if they wait or are enqueued: higher first, negative ones are legal. Ordered as
    /// [`Client::cancel`].
    ///
    /// # Errors
    /// The database's, and [`Error::ShutDown`].
    pub async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Priority(priority), ids).await
    }

    /// Retries these failed, cancelled or stopped tasks. Ordered as [`Client::cancel`].
    ///
    /// # Errors
    /// The database's, and [`Error::ShutDown`].
    pub async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Retry, ids).await
    }

    /// One call for each task, which the writer carries out together; the answers in the order of the ids.
    async fn control(&self, verb: &Verb, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        let answers: Vec<_> = ids.iter().map(|id| self.adder.control(verb.clone(), *id)).collect();
        let mut replies = Vec::with_capacity(answers.len());
        for answer in answers {
            replies.push(answer.await.map_err(|_| SHUT_DOWN)??);
        }
        Ok(replies)
    }
}

fn ids(tasks: &[NewTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

/// Waits until tasks that were added together are stored.
async fn stored<T>(tasks: &[TaskRef<T>]) -> Result<()> {
    match tasks.first() {
        Some(task) => task.stored().await.map(drop),
        None => Ok(()),
    }
}

/// The error of a control call that was refused.
pub(crate) fn refused(id: TaskId, reply: ControlReply, why: &'static str) -> Result<ControlReply> {
    match reply {
        ControlReply::NotFound => Err(Error::NotFound(id)),
        ControlReply::Refused(state) => Err(Error::WrongState { id, state, why }),
        ControlReply::KeyHeld(holder) => Err(Error::UniqueKeyHeld { id, holder }),
        done => Ok(done),
    }
}
