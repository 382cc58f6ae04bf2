//! A reference to a task, typed by its result.

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

use super::adder::{Ticket, Verb};
use super::{Client, SHUT_DOWN, refused};
use crate::store::{Added, ControlReply, Final};
use crate::task::{Attempt, StoredLogLine, TaskRecord};
use crate::{Error, Result, TaskId, TaskState, Timestamp, WaitReason};

/// The longest pause between two tries while the database is away.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long the state of a task may take that is told with a timeout.
const STATE_MAX: Duration = Duration::from_millis(500);

/// A task that was added, or that is known by its id. `T` is the type of its result, for which [`TaskRef::wait`] waits.
///
/// Not a future itself, so that waiting until a task is stored (`queue.add(call).await`) is not taken for waiting for its result:
///
/// ```compile_fail,E0277
/// async fn result(task: taskyard_core::TaskRef<u32>) -> u32 {
///     task.await.unwrap()
/// }
/// ```
#[derive(Debug)]
pub struct TaskRef<T = Value> {
    client: Client,
    id: TaskId,
    ticket: Option<(Arc<Ticket>, usize)>,
    /// A transaction of the caller's found it instead of adding one.
    found: bool,
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for TaskRef<T> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), ticket: self.ticket.clone(), ..*self }
    }
}

/// How far a task says it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Steps done.
    pub completed: Option<f64>,
    /// Steps in all.
    pub total: Option<f64>,
    /// Percent done.
    pub percentage: Option<f64>,
    /// What it is at.
    pub message: Option<String>,
    /// Steps in a second, lately.
    pub rate: Option<f64>,
    /// Seconds since it began to count.
    pub elapsed: Option<f64>,
    /// Seconds until it is through, as it goes now.
    pub eta_seconds: Option<f64>,
    /// How many steps there are in all is not known.
    pub indeterminate: Option<bool>,
    /// When this was said, by the worker's clock.
    pub updated_at: Option<Timestamp>,
    /// The attempt that said it.
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

    /// The task that stands for one that a transaction of the caller's has added.
    pub(super) fn added_in(client: Client, added: Added) -> Self {
        Self { found: added.existing, ..Self::known(client, added.id) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The same task with another type of result.
    #[must_use]
    pub fn typed<U>(self) -> TaskRef<U> {
        TaskRef { client: self.client, id: self.id, ticket: self.ticket, found: self.found, result: PhantomData }
    }

    /// The id, at once. Of a duplicate of a unique key it becomes the existing task's once that is known.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self.added_as() {
            Some(Ok(added)) => added.id,
            _ => self.id,
        }
    }

    /// Whether a unique key gave an existing task; known once it is written.
    #[must_use]
    pub fn existing(&self) -> bool {
        self.found || matches!(self.added_as(), Some(Ok(added)) if added.existing)
    }

    fn added_as(&self) -> Option<Result<Added>> {
        let (ticket, place) = self.ticket.as_ref()?;
        Some(ticket.peek()?.as_ref().map(|added| added[*place]).map_err(Clone::clone))
    }

    /// The id once the task is durable.
    ///
    /// # Errors
    /// Why it could not be written.
    pub async fn stored(&self) -> Result<TaskId> {
        match &self.ticket {
            None => Ok(self.id),
            Some((ticket, place)) => {
                ticket.outcome().await.as_ref().map(|added| added[*place].id).map_err(Clone::clone)
            }
        }
    }

    /// The whole record.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database's.
    pub async fn record(&self) -> Result<TaskRecord> {
        let id = self.stored().await?;
        self.client.open_store()?.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))
    }

    /// The state.
    ///
    /// # Errors
    /// As [`TaskRef::record`].
    pub async fn state(&self) -> Result<TaskState> {
        Ok(self.record().await?.state)
    }

    /// The context.
    ///
    /// # Errors
    /// As [`TaskRef::record`].
    pub async fn context(&self) -> Result<Map<String, Value>> {
        let id = self.stored().await?;
        let bytes = self.client.open_store()?.context(id).await?.ok_or(Error::NotFound(id))?;
        Ok(crate::context::Context::from_bytes(&bytes)?.as_map().clone())
    }

    /// How far it says it is; `None` if it never said.
    ///
    /// # Errors
    /// As [`TaskRef::record`].
    pub async fn progress(&self) -> Result<Option<Progress>> {
        Ok(Progress::from_context(&self.context().await?))
    }

    /// Its log lines, oldest first (at most 10,000).
    ///
    /// # Errors
    /// As [`TaskRef::record`].
    pub async fn logs(&self) -> Result<Vec<StoredLogLine>> {
        let id = self.stored().await?;
        self.of_known_task(id, self.client.open_store()?.logs(id, 0, 10_000).await?).await
    }

    /// Its attempts, oldest first.
    ///
    /// # Errors
    /// As [`TaskRef::record`].
    pub async fn attempts(&self) -> Result<Vec<Attempt>> {
        let id = self.stored().await?;
        self.of_known_task(id, self.client.open_store()?.attempts(id).await?).await
    }

    /// Returns the rows stored for a task. `Error::NotFound` if there are none because there is no such task.
    async fn of_known_task<Row>(&self, id: TaskId, rows: Vec<Row>) -> Result<Vec<Row>> {
        if rows.is_empty() && self.client.open_store()?.get(&[id]).await?.pop().flatten().is_none() {
            return Err(Error::NotFound(id));
        }
        Ok(rows)
    }

    /// Takes an addition back, of all its references (one call of `add_tasks` is one): for a caller that has reported that it
    /// failed. What was not handed to the database yet is never sent; what may have been is cancelled right behind it.
    pub fn withdraw(added: &[Self]) {
        let Some(Self { client, ticket: Some((ticket, _)), .. }) = added.first() else { return };
        let ids: Vec<TaskId> = added.iter().map(Self::id).collect();
        client.adder.withdraw(ticket, &ids);
    }

    /// Waits until the task is done, failed, cancelled or stopped; a failure of the task is no error here. While the
    /// database is away it goes on waiting. Awaited in a task's body, it leaves the body's place to others meanwhile.
    ///
    /// # Errors
    /// Why the task could not be added; [`Error::NotFound`] for an id that does not exist; [`Error::TaskRemoved`] for a
    /// task that is removed while this waits for it.
    pub async fn outcome(&self) -> Result<Final> {
        let _released = crate::rest::release_slot();
        let id = match &self.ticket {
            Some(_) => self.stored().await?,
            None => self.present().await?,
        };
        self.client.waiter.wait(id).await
    }

    /// The id of a task that is there, however long the database is away.
    async fn present(&self) -> Result<TaskId> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.client.open_store()?.present(&[self.id]).await {
                Ok(present) if present == [true] => return Ok(self.id),
                Ok(_) => return Err(Error::NotFound(self.id)),
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, task = %self.id, "cannot look for a task; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels the task: at once if it does not run, else its body is interrupted. Carried out in the order of the
    /// calls, whether the answer is awaited or not.
    pub fn cancel(&self) -> Control {
        self.control(Verb::Cancel(None), "only a task that has not ended can be cancelled")
    }

    /// Cancels the task as [`TaskRef::cancel`] does, and keeps why in its record (`cancel_reason`) until it is retried.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for a reason that is longer than a log line may be; nothing was asked then.
    pub fn cancel_because(&self, reason: impl Into<String>) -> Result<Control> {
        let reason = reason.into();
        self.client.config().limits.check_reason(&reason)?;
        Ok(self.control(Verb::Cancel(Some(reason)), "only a task that has not ended can be cancelled"))
    }

    /// Stops the running task and keeps it for a retry.
    pub fn stop(&self) -> Control {
        self.control(Verb::Stop, "only a running task can be stopped")
    }

    /// Runs a failed, cancelled or stopped task again: same row, same id.
    pub fn retry(&self) -> Control {
        self.control(Verb::Retry, "only a failed, cancelled or stopped task can be retried")
    }

    /// Gives the task another priority, if it waits or is enqueued: higher first, negative ones are legal.
    pub fn set_priority(&self, priority: i32) -> Control {
        self.control(Verb::Priority(priority), "only a task that has not started can be given another priority")
    }

    fn control(&self, verb: Verb, why: &'static str) -> Control {
        let id = self.id();
        Control { id, why, answer: self.client.adder.control(verb, id) }
    }
}

impl<T: DeserializeOwned> TaskRef<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`Error::TaskFailed`], [`Error::TaskCancelled`], [`Error::TaskStopped`], [`Error::ResultMismatch`], and those
    /// of [`TaskRef::outcome`].
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

    /// Waits for the result for at most this long; the task goes on.
    ///
    /// # Errors
    /// As [`TaskRef::wait`], and [`Error::WaitTimeout`], also when the database is away.
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

/// A control call on its way; awaiting it gives the answer, dropping it does not take it back.
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
