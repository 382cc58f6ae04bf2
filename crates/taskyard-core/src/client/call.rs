//! A call of a task function with its options, before it is added.
//!
//! Options that a call does not set are filled in from the client's configuration on addition (`Call::into_task`).
//! Errors in arguments and options are stored in the call and returned by the addition, so that a call can be built in one
//! expression.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use super::ClientConfig;
use crate::namespace::kind_in;
use crate::payload::references;
use crate::retry::RetryPolicy;
use crate::state::{OnParentFailure, Runtime};
use crate::task::{NewTask, Start, Unique, UniqueHold};
use crate::{Error, Limits, Result, TaskId, TaskRef, Timestamp};

/// A call of a task function with its arguments, as returned by `#[task]` functions. Does nothing until it is added.
///
/// `T` is the function's result type. An argument that cannot be stored exactly is an error when the call is added.
///
/// ```
/// # #[taskyard::task] async fn render(page: u32) -> u32 { page }
/// # #[taskyard::task] async fn publish(pages: Vec<u32>) -> usize { pages.len() }
/// # #[tokio::main] async fn main() -> taskyard::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
/// use std::time::Duration;
///
/// let pages: Vec<_> = (1..=3).map(render).collect();
/// let publish = publish(vec![])
///     .results_of("pages", &pages) // runs after them, with their results
///     .queue("web")
///     .priority(5) // higher ones start first
///     .max_retries(10)
///     .timeout(Duration::from_secs(30)) // of each attempt
///     .expires(Duration::from_secs(3_600)) // cancelled if it has not started by then
///     .unique("publish") // returns the task that holds the key, if there is one
///     .tag("nightly");
/// queue.add_tasks(pages).await?;
/// let publish = queue.add(publish).await?;
/// queue.drain().await?;
/// assert_eq!(publish.wait().await?, 3);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a call does nothing until it is added: `queue.add(call).await?`"]
pub struct Call<T> {
    task: Result<NewTask>,
    max_retries: Option<u32>,
    timeout: Option<Option<Duration>>,
    /// Whether the adding program declares the function, so that its kind is always in the program's namespace.
    is_own: bool,
    /// The parameter names in order, if known.
    names: &'static [&'static str],
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        let task = self.task.clone();
        Self { task, result: PhantomData, ..*self }
    }
}

impl<T> Call<T> {
    /// Creates a call of a function by its kind, with positional arguments as a tuple. The kind may include a namespace
    /// (`shop/app::send`); without one it is in the client's ([`ClientConfig::namespace`]).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Call, Runtime};
    ///
    /// // A Python function, which a Python program runs.
    /// let call: Call<String> = Call::new("app.mail.send", &("ada@example.org",)).runtime(Runtime::Python);
    /// let task = queue.add(call).await?;
    /// assert_eq!(task.record().await?.kind, "app.mail.send");
    /// # Ok(()) }
    /// ```
    pub fn new<A: Serialize>(kind: &str, args: &A) -> Self {
        // Only values that can never be stored are refused here; sizes are checked against the client's limits on
        // addition.
        let limits = Limits { arguments_bytes_max: usize::MAX, nesting_max: usize::MAX, ..Limits::default() };
        Self::from_payload(kind, crate::payload::encode_args(args, &limits))
    }

    /// Creates a call with a payload that was encoded elsewhere: JSON `{"args": [...], "kwargs": {...}}`.
    #[doc(hidden)]
    pub fn from_payload(kind: &str, payload: Result<Vec<u8>>) -> Self {
        Self {
            task: payload.map(|payload| NewTask::new(kind, payload)),
            max_retries: None,
            timeout: None,
            is_own: false,
            names: &[],
            result: PhantomData,
        }
    }

    /// Marks the function as declared by the adding program.
    #[doc(hidden)]
    pub fn declared(mut self) -> Self {
        self.is_own = true;
        self
    }

    /// Sets the names of the parameters, in order.
    pub fn parameters(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    /// Passes the result of a task as the argument of this name, replacing any value given for it. The task becomes a
    /// parent.
    ///
    /// A name that the function does not have is an error when the call is added. A result of the wrong type fails the
    /// task, like any other argument of the wrong type.
    ///
    /// ```
    /// # #[taskyard::task] async fn add(left: i64, right: i64) -> i64 { left + right }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let first = queue.add(add(1, 2)).await?;
    /// let second = queue.add(add(0, 10).result_of("left", &first)).await?;
    /// queue.drain().await?;
    /// assert_eq!(second.wait().await?, 13);
    /// # Ok(()) }
    /// ```
    pub fn result_of<P>(self, argument: &str, task: &TaskRef<P>) -> Self {
        self.result_of_id(argument, task.id())
    }

    /// Passes the result of a call that is added together with this one: see [`Call::result_of`].
    pub fn result_of_call<P>(self, argument: &str, call: &Call<P>) -> Self {
        match &call.task {
            Ok(task) => self.result_of_id(argument, task.id),
            Err(error) => Self { task: Err(error.clone()), ..self },
        }
    }

    /// Passes the result of a task by its id: see [`Call::result_of`].
    pub fn result_of_id(self, argument: &str, id: TaskId) -> Self {
        self.refer(argument, &references::reference(id), &[id]).parent_id(id)
    }

    /// Passes the results of those calls, in order, as the argument of this name, a list. The calls become parents.
    pub fn results_of<'a, P: 'a>(self, argument: &str, calls: impl IntoIterator<Item = &'a Call<P>>) -> Self {
        let mut ids: Vec<TaskId> = Vec::new();
        for call in calls {
            match &call.task {
                Ok(task) => ids.push(task.id),
                Err(error) => return Self { task: Err(error.clone()), ..self },
            }
        }
        let list: Vec<String> = ids.iter().map(|id| references::reference(*id)).collect();
        let call = self.refer(argument, &format!("[{}]", list.join(",")), &ids);
        ids.into_iter().fold(call, Call::parent_id)
    }

    fn refer(mut self, argument: &str, text: &str, ids: &[TaskId]) -> Self {
        let names = self.names;
        self.task = self.task.and_then(|mut task| {
            task.payload = references::put(&task.payload, names, argument, text, ids)?;
            Ok(task)
        });
        self
    }

    /// Returns the task for callers that store it themselves (in their own transaction).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a call that cannot be
    /// stored.
    #[doc(hidden)]
    pub fn into_task(self, config: &ClientConfig) -> Result<NewTask> {
        let mut task = self.task?;
        task.kind = match &config.namespace {
            Some(namespace) if self.is_own => namespace.own(&task.kind),
            None if self.is_own => task.kind,
            namespace => kind_in(namespace.as_ref(), &task.kind),
        };
        task.retry.max_retries = self.max_retries.unwrap_or(config.max_retries);
        task.timeout = self.timeout.unwrap_or(config.timeout).filter(|timeout| !timeout.is_zero());
        task.check(&config.limits)?;
        Ok(task)
    }

    /// Returns the task, for running the body in place.
    ///
    /// # Errors
    /// [`Error::NotRepresentable`] for arguments that cannot be stored, [`Error::InvalidArgument`] for an invalid
    /// result reference.
    #[doc(hidden)]
    pub fn task(&self) -> Result<&NewTask> {
        self.task.as_ref().map_err(Clone::clone)
    }

    fn with(mut self, change: impl FnOnce(&mut NewTask)) -> Self {
        if let Ok(task) = &mut self.task {
            change(task);
        }
        self
    }

    /// Sets the id, if it must be known in advance (default: a new UUIDv7).
    pub fn id(self, id: TaskId) -> Self {
        self.with(|task| task.id = id)
    }

    /// Sets the language of the servers that run it (default Rust).
    pub fn runtime(self, runtime: Runtime) -> Self {
        self.with(|task| task.runtime = runtime)
    }

    /// Sets a label for users (default: the kind).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|task| task.name = Some(name.into()))
    }

    /// Sets the queue (default `default`).
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|task| task.queue = queue.into())
    }

    /// Sets the priority (default 0). Higher priorities start first; within a priority, first in, first out.
    pub fn priority(self, priority: i32) -> Self {
        self.with(|task| task.priority = priority)
    }

    /// Adds a parent: the task runs only after it is done.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskState;
    ///
    /// let first = queue.add(send("ada@example.org".into())).await?;
    /// let second = queue.add(send("grace@example.org".into()).parent(&first)).await?;
    /// assert_eq!(second.state().await?, TaskState::Waiting);
    /// # Ok(()) }
    /// ```
    pub fn parent<P>(self, parent: &TaskRef<P>) -> Self {
        self.parent_id(parent.id())
    }

    /// Adds parents: the task runs only after all of them are done.
    pub fn parents<'a, P: 'a>(self, parents: impl IntoIterator<Item = &'a TaskRef<P>>) -> Self {
        parents.into_iter().fold(self, |call, parent| call.parent(parent))
    }

    /// Adds a parent by id: the task runs only after it is done.
    pub fn parent_id(self, parent: TaskId) -> Self {
        self.with(|task| task.parents.push(parent))
    }

    /// Sets the behaviour when a parent fails (default: the task fails too).
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[taskyard::task] async fn clean_up() {}
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{OnParentFailure, TaskState};
    ///
    /// let fetch = queue.add(fetch()).await?;
    /// let clean_up = queue.add(clean_up().parent(&fetch).on_parent_failure(OnParentFailure::Run)).await?;
    /// queue.drain().await?;
    /// assert_eq!(fetch.state().await?, TaskState::Failed);
    /// assert_eq!(clean_up.state().await?, TaskState::Done);
    /// # Ok(()) }
    /// ```
    pub fn on_parent_failure(self, policy: OnParentFailure) -> Self {
        self.with(|task| task.on_parent_failure = policy)
    }

    /// Delays the start until this long after the addition.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    /// use taskyard::TaskState;
    ///
    /// let task = queue.add(send("ada@example.org".into()).delay(Duration::from_secs(60))).await?;
    /// assert_eq!(task.state().await?, TaskState::Waiting);
    /// # Ok(()) }
    /// ```
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|task| task.start = Start::After(delay))
    }

    /// Delays the start until this instant.
    pub fn run_at(self, at: Timestamp) -> Self {
        self.with(|task| task.start = Start::At(at))
    }

    /// Cancels the task if it has not started this long after it was added. A task that has started is retried and
    /// rescued like any other; a task that a stopping server released counts as not started.
    pub fn expires(self, after: Duration) -> Self {
        self.with(|task| task.expires = Some(after))
    }

    /// Sets the number of retries after the first failure (default 3).
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Sets the retry policy: backoff, jitter, error types, and the number of retries.
    ///
    /// ```
    /// # #[taskyard::task] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::RetryPolicy;
    ///
    /// // Pauses of exactly 0.5, 1, and 2 seconds, and none after an error of this type.
    /// let policy =
    ///     RetryPolicy { backoff_ms: 500, jitter: false, never: vec!["BadAddress".into()], ..RetryPolicy::default() };
    /// let task = queue.add(fetch().retry(policy)).await?;
    /// assert_eq!(task.record().await?.retry.backoff_ms, 500);
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.max_retries = Some(policy.max_retries);
        self.with(|task| task.retry = policy)
    }

    /// Sets the maximum duration of an attempt (default 300 s; zero = no limit).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(Some(timeout));
        self
    }

    /// Sets a unique key, held until the task has finished: while it is held, adding another task with it returns this
    /// one.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let first = queue.add(send("ada@example.org".into()).unique("welcome-ada")).await?;
    /// let second = queue.add(send("ada@example.org".into()).unique("welcome-ada")).await?;
    /// assert!(second.existing());
    /// assert_eq!(second.id(), first.id());
    /// # Ok(()) }
    /// ```
    pub fn unique(self, key: impl Into<String>) -> Self {
        self.unique_for(key, UniqueHold::UntilFinished)
    }

    /// Sets a unique key and how long it is held.
    pub fn unique_for(self, key: impl Into<String>, hold: UniqueHold) -> Self {
        self.with(|task| task.unique = Some(Unique { key: key.into(), hold }))
    }

    /// Deletes the task 60 s after it finished and its children ended.
    pub fn auto_remove(self) -> Self {
        self.with(|task| task.auto_remove = true)
    }

    /// Makes the task a dead letter on the first crash or loss, instead of running it again.
    pub fn at_most_once(self) -> Self {
        self.with(|task| task.at_most_once = true)
    }

    /// Sets the initial context, which must be encoded as a JSON object.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into()).context(&serde_json::json!({"tenant": 7}))).await?;
    /// assert_eq!(task.context().await?["tenant"], 7);
    /// # Ok(()) }
    /// ```
    pub fn context(mut self, context: &impl Serialize) -> Self {
        match serde_json::to_vec(context) {
            Ok(bytes) => self.with(|task| task.context = Some(bytes)),
            Err(error) => {
                self.task = Err(Error::NotRepresentable { what: "context".into(), why: error.to_string() });
                self
            }
        }
    }

    /// Adds a tag to filter by; may be called repeatedly.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(|task| task.tags.push(tag.into()))
    }
}
