//! The operations of a client as data, for callers outside of Rust: Python in this process, and child processes.
//!
//! [`Client::request`] takes an operation and returns JSON. Operations that must keep the order of the calls (additions,
//! cancel, stop, retry) are pushed before it returns; only the reply is awaited.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Client, DeadEdit, Event, TaskRef};
use crate::payload::{plain, shown};
use crate::schedule::{NewSchedule, OnConflict, ScheduleRecord};
use crate::seal::{Blob, Keys, seal};
use crate::store::{Final, QueueStatus, TaskFilter};
use crate::task::{NewTask, StoredLogLine};
use crate::{Error, Rate, Result, TaskId, TaskState};

/// A task to be added whose serialised parts are not signed yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The task, with every default filled in.
    pub task: NewTask,
    /// Serialised values to sign and insert into its payload.
    pub blobs: Vec<Blob>,
}

/// An operation of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Adds all of these or none; returns `[[id, existing], ..]` once they are durable.
    Add(Vec<Draft>),
    /// Waits for the end of a task; returns `{"id", "state", "result", "error"}`.
    Wait(TaskId),
    /// Returns the record.
    Record(TaskId),
    /// Returns the context, an object.
    Context(TaskId),
    /// Returns the log lines, oldest first.
    Logs(TaskId),
    /// Returns the attempts, oldest first.
    Attempts(TaskId),
    /// Cancels a task, with a reason; returns the reply.
    Cancel(TaskId, Option<String>),
    /// Stops a task; returns the reply.
    Stop(TaskId),
    /// Retries a task; returns the reply.
    Retry(TaskId),
    /// Returns the results of a task's parents.
    ParentResults(TaskId),
    /// Returns records, newest first.
    List {
        /// In these states; in any if empty.
        states: Vec<TaskState>,
        /// In this queue.
        queue: Option<String>,
        /// Of this kind.
        kind: Option<String>,
        /// Maximum number of records.
        limit: usize,
    },
    /// Returns the events of a task after a given one, as soon as there are any: `{"events", "seen", "ended"}`.
    Watch {
        /// The task.
        id: TaskId,
        /// Number of the last known event; all events if `None`.
        since: Option<u64>,
        /// `seen` of the last reply.
        seen: Option<u64>,
        /// Timeout in milliseconds, after which the reply contains no event.
        wait_ms: u64,
    },
    /// Returns `null` once everything pushed before is written.
    Flush,
    /// An operation on schedules.
    Schedules(ScheduleRequest),
    /// Changes the priority of a task; returns the reply.
    SetPriority(TaskId, i32),
    /// An operation on queues.
    Queues(Box<QueueRequest>),
    /// An operation on dead letters.
    Dead(Box<DeadLetterRequest>),
}

impl ClientRequest {
    /// Returns whether the operation only reads, so that its reply may be discarded.
    #[must_use]
    pub fn is_question(&self) -> bool {
        match self {
            Self::Wait(_)
            | Self::Record(_)
            | Self::Context(_)
            | Self::Logs(_)
            | Self::Attempts(_)
            | Self::ParentResults(_)
            | Self::List { .. }
            | Self::Watch { .. } => true,
            Self::Schedules(request) => matches!(request, ScheduleRequest::List | ScheduleRequest::Get { .. }),
            Self::Queues(request) => matches!(**request, QueueRequest::List),
            Self::Dead(request) => matches!(
                **request,
                DeadLetterRequest::List(_) | DeadLetterRequest::Count(_) | DeadLetterRequest::Show(_)
            ),
            Self::Add(_) | Self::Cancel(..) | Self::Stop(_) | Self::Retry(_) | Self::SetPriority(..) | Self::Flush => {
                false
            }
        }
    }
}

/// An operation on queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QueueRequest {
    /// Returns all queues by name.
    List,
    /// Pauses or resumes a queue; returns `null`.
    SetPaused(String, bool),
    /// Sets the concurrency limit of a queue; returns `null`.
    Limit(String, Option<u32>),
    /// Sets the rate limit of a queue; returns `null`.
    Rate(String, Option<Rate>),
    /// Sets the ageing interval of a queue; returns `null`.
    Age(String, Option<Duration>),
    /// Pauses a queue and waits for its running tasks; returns whether none is running any more.
    Drain {
        /// Name.
        queue: String,
        /// Maximum time to wait; no limit if `None`.
        timeout: Option<Duration>,
    },
    /// Deletes finished tasks; returns how many.
    Purge(TaskFilter),
}

/// An operation on dead letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeadLetterRequest {
    /// Returns records, newest first.
    List(TaskFilter),
    /// Returns the number of dead letters.
    Count(TaskFilter),
    /// Returns `{"task", "attempts"}`.
    Show(TaskId),
    /// Edits a dead letter; returns `null`.
    Edit(TaskId, DeadEdit),
    /// Edits a dead letter and retries it; returns the reply.
    Retry(TaskId, DeadEdit),
    /// Retries all that match; returns how many.
    RetryAll(TaskFilter),
    /// Deletes all that match; returns how many.
    Purge(TaskFilter),
}

/// An operation on schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ScheduleRequest {
    /// Stores a schedule; returns `{"name", "put", "next_at", "warnings"}`.
    Put {
        /// The schedule.
        schedule: Box<NewSchedule>,
        /// Behaviour if a schedule of this name exists.
        on_conflict: OnConflict,
    },
    /// Returns all schedules by name.
    List,
    /// Returns a schedule with its next times (`upcoming`) and its history, newest first.
    Get {
        /// Name.
        name: String,
        /// Number of next times.
        upcoming: usize,
        /// Number of history rows.
        runs: usize,
    },
    /// Changes the rule and zone of a schedule; returns the same as `Put`.
    Reschedule {
        /// Name.
        name: String,
        /// The new rule.
        rule: String,
        /// The new zone; unchanged if `None`.
        zone: Option<String>,
    },
    /// Deletes a schedule; returns whether it existed.
    Remove(String),
    /// Pauses or resumes a schedule; returns whether it exists.
    SetPaused(String, bool),
    /// Runs a schedule now; returns the id of the task.
    Run(String),
}

/// Maximum size of the results of a task's parents in one reply (larger ones are not even read), and of a list of
/// records.
const ANSWER_BYTES_MAX: usize = 56 << 20;
/// Number of records read at once for a list, so that the memory for them is bounded too.
const LIST_PAGE: usize = 64;

/// A future reply, as JSON.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

impl Client {
    /// Carries out an operation.
    ///
    /// # Errors
    /// Arguments, limits, cycles, and a full buffer are refused at the call. All other errors are returned by the
    /// future.
    #[doc(hidden)]
    pub fn request(&self, request: ClientRequest) -> Result<ResponseFuture> {
        let client = self.clone();
        let known = |id: TaskId| client.get::<serde_json::Value>(id);
        Ok(match request {
            ClientRequest::Add(drafts) => {
                let refs = self.push_beyond(self.settle_drafts(drafts)?)?;
                Box::pin(async move {
                    let mut added = Vec::with_capacity(refs.len());
                    for task in &refs {
                        added.push((task.stored().await?, task.existing()));
                    }
                    encode(&added)
                })
            }
            ClientRequest::Wait(id) => {
                let task = known(id);
                Box::pin(async move { ended(&task.outcome().await?) })
            }
            ClientRequest::Record(id) => {
                let task = known(id);
                Box::pin(async move { encode(&task.record().await?) })
            }
            ClientRequest::Context(id) => Box::pin(async move { client.encoded_context(id).await }),
            ClientRequest::Logs(id) => {
                let task = known(id);
                Box::pin(
                    async move { encode(&task.logs().await?.iter().map(StoredLogLine::to_json).collect::<Vec<_>>()) },
                )
            }
            ClientRequest::Attempts(id) => {
                let task = known(id);
                Box::pin(async move { encode(&task.attempts().await?) })
            }
            ClientRequest::Cancel(id, None) => control(known(id).cancel()),
            ClientRequest::Cancel(id, Some(reason)) => control(known(id).cancel_because(reason)?),
            ClientRequest::Stop(id) => control(known(id).stop()),
            ClientRequest::Retry(id) => control(known(id).retry()),
            ClientRequest::ParentResults(id) => Box::pin(async move {
                let size = client.open_store()?.parent_sizes(id).await?.iter().map(|(_, size)| size).sum();
                let max = ANSWER_BYTES_MAX;
                crate::Limits::check_size("results of the parents", "of one answer to a worker", size, max)?;
                let parents = client.open_store()?.parent_results(id).await?;
                encode(&parents.iter().map(parent).collect::<Result<Vec<_>>>()?)
            }),
            ClientRequest::List { states, queue, kind, limit } => {
                let filter = TaskFilter { states, queue, kind, limit, ..TaskFilter::default() };
                Box::pin(async move { client.encoded_list(filter).await })
            }
            ClientRequest::Watch { id, since, seen, wait_ms } => {
                let mut watch = self.watch_seen(id, since, seen);
                Box::pin(async move {
                    let events = watch.wait(Duration::from_millis(wait_ms)).await?;
                    encode(&Watched { events, seen: watch.seen(), ended: watch.has_ended() })
                })
            }
            ClientRequest::Flush => Box::pin(async move {
                client.flush().await?;
                encode(&())
            }),
            ClientRequest::Schedules(request) => Box::pin(async move { client.request_schedules(request).await }),
            ClientRequest::SetPriority(id, priority) => control(known(id).set_priority(priority)),
            ClientRequest::Queues(request) => Box::pin(async move { client.request_queues(*request).await }),
            ClientRequest::Dead(request) => Box::pin(async move { client.request_dead(*request).await }),
        })
    }

    /// Returns records as JSON, read page by page: a request for many records with large arguments and results gets an
    /// error, and does not exhaust the memory of the process that replies.
    async fn encoded_list(&self, mut filter: TaskFilter) -> Result<Vec<u8>> {
        let mut left = filter.records_max();
        let mut json = vec![b'['];
        while left > 0 {
            filter.limit = left.min(LIST_PAGE);
            let page = self.open_store()?.list(&filter).await?;
            for record in &page {
                if json.len() > 1 {
                    json.push(b',');
                }
                json.append(&mut encode(record)?);
                let max = ANSWER_BYTES_MAX;
                crate::Limits::check_size("list of tasks", "of one answer (ask for fewer tasks)", json.len(), max)?;
            }
            // A short page is not the last one: tasks may have been removed while it was read.
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id);
            left -= page.len();
        }
        json.push(b']');
        Ok(json)
    }

    /// Returns a task's context in the Python client's encoding.
    async fn encoded_context(&self, id: TaskId) -> Result<Vec<u8>> {
        let context = || async { self.open_store()?.context(id).await?.ok_or(Error::NotFound(id)) };
        let found = context().await?;
        if !plain::may_hold_tags(&found) {
            return Ok(found);
        }
        let record = self.open_store()?.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))?;
        // A plain context becomes an encoded one when the task's body first stores it, never the reverse.
        if record.context_encoded { context().await } else { Ok(plain::escape_context(&found).into_owned()) }
    }

    async fn request_schedules(&self, request: ScheduleRequest) -> Result<Vec<u8>> {
        match request {
            ScheduleRequest::Put { schedule, on_conflict } => encode(&self.put_schedule(*schedule, on_conflict).await?),
            ScheduleRequest::List => {
                encode(&self.schedules().await?.iter().map(ScheduleRecord::to_json).collect::<Vec<_>>())
            }
            ScheduleRequest::Get { name, upcoming, runs } => {
                let record = self.schedule(&name).await?;
                let mut json = record.to_json();
                json.insert("upcoming", shown::value(&record.upcoming(upcoming)));
                json.insert("history", shown::value(&self.schedule_runs(&name, runs).await?));
                encode(&json)
            }
            ScheduleRequest::Reschedule { name, rule, zone } => {
                encode(&self.reschedule(&name, &rule, zone.as_deref()).await?)
            }
            ScheduleRequest::Remove(name) => encode(&self.remove_schedule(&name).await?),
            ScheduleRequest::SetPaused(name, true) => encode(&self.pause_schedule(&name).await?),
            ScheduleRequest::SetPaused(name, false) => encode(&self.resume_schedule(&name).await?),
            ScheduleRequest::Run(name) => encode(&self.run_schedule(&name).await?),
        }
    }

    async fn request_queues(&self, request: QueueRequest) -> Result<Vec<u8>> {
        match request {
            QueueRequest::List => encode(&self.queues().await?.iter().map(QueueStatus::to_json).collect::<Vec<_>>()),
            QueueRequest::SetPaused(queue, true) => encode(&self.pause_queue(&queue).await?),
            QueueRequest::SetPaused(queue, false) => encode(&self.resume_queue(&queue).await?),
            QueueRequest::Limit(queue, running_max) => encode(&self.limit_queue(&queue, running_max).await?),
            QueueRequest::Rate(queue, rate) => encode(&self.rate_queue(&queue, rate).await?),
            QueueRequest::Age(queue, every) => encode(&self.age_queue(&queue, every).await?),
            QueueRequest::Drain { queue, timeout } => encode(&self.drain_queue(&queue, timeout).await?),
            QueueRequest::Purge(filter) => encode(&self.purge(&filter).await?),
        }
    }

    async fn request_dead(&self, request: DeadLetterRequest) -> Result<Vec<u8>> {
        match request {
            DeadLetterRequest::List(filter) => self.encoded_list(super::dead::dead(&filter)).await,
            DeadLetterRequest::Count(filter) => encode(&self.count_dead(&filter).await?),
            DeadLetterRequest::Show(id) => {
                let task = self.get::<serde_json::Value>(id);
                encode(&shown::Object::from([
                    ("task", shown::value(&task.record().await?)),
                    ("attempts", shown::value(&task.attempts().await?)),
                ]))
            }
            DeadLetterRequest::Edit(id, edit) => encode(&self.edit_dead(id, &edit).await?),
            DeadLetterRequest::Retry(id, edit) => {
                if !edit.is_empty() {
                    self.edit_dead(id, &edit).await?;
                }
                encode(&self.get::<serde_json::Value>(id).retry().await?)
            }
            DeadLetterRequest::RetryAll(filter) => encode(&self.retry_dead(&filter).await?),
            DeadLetterRequest::Purge(filter) => encode(&self.purge_dead(&filter).await?),
        }
    }

    /// Adds all of these tasks or none, each prepared by [`Draft::settle`]. Blocks its thread while there is no room,
    /// as [`Client::add_later`] does.
    ///
    /// # Errors
    /// [`Error::Cycle`], and [`Error::QueueUnavailable`] if there is no room.
    #[doc(hidden)]
    pub fn add_settled(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef>> {
        self.push_tasks(tasks)
    }

    /// Adds all of these tasks or none if there is room; otherwise returns them unchanged.
    ///
    /// # Errors
    /// Those of [`Client::add_settled`].
    #[doc(hidden)]
    pub fn add_settled_now(&self, tasks: Vec<NewTask>) -> Result<Result<Vec<TaskRef>, Vec<NewTask>>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = super::ids(&tasks);
        Ok(self.batcher.push_now(tasks)?.map(|ticket| self.refs(ids, &ticket)))
    }

    /// Returns once the additions in memory are within their bound, or if waiting is pointless: nothing was written for
    /// `stall`, or the database is unreachable.
    pub async fn until_room(&self, stall: Duration) {
        self.batcher.capacity(stall).await;
    }

    fn push_beyond(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = super::ids(&tasks);
        Ok(self.refs(ids, &self.batcher.push_beyond(tasks)?))
    }

    fn settle_drafts(&self, drafts: Vec<Draft>) -> Result<Vec<NewTask>> {
        let limits = self.config().limits;
        drafts.into_iter().map(|draft| draft.settle(&limits, self.keys.as_ref())).collect()
    }
}

impl Draft {
    /// Signs and checks the task.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a task that cannot be
    /// stored, and the error of [`Keys::active`] if there is no key.
    pub fn settle(self, limits: &crate::Limits, keys: &dyn Keys) -> Result<NewTask> {
        let mut task = self.task;
        if !self.blobs.is_empty() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            seal(&mut task, &self.blobs, keys, now.map_or(0, |now| now.as_secs()))?;
        }
        task.check(limits)?;
        Ok(task)
    }
}

#[derive(Serialize)]
struct Watched {
    events: Vec<Event>,
    seen: Option<u64>,
    ended: bool,
}

fn control(control: super::Control) -> ResponseFuture {
    Box::pin(async move { encode(&control.await?) })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Database(format!("an answer cannot be encoded: {error}")))
}

/// Returns a stored result in the Python client's encoding.
fn result(stored: Option<&[u8]>, encoded: bool) -> Result<Option<Box<RawValue>>> {
    stored.map(|stored| if encoded { raw(stored) } else { raw(&plain::escape(stored)) }).transpose()
}

/// Returns stored JSON unchanged, or an error if it is not JSON.
fn raw(bytes: &[u8]) -> Result<Box<RawValue>> {
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| not_json(&error))?;
    RawValue::from_string(text).map_err(|error| not_json(&error))
}

fn not_json(error: &dyn std::fmt::Display) -> Error {
    Error::NotRepresentable { what: "a stored result".into(), why: error.to_string() }
}

#[derive(Serialize)]
struct Ended<'a> {
    id: TaskId,
    state: TaskState,
    result: Option<Box<RawValue>>,
    /// Size of the stored result in bytes.
    size: usize,
    /// Whether the result was plain JSON, which the reader converts to the type it expects.
    plain: bool,
    error: &'a Option<crate::Failure>,
}

fn ended(found: &Final) -> Result<Vec<u8>> {
    let size = found.result.as_ref().map_or(0, Vec::len);
    let result = result(found.result.as_deref(), found.result_encoded)?;
    let plain = found.result.is_some() && !found.result_encoded;
    encode(&Ended { id: found.id, state: found.state, result, size, plain, error: &found.error })
}

fn parent(parent: &crate::store::ParentResult) -> Result<Box<RawValue>> {
    let size = parent.result.as_ref().map_or(0, Vec::len);
    let result = result(parent.result.as_deref(), parent.result_encoded)?;
    let plain = parent.result.is_some() && !parent.result_encoded;
    raw(&encode(&Ended { id: parent.id, state: parent.state, result, size, plain, error: &parent.error })?)
}
