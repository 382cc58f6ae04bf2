//! References to tasks, typed by their result.
//!
//! A reference exists before its task is stored: the client generates the id. Every method that reads or waits first waits
//! until the addition is written, and returns its error if it is refused. Waits are shared by all references of a client
//! (see `waiter`).

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::insert_batcher::{Ticket, Verb};
use super::{Client, SHUT_DOWN, refused};
use crate::backoff::{Backoff, READ};
use crate::store::{Added, ControlReply, Final};
use crate::task::{Attempt, StoredLogLine, TaskRecord};
use crate::{Error, Result, TaskId, TaskState, Timestamp, WaitReason};

/// Maximum time for reading the state that a timeout error reports.
const STATE_MAX: Duration = Duration::from_millis(500);

/// A reference to a task that was added or is known by its id. `T` is the type of the result that [`TaskRef::wait`]
/// returns.
///
/// Not a future itself, so that waiting until a task is stored (`queue.add(call).await`) is not mistaken for waiting
/// for its result:
///
/// ```compile_fail,E0277
/// async fn result(task: taskyard::TaskRef<u32>) -> u32 {
///     task.await.unwrap()
/// }
/// ```
#[derive(Debug)]
pub struct TaskRef<T = Value> {
    client: Client,
    id: TaskId,
    ticket: Option<(Arc<Ticket>, usize)>,
    /// Whether a transaction of the caller found the task instead of adding it.
    found: bool,
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for TaskRef<T> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), ticket: self.ticket.clone(), ..*self }
    }
}

/// Progress that a task has reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Completed steps.
    pub completed: Option<f64>,
    /// Total number of steps.
    pub total: Option<f64>,
    /// Percentage done.
    pub percentage: Option<f64>,
    /// Current activity.
    pub message: Option<String>,
    /// Recent steps per second.
    pub rate: Option<f64>,
    /// Seconds since the counting started.
    pub elapsed: Option<f64>,
    /// Estimated seconds until completion.
    pub eta_seconds: Option<f64>,
    /// Whether the total number of steps is unknown.
    pub indeterminate: Option<bool>,
    /// When this was reported, by the worker's clock.
    pub updated_at: Option<Timestamp>,
    /// The attempt that reported it.
    pub attempt: Option<u32>,
}

impl Progress {
    /// Reads the `progress` entry of a context: a number (percent) or an object.
    #[must_use]
    pub fn from_context(context: &Map<String, Value>) -> Option<Self> {
        match context.get("progress")? {
            Value::Object(progress) => {
                let number = |name: &str| progress.get(name).and_then(Value::as_f64);
                let (completed, total) = (number("completed"), number("total"));
                let computed = match (completed, total) {
                    (Some(completed), Some(total)) if total > 0.0 => Some(completed / total * 100.0),
                    _ => None,
                };
                let text = |name: &str| progress.get(name).and_then(Value::as_str);
                Some(Self {
                    completed,
                    total,
                    percentage: number("percentage").or(computed),
                    message: text("message").map(str::to_owned),
                    rate: number("rate"),
                    elapsed: number("elapsed"),
                    eta_seconds: number("eta_seconds"),
                    indeterminate: progress.get("indeterminate").and_then(Value::as_bool),
                    updated_at: text("updated_at").and_then(|text| text.parse().ok()),
                    attempt: progress.get("attempt").and_then(Value::as_u64).and_then(|number| number.try_into().ok()),
                })
            }
            value => Some(Self { percentage: Some(value.as_f64()?), ..Self::default() }),
        }
    }
}

impl<T> TaskRef<T> {
    pub(super) fn added(client: Client, id: TaskId, ticket: Arc<Ticket>, place: usize) -> Self {
        Self { client, id, ticket: Some((ticket, place)), found: false, result: PhantomData }
    }

    pub(super) fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.ticket.as_ref().map(|(ticket, _)| ticket)
    }

    pub(super) fn known(client: Client, id: TaskId) -> Self {
        Self { client, id, ticket: None, found: false, result: PhantomData }
    }

    /// Returns a reference to the task that a transaction of the caller has added or found.
    pub(super) fn added_in(client: Client, added: Added) -> Self {
        Self { found: added.existing, ..Self::known(client, added.id) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the same reference with another result type.
    #[must_use]
    pub fn typed<U>(self) -> TaskRef<U> {
        TaskRef { client: self.client, id: self.id, ticket: self.ticket, found: self.found, result: PhantomData }
    }

    /// Returns the id, without waiting. For a duplicate of a unique key it becomes the existing task's id once that is
    /// known.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self.added_as() {
            Some(Ok(added)) => added.id,
            _ => self.id,
        }
    }

    /// Returns whether the task existed already and held the unique key; known once the addition is written.
    #[must_use]
    pub fn existing(&self) -> bool {
        self.found || matches!(self.added_as(), Some(Ok(added)) if added.existing)
    }

    fn added_as(&self) -> Option<Result<Added>> {
        let (ticket, place) = self.ticket.as_ref()?;
        Some(ticket.peek()?.as_ref().map(|added| added[*place]).map_err(Clone::clone))
    }

    /// Waits until the task is durable, and returns its id.
    ///
    /// # Errors
    /// The reason why it could not be written: see [`Client::add`].
    pub async fn stored(&self) -> Result<TaskId> {
        match &self.ticket {
            None => Ok(self.id),
            Some((ticket, place)) => {
                ticket.outcome().await.as_ref().map(|added| added[*place].id).map_err(Clone::clone)
            }
        }
    }

    /// Returns the whole record.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into()).queue("mail").tag("welcome")).await?;
    /// let record = task.record().await?;
    /// assert_eq!((record.queue.as_str(), record.priority), ("mail", 0));
    /// assert_eq!(record.tags, ["welcome"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such task, the errors of [`TaskRef::stored`], and [database
    /// errors](Client#database-errors).
    pub async fn record(&self) -> Result<TaskRecord> {
        let id = self.stored().await?;
        self.client.open_store()?.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))
    }

    /// Returns the state.
    ///
    /// # Errors
    /// Those of [`TaskRef::record`].
    pub async fn state(&self) -> Result<TaskState> {
        Ok(self.record().await?.state)
    }

    /// Returns the context.
    ///
    /// # Errors
    /// Those of [`TaskRef::record`].
    pub async fn context(&self) -> Result<Map<String, Value>> {
        let id = self.stored().await?;
        let bytes = self.client.open_store()?.context(id).await?.ok_or(Error::NotFound(id))?;
        Ok(crate::context::Context::from_bytes(&bytes)?.as_map().clone())
    }

    /// Returns the progress that the task has reported; `None` if it has reported none.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// async fn import(rows: u64, context: TaskContext) {
    ///     for row in 1..=rows {
    ///         context.progress(row, rows);
    ///     }
    /// }
    ///
    /// let task = queue.add(import(200)).await?;
    /// assert_eq!(task.progress().await?, None);
    /// queue.drain().await?;
    /// assert_eq!(task.progress().await?.and_then(|progress| progress.percentage), Some(100.0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`TaskRef::record`].
    pub async fn progress(&self) -> Result<Option<Progress>> {
        Ok(Progress::from_context(&self.context().await?))
    }

    /// Returns its log lines, oldest first (at most 10,000).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskContext, task};
    ///
    /// #[task]
    /// async fn import(context: TaskContext) {
    ///     context.log(20, "200 rows"); // 20 = info
    /// }
    ///
    /// let task = queue.add(import()).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.logs().await?[0].line.message, "200 rows");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`TaskRef::record`].
    pub async fn logs(&self) -> Result<Vec<StoredLogLine>> {
        let id = self.stored().await?;
        self.of_known_task(id, self.client.open_store()?.logs(id, 0, 10_000).await?).await
    }

    /// Returns its attempts, oldest first.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::AttemptOutcome;
    ///
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// queue.drain().await?;
    /// let attempts = task.attempts().await?;
    /// assert_eq!((attempts.len(), attempts[0].outcome), (1, AttemptOutcome::Done));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`TaskRef::record`].
    pub async fn attempts(&self) -> Result<Vec<Attempt>> {
        let id = self.stored().await?;
        self.of_known_task(id, self.client.open_store()?.attempts(id).await?).await
    }

    /// Returns the rows stored for a task, or [`Error::NotFound`] if there are none because there is no such task.
    async fn of_known_task<Row>(&self, id: TaskId, rows: Vec<Row>) -> Result<Vec<Row>> {
        if rows.is_empty() && self.client.open_store()?.get(&[id]).await?.pop().flatten().is_none() {
            return Err(Error::NotFound(id));
        }
        Ok(rows)
    }

    /// Withdraws an addition with all of its references (those of one `add_tasks` call), for a caller that has reported
    /// it as failed. Tasks not handed to the database yet are never sent; tasks that may have been sent are cancelled
    /// directly after.
    pub fn withdraw(added: &[Self]) {
        let Some(Self { client, ticket: Some((ticket, _)), .. }) = added.first() else { return };
        let ids: Vec<TaskId> = added.iter().map(Self::id).collect();
        client.batcher.withdraw(ticket, &ids);
    }

    /// Waits until the task is done, failed, cancelled or stopped. A failure of the task is not an error here. While
    /// the database is unreachable the wait continues. In a task's body, the body's concurrency slot is released
    /// meanwhile.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskState;
    ///
    /// let task = queue.add(fetch()).await?;
    /// queue.drain().await?;
    /// let outcome = task.outcome().await?;
    /// assert_eq!(outcome.state, TaskState::Failed);
    /// assert_eq!(outcome.error.expect("of a failed task").message, "no connection");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The errors of [`TaskRef::stored`]; [`Error::NotFound`] for an unknown id; [`Error::TaskRemoved`] if the task is
    /// removed during the wait.
    pub async fn outcome(&self) -> Result<Final> {
        let _released = crate::concurrency_slot::release_slot();
        let id = match &self.ticket {
            Some(_) => self.stored().await?,
            None => self.present().await?,
        };
        self.client.waiter.wait(id).await
    }

    /// Returns the id once the task is known to exist, however long the database is unreachable.
    async fn present(&self) -> Result<TaskId> {
        let mut backoff = Backoff::new(READ);
        loop {
            match self.client.open_store()?.present(&[self.id]).await {
                Ok(present) if present == [true] => return Ok(self.id),
                Ok(_) => return Err(Error::NotFound(self.id)),
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, task = %self.id, "cannot look for a task; trying again");
                    backoff.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels the task: at once if it is not running, otherwise its body is interrupted. Carried out in the order of
    /// the calls, whether or not the returned future is awaited.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Error;
    ///
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// task.cancel().await?;
    /// assert!(matches!(task.wait().await, Err(Error::TaskCancelled(_))));
    /// assert!(matches!(task.cancel().await, Err(Error::WrongState { .. }))); // it has ended
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self) -> Control {
        self.control(Verb::Cancel(None), "only a task that has not ended can be cancelled")
    }

    /// Cancels the task as [`TaskRef::cancel`] does, and stores the reason in its record (`cancel_reason`) until it is
    /// retried.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// task.cancel_because("the account was deleted")?.await?;
    /// assert_eq!(task.record().await?.cancel_reason.as_deref(), Some("the account was deleted"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::OverLimit`] for a reason longer than `log_line_bytes_max`; nothing is cancelled then.
    pub fn cancel_because(&self, reason: impl Into<String>) -> Result<Control> {
        let reason = reason.into();
        self.client.config().limits.check_reason(&reason)?;
        Ok(self.control(Verb::Cancel(Some(reason)), "only a task that has not ended can be cancelled"))
    }

    /// Stops the running task, which can then be retried.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{TaskState, task};
    ///
    /// #[task]
    /// async fn listen() {
    ///     std::future::pending().await
    /// }
    ///
    /// let server = queue.serve().await?;
    /// let task = queue.add(listen()).await?;
    /// while task.state().await? != TaskState::Doing {
    ///     tokio::task::yield_now().await;
    /// }
    /// task.stop().await?;
    /// assert_eq!(task.outcome().await?.state, TaskState::Stopped);
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn stop(&self) -> Control {
        self.control(Verb::Stop, "only a running task can be stopped")
    }

    /// Runs a failed, cancelled or stopped task again, with the same id.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// task.cancel().await?;
    /// task.retry().await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, 15);
    /// # Ok(()) }
    /// ```
    pub fn retry(&self) -> Control {
        self.control(Verb::Retry, "only a failed, cancelled or stopped task can be retried")
    }

    /// Changes the priority of the task if it waits or is enqueued. Higher priorities start first; negative ones are
    /// allowed.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// task.set_priority(10).await?;
    /// assert_eq!(task.record().await?.priority, 10);
    /// # Ok(()) }
    /// ```
    pub fn set_priority(&self, priority: i32) -> Control {
        self.control(Verb::Priority(priority), "only a task that has not started can be given another priority")
    }

    fn control(&self, verb: Verb, why: &'static str) -> Control {
        let id = self.id();
        Control { id, why, answer: self.client.batcher.control(verb, id) }
    }
}

impl<T: DeserializeOwned> TaskRef<T> {
    /// Waits for the result.
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)]
    /// # async fn divide(left: i64, right: i64) -> Result<i64, String> {
    /// #     left.checked_div(right).ok_or_else(|| "division by zero".to_owned())
    /// # }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Error;
    ///
    /// let (good, bad) = (queue.add(divide(6, 3)).await?, queue.add(divide(6, 0)).await?);
    /// queue.drain().await?;
    /// assert_eq!(good.wait().await?, 2);
    /// match bad.wait().await {
    ///     Err(Error::TaskFailed { message, .. }) => assert_eq!(message, "division by zero"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::TaskFailed`], [`Error::TaskCancelled`] or [`Error::TaskStopped`] if the task ended so,
    /// [`Error::ResultMismatch`] if the result is not a `T`, and the errors of [`TaskRef::outcome`].
    pub async fn wait(&self) -> Result<T> {
        let found = self.outcome().await?;
        let id = found.id;
        match found.state {
            TaskState::Done => {
                let bytes = found.result.unwrap_or_else(|| b"null".to_vec());
                serde_json::from_slice(&bytes).map_err(|error| Error::ResultMismatch {
                    id,
                    expected: std::any::type_name::<T>(),
                    why: error.to_string(),
                })
            }
            TaskState::Cancelled => Err(Error::TaskCancelled(id)),
            TaskState::Stopped => Err(Error::TaskStopped(id)),
            _ => {
                let error = found.error.unwrap_or_else(|| crate::Failure::new("Unknown", "the error was not stored"));
                Err(Error::TaskFailed {
                    id,
                    error_type: error.error_type,
                    message: error.message,
                    traceback: error.traceback,
                })
            }
        }
    }

    /// Waits for the result for at most `timeout`. The task is not affected by a timeout.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    /// use taskyard::{Error, TaskState};
    ///
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// match task.wait_timeout(Duration::from_millis(10)).await {
    ///     Err(Error::WaitTimeout { state, .. }) => assert_eq!(state, Some(TaskState::Enqueued)), // no server runs
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`TaskRef::wait`], and [`Error::WaitTimeout`], also if the database is unreachable until then.
    pub async fn wait_timeout(&self, timeout: Duration) -> Result<T> {
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(result) => result,
            Err(_) => {
                let found = tokio::time::timeout(STATE_MAX, self.record()).await.ok().and_then(Result::ok);
                let is_parked = |record: &TaskRecord| record.wait_reason == Some(WaitReason::Parked);
                Err(Error::WaitTimeout {
                    id: self.id(),
                    seconds: timeout.as_secs_f64(),
                    state: found.as_ref().map(|record| record.state),
                    parked: found.filter(is_parked).and_then(|record| record.waiting_for),
                })
            }
        }
    }
}

/// A control call in progress. Awaiting it returns the reply; dropping it does not cancel the call.
#[derive(Debug)]
pub struct Control {
    id: TaskId,
    why: &'static str,
    answer: oneshot::Receiver<Result<ControlReply>>,
}

impl Future for Control {
    type Output = Result<ControlReply>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let (id, why) = (self.id, self.why);
        Pin::new(&mut self.answer).poll(poller).map(|answer| match answer {
            Ok(Ok(reply)) => refused(id, reply, why),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SHUT_DOWN),
        })
    }
}
