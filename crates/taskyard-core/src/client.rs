//! The client with which applications add, await and control tasks.
//!
//! Additions go to the [`insert_batcher`], which writes the first one at once and groups those that arrive during a write. `add`
//! returns when its task is stored, `add_later` returns at once. References wait through one [`waiter`] per client,
//! which is notified by the database. Additions, cancel, stop and retry of a client are carried out in the order of the
//! calls.

#[doc(hidden)]
pub mod additions;
mod call;
mod client_request;
mod config;
mod create_hooks;
mod dead;
mod group;
mod guard;
mod insert_batcher;
mod queues;
mod reference;
mod schedules;
mod waiter;
mod watch;

use std::sync::{Arc, RwLock};
use std::time::Duration;

pub use call::Call;
pub use client_request::{ClientRequest, DeadLetterRequest, Draft, QueueRequest, ResponseFuture, ScheduleRequest};
pub use config::ClientConfig;
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
use crate::{Error, Result, Statement, TaskId};
use additions::Additions;
use insert_batcher::{InsertBatcher, Ticket, Verb};
use waiter::Waiter;
use watch::WatchPoller;

/// Returned by every call of a closed client.
const SHUT_DOWN: Error = Error::ShutDown("this client has been shut down");
/// Returned by every call of a client whose runtime, in which its background work ran, has ended.
const RUNTIME_ENDED: Error = Error::ShutDown(
    "the tokio runtime in which this client was opened has ended: open the client in the runtime that uses it, and keep that \
     runtime as long as the client",
);

/// A handle to the queue. Cheap to clone; all clones share one writer.
///
/// # Database errors
/// A method that accesses the database fails with [`Error::Connection`] if it cannot be reached, [`Error::Locked`] if
/// another transaction holds a required lock for too long, [`Error::Refused`] for a missing right, [`Error::Full`]
/// without space, [`Error::NotStorable`] for a value that the database rejects, and [`Error::DatabaseFault`] or
/// [`Error::Database`] for any other failure. After the client's runtime has ended it fails with [`Error::ShutDown`].
#[derive(Clone, Debug)]
pub struct Client {
    store: Arc<dyn Store>,
    config: Arc<RwLock<ClientConfig>>,
    batcher: Arc<InsertBatcher>,
    waiter: Arc<Waiter>,
    watch_poller: Arc<WatchPoller>,
    keys: Arc<dyn Keys>,
    hooks: Arc<CreateHooks>,
    /// Of the task's body that this handle was made for.
    additions: Option<Arc<Additions>>,
    runtime: tokio::runtime::Handle,
}

impl Client {
    /// Creates a client of a store. Its background work runs on the current tokio runtime. When that runtime ends,
    /// additions in memory are written or logged, and every call returns [`Error::ShutDown`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[doc(hidden)]
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: ClientConfig) -> Self {
        let config = Arc::new(RwLock::new(config));
        let runtime = tokio::runtime::Handle::current();
        let batcher = InsertBatcher::start(Arc::clone(&store), Arc::clone(&config), &runtime);
        let waiter = Waiter::new(Arc::clone(&store), Arc::clone(&config), runtime.clone());
        let watch_poller = WatchPoller::new(Arc::clone(&store), runtime.clone());
        Self {
            store,
            config,
            batcher,
            waiter,
            watch_poller,
            keys: Arc::new(NoKeys),
            hooks: Arc::default(),
            additions: None,
            runtime,
        }
    }

    /// Sets the keys for payloads from another language's serialiser.
    #[doc(hidden)]
    #[must_use]
    pub fn with_keys(mut self, keys: Arc<dyn Keys>) -> Self {
        self.keys = keys;
        self
    }

    /// Returns the keys that the client signs with and its server verifies with.
    #[doc(hidden)]
    #[must_use]
    pub fn keys(&self) -> &Arc<dyn Keys> {
        &self.keys
    }

    /// Returns the underlying store.
    #[doc(hidden)]
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the store, for a call on behalf of this client.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client's runtime has ended.
    fn open_store(&self) -> Result<&dyn Store> {
        self.check_runtime()?;
        Ok(self.store.as_ref())
    }

    /// Checks that the runtime in which this client was opened is still running.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if it has ended.
    #[doc(hidden)]
    pub fn check_runtime(&self) -> Result<()> {
        self.batcher.check_runtime()
    }

    /// Returns the current configuration.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Returns the stored kind for a kind given as text, for filters, which compare with stored kinds. See
    /// `namespace::kind_in`.
    #[must_use]
    pub fn kind_of(&self, text: &str) -> String {
        crate::namespace::kind_in(self.config().namespace.as_ref(), text)
    }

    /// Changes the configuration of this client and its clones, from the next call on.
    pub fn configure(&self, change: impl FnOnce(&mut ClientConfig)) {
        change(&mut self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Adds a task, and returns a reference to it once it is stored. [`TaskRef::wait`] waits for its result.
    ///
    /// Additions of concurrent callers are written together. Waits while the database is unreachable, while another
    /// transaction holds a required lock, and while [`ClientConfig::waiting_max`] is reached. If the future is dropped
    /// before it is ready, the task may or may not be stored.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?; // stored
    /// queue.drain().await?; // runs it, as a server does
    /// assert_eq!(task.wait().await?, 15);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a call that cannot be
    /// stored; [`Error::QueueUnavailable`] if [`ClientConfig::waiting_max`] is reached while the database is
    /// unreachable, or if the client is closed before the addition is written; [`Error::ShutDown`] if it was closed
    /// before; [`Error::UnknownParent`], [`Error::DuplicateId`], or a [database error](Client#database-errors) that
    /// refuses the addition; [`Error::Database`] also if only this addition fails with a transient error while other
    /// writes succeed.
    pub async fn add<T>(&self, call: Call<T>) -> Result<TaskRef<T>> {
        let mut refs = self.push_stored(self.settled([call])?).await?;
        Ok(refs.pop().expect("one call gives one reference"))
    }

    /// Adds a task without waiting: it is in memory when this returns, and is lost if the process is killed before it
    /// is written. [`TaskRef::stored`] or [`Client::flush`] waits until it is stored.
    ///
    /// If [`ClientConfig::waiting_max`] is reached, it blocks its thread until there is room, and fails if nothing is
    /// written for five seconds or while the database is unreachable. In a `LocalSet` this blocks the other tasks of
    /// the set too. If the client's runtime has only one thread (the `current_thread` flavor), nothing could be written
    /// meanwhile: there it fails at once, and [`Client::add`] is the way to wait.
    ///
    /// Called by a task's body, the addition is decided before the body's success is stored: see `TaskContext::client`.
    ///
    /// Additions that are left when the last handle is dropped, or when the runtime ends, are written within five
    /// seconds. A task that could not be written is named on stderr (or by `tracing`, if the program has a subscriber).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add_later(send("ada@example.org".into()))?; // in memory
    /// let id = task.stored().await?; // in the database
    /// assert_eq!(id, task.id());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a call that cannot be
    /// stored, [`Error::QueueUnavailable`] if there is no room, and [`Error::ShutDown`] if the client was closed. If the
    /// database refuses the addition, [`TaskRef::stored`] returns the error.
    pub fn add_later<T>(&self, call: Call<T>) -> Result<TaskRef<T>> {
        let mut refs = self.push_tasks(self.settled([call])?)?;
        Ok(refs.pop().expect("one call gives one reference"))
    }

    /// Adds all of these tasks or none, and returns once they are stored. Parents may be among them, in any order.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let tasks = queue.add_tasks(["ada", "grace"].map(|name| send(name.into()))).await?;
    /// queue.drain().await?;
    /// assert_eq!(tasks[1].wait().await?, 5);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::add`], and [`Error::Cycle`].
    pub async fn add_tasks<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_stored(self.settled(calls)?).await
    }

    /// Adds all of these tasks or none, without waiting: see [`Client::add_later`].
    ///
    /// # Errors
    /// Those of [`Client::add_later`], and [`Error::Cycle`].
    pub fn add_tasks_later<T>(&self, calls: impl IntoIterator<Item = Call<T>>) -> Result<Vec<TaskRef<T>>> {
        self.push_tasks(self.settled(calls)?)
    }

    /// Returns the statement that adds a task in the caller's own transaction on the queue's PostgreSQL database, for
    /// libraries that `Taskyard::add_in` does not support. The task exists if and only if that transaction commits.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a call that cannot be
    /// stored, and [`Error::Refused`] if the queue is in an SQLite file.
    pub fn enqueue_statement<T>(&self, call: Call<T>) -> Result<Statement> {
        self.store.enqueue_statement(&self.new_task(call, &self.config())?)
    }

    /// Returns a reference to the task that a transaction of the caller has added or found.
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
        // The lock is not held while hooks run, because they may change the configuration.
        let config = self.config();
        calls.into_iter().map(|call| self.new_task(call, &config)).collect()
    }

    fn push_tasks<T>(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef<T>>> {
        crate::graph::check_cycles(&tasks)?;
        let (ids, noting) = (ids(&tasks), self.noting(&tasks));
        let ticket = self.batcher.push(tasks)?;
        noting.pushed(&ticket);
        let tasks = self.refs(ids, &ticket);
        self.tell_when_stored(&tasks);
        Ok(tasks)
    }

    async fn push_when_room<T>(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef<T>>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = ids(&tasks);
        Ok(self.refs(ids, &self.batcher.push_when_room(tasks).await?))
    }

    fn refs<T>(&self, ids: Vec<TaskId>, ticket: &Arc<Ticket>) -> Vec<TaskRef<T>> {
        let refs = ids.into_iter().enumerate();
        refs.map(|(place, id)| TaskRef::added(self.clone(), id, Arc::clone(ticket), place)).collect()
    }

    /// Returns a reference to any task, without checking that it exists.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # let id = queue.add(send("ada@example.org".into())).await?.id();
    /// use taskyard::{TaskRef, TaskState};
    ///
    /// let task: TaskRef<usize> = queue.get(id); // the type of its result
    /// assert_eq!(task.state().await?, TaskState::Enqueued);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn get<T>(&self, id: TaskId) -> TaskRef<T> {
        TaskRef::known(self.clone(), id)
    }

    /// Returns the number of open waits for ends of tasks in this process.
    #[must_use]
    pub fn open_waits(&self) -> usize {
        self.waiter.len()
    }

    /// Waits until everything that was added before this call is stored.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// for name in ["ada", "grace"] {
    ///     queue.add_later(send(name.into()))?;
    /// }
    /// queue.flush().await?; // both are stored
    /// assert_eq!(queue.drain().await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client is closed meanwhile or its runtime has ended. A refused addition whose outcome
    /// nothing awaits is logged, not returned.
    pub async fn flush(&self) -> Result<()> {
        self.batcher.flush().await
    }

    /// Flushes for at most `bound`, then refuses further calls. Tasks that could not be written are logged by id and
    /// kind.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    /// use taskyard::Error;
    ///
    /// queue.add_later(send("ada@example.org".into()))?;
    /// queue.close(Duration::from_secs(5)).await?; // it is stored
    /// assert!(matches!(queue.add_later(send("grace@example.org".into())), Err(Error::ShutDown(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::QueueUnavailable`] with the number of lost additions, [`Error::ShutDown`] if the runtime has ended.
    pub async fn close(&self, bound: Duration) -> Result<()> {
        self.batcher.close(bound).await
    }

    /// Cancels these tasks, or requests it from their servers. Ordered after all earlier additions, except those of
    /// other tasks that cannot be written now.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{ControlReply, TaskId, TaskState};
    ///
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// let replies = queue.cancel(&[task.id(), TaskId::generate()]).await?;
    /// assert_eq!(replies, [ControlReply::Applied(TaskState::Cancelled), ControlReply::NotFound]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client is closed, and [database errors](Client#database-errors).
    pub async fn cancel(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Cancel(None), ids).await
    }

    /// Changes the priority of these tasks if they wait or are enqueued. Higher priorities start first; negative ones
    /// are allowed. Ordered as [`Client::cancel`].
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// queue.set_priority(&[task.id()], 10).await?;
    /// assert_eq!(task.record().await?.priority, 10);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client is closed, and [database errors](Client#database-errors).
    pub async fn set_priority(&self, ids: &[TaskId], priority: i32) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Priority(priority), ids).await
    }

    /// Retries these failed, cancelled or stopped tasks. Ordered as [`Client::cancel`].
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// queue.cancel(&[task.id()]).await?;
    ///
    /// queue.retry(&[task.id()]).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, 15);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the client is closed, and [database errors](Client#database-errors).
    pub async fn retry(&self, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        self.control(&Verb::Retry, ids).await
    }

    /// Makes one call for each task, which the writer carries out together. Returns the replies in the order of the
    /// ids.
    async fn control(&self, verb: &Verb, ids: &[TaskId]) -> Result<Vec<ControlReply>> {
        let answers: Vec<_> = ids.iter().map(|id| self.batcher.control(verb.clone(), *id)).collect();
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

/// Returns the error of a control call that was refused.
pub(crate) fn refused(id: TaskId, reply: ControlReply, why: &'static str) -> Result<ControlReply> {
    match reply {
        ControlReply::NotFound => Err(Error::NotFound(id)),
        ControlReply::Refused(state) => Err(Error::WrongState { id, state, why }),
        ControlReply::KeyHeld(holder) => Err(Error::UniqueKeyHeld { id, holder }),
        done => Ok(done),
    }
}
