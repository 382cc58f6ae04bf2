//! A client's operations as data, for callers that are not Rust: Python in this process, and child processes.
//!
//! [`Client::ask`] takes an operation and answers JSON. What must keep the order of the calls (additions, cancel, stop,
//! retry) is pushed before it returns; only the answer is awaited.

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

/// A task to be added whose serialised parts are not sealed yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The task; every default is decided.
    pub task: NewTask,
    /// What is to be signed and put into its payload.
    pub blobs: Vec<Blob>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Adds all or none; answers `[[id, existing], ..]` once they are durable.
    Add(Vec<Draft>),
    /// Answers how it ended: `{"id", "state", "result", "error"}`.
    Wait(TaskId),
    /// Answers the record.
    Record(TaskId),
    /// Answers the context, an object.
    Context(TaskId),
    /// Answers the log lines, oldest first.
    Logs(TaskId),
    /// Answers the attempts, oldest first.
    Attempts(TaskId),
    /// Answers what became of it; why is kept.
    Cancel(TaskId, Option<String>),
    /// Answers what became of it.
    Stop(TaskId),
    /// Answers what became of it.
    Retry(TaskId),
    /// Answers the results of a task's parents.
    ParentResults(TaskId),
    /// Answers records, newest first.
    List {
        /// In these states; all if empty.
        states: Vec<TaskState>,
        /// In this queue.
        queue: Option<String>,
        /// Of this kind.
        kind: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// Answers what happened to a task after an event, as soon as there is something: `{"events", "seen", "ended"}`.
    Watch {
        /// The task.
        id: TaskId,
        /// The number of the last event that is known; everything if none is.
        since: Option<u64>,
        /// The last answer's `seen`.
        seen: Option<u64>,
        /// After so many milliseconds it answers that there is nothing.
        wait_ms: u64,
    },
    /// Answers `null` once everything pushed before is written.
    Flush,
    /// About schedules.
    Schedules(ScheduleAsk),
    /// Gives it another priority; answers what became of it.
    SetPriority(TaskId, i32),
    /// About queues.
    Queues(Box<QueueAsk>),
    /// About dead letters.
    Dead(Box<DeadAsk>),
}

impl Ask {
    /// Whether it only asks: then nothing is missed if its answer is not wanted any more.
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
            Self::Schedules(ask) => matches!(ask, ScheduleAsk::List | ScheduleAsk::Get { .. }),
            Self::Queues(ask) => matches!(**ask, QueueAsk::List),
            Self::Dead(ask) => matches!(**ask, DeadAsk::List(_) | DeadAsk::Count(_) | DeadAsk::Show(_)),
            Self::Add(_) | Self::Cancel(..) | Self::Stop(_) | Self::Retry(_) | Self::SetPriority(..) | Self::Flush => {
                false
            }
        }
    }
}

/// One operation on queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QueueAsk {
    /// Answers all, by name.
    List,
    /// Answers `null`.
    SetPaused(String, bool),
    /// Answers `null`.
    Limit(String, Option<u32>),
    /// Answers `null`.
    Rate(String, Option<Rate>),
    /// Answers `null`.
    Age(String, Option<Duration>),
    /// Answers whether nothing runs any more.
    Drain {
        /// Its name.
        queue: String,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// Deletes finished tasks; answers how many.
    Purge(TaskFilter),
}

/// One operation on dead letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeadAsk {
    /// Answers records, newest first.
    List(TaskFilter),
    /// Answers how many.
    Count(TaskFilter),
    /// Answers `{"task", "attempts"}`.
    Show(TaskId),
    /// Answers `null`.
    Edit(TaskId, DeadEdit),
    /// Edits it and runs it again; answers what became of it.
    Retry(TaskId, DeadEdit),
    /// Retries all that are meant; answers how many.
    RetryAll(TaskFilter),
    /// Deletes all that are meant; answers how many.
    Purge(TaskFilter),
}

/// One operation on schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ScheduleAsk {
    /// Stores one; answers `{"name", "put", "next_at", "warnings"}`.
    Put {
        /// The schedule.
        schedule: Box<NewSchedule>,
        /// When there is one of this name.
        on_conflict: OnConflict,
    },
    /// Answers all, by name.
    List,
    /// Answers one with its next times (`upcoming`) and its history, newest first.
    Get {
        /// Its name.
        name: String,
        /// How many of its next times.
        upcoming: usize,
        /// How many of its runs.
        runs: usize,
    },
    /// Gives one another rule and zone; answers as `Put`.
    Reschedule {
        /// Its name.
        name: String,
        /// The new rule.
        rule: String,
        /// The new zone; the old one if `None`.
        zone: Option<String>,
    },
    /// Answers whether it was there.
    Remove(String),
    /// Answers whether it is there.
    SetPaused(String, bool),
    /// Answers the id of the task.
    Run(String),
}

/// The results of a task's parents in one answer at most, which are not even read if they are larger; and records of tasks.
const ANSWER_BYTES_MAX: usize = 56 << 20;
/// Records that are read at once for a list: with all that they may hold they are bounded, too.
const LIST_PAGE: usize = 64;

/// JSON, on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

impl Client {
    /// Carries out one operation.
    ///
    /// # Errors
    /// What is refused at the call: arguments, limits, cycles, a full memory. The rest comes with the answer.
    #[doc(hidden)]
    pub fn ask(&self, ask: Ask) -> Result<Answering> {
        let client = self.clone();
        let known = |id: TaskId| client.get::<serde_json::Value>(id);
        Ok(match ask {
            Ask::Add(drafts) => {
                let refs = self.push_beyond(self.settle_drafts(drafts)?)?;
                Box::pin(async move {
                    let mut added = Vec::with_capacity(refs.len());
                    for task in &refs {
                        added.push((task.stored().await?, task.existing()));
                    }
                    encode(&added)
                })
            }
            Ask::Wait(id) => {
                let task = known(id);
                Box::pin(async move { ended(&task.outcome().await?) })
            }
            Ask::Record(id) => {
                let task = known(id);
                Box::pin(async move { encode(&task.record().await?) })
            }
            Ask::Context(id) => Box::pin(async move { client.encoded_context(id).await }),
            Ask::Logs(id) => {
                let task = known(id);
                Box::pin(
                    async move { encode(&task.logs().await?.iter().map(StoredLogLine::to_json).collect::<Vec<_>>()) },
                )
            }
            Ask::Attempts(id) => {
                let task = known(id);
                Box::pin(async move { encode(&task.attempts().await?) })
            }
            Ask::Cancel(id, None) => control(known(id).cancel()),
            Ask::Cancel(id, Some(reason)) => control(known(id).cancel_because(reason)?),
            Ask::Stop(id) => control(known(id).stop()),
            Ask::Retry(id) => control(known(id).retry()),
            Ask::ParentResults(id) => Box::pin(async move {
                let size = client.open_store()?.parent_sizes(id).await?.iter().map(|(_, size)| size).sum();
                let max = ANSWER_BYTES_MAX;
                crate::Limits::check_size("results of the parents", "of one answer to a worker", size, max)?;
                let parents = client.open_store()?.parent_results(id).await?;
                encode(&parents.iter().map(parent).collect::<Result<Vec<_>>>()?)
            }),
            Ask::List { states, queue, kind, limit } => {
                let filter = TaskFilter { states, queue, kind, limit, ..TaskFilter::default() };
                Box::pin(async move { client.encoded_list(filter).await })
            }
            Ask::Watch { id, since, seen, wait_ms } => {
                let mut watch = self.watch_seen(id, since, seen);
                Box::pin(async move {
                    let events = watch.wait(Duration::from_millis(wait_ms)).await?;
                    encode(&Watched { events, seen: watch.seen(), ended: watch.has_ended() })
                })
            }
            Ask::Flush => Box::pin(async move {
                client.flush().await?;
                encode(&())
            }),
            Ask::Schedules(ask) => Box::pin(async move { client.ask_schedules(ask).await }),
            Ask::SetPriority(id, priority) => control(known(id).set_priority(priority)),
            Ask::Queues(ask) => Box::pin(async move { client.ask_queues(*ask).await }),
            Ask::Dead(ask) => Box::pin(async move { client.ask_dead(*ask).await }),
        })
    }

    /// Records as JSON, read page by page: who asks for many with large arguments and results has an error, and no process
    /// that answers grows by them.
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
            // A short page is no last one: tasks may have been removed while it was read.
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id);
            left -= page.len();
        }
        json.push(b']');
        Ok(json)
    }

    /// A task's context in the Python client's encoding.
    async fn encoded_context(&self, id: TaskId) -> Result<Vec<u8>> {
        let context = || async { self.open_store()?.context(id).await?.ok_or(Error::NotFound(id)) };
        let found = context().await?;
        if !plain::may_hold_tags(&found) {
            return Ok(found);
        }
        let record = self.open_store()?.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))?;
        // A plain context becomes an encoded one when the task's body first stores it, never the other way round.
        if record.context_encoded { context().await } else { Ok(plain::escape_context(&found).into_owned()) }
    }

    async fn ask_schedules(&self, ask: ScheduleAsk) -> Result<Vec<u8>> {
        match ask {
            ScheduleAsk::Put { schedule, on_conflict } => encode(&self.put_schedule(*schedule, on_conflict).await?),
            ScheduleAsk::List => {
                encode(&self.schedules().await?.iter().map(ScheduleRecord::to_json).collect::<Vec<_>>())
            }
            ScheduleAsk::Get { name, upcoming, runs } => {
                let record = self.schedule(&name).await?;
                let mut json = record.to_json();
                json.insert("upcoming", shown::value(&record.upcoming(upcoming)));
                json.insert("history", shown::value(&self.schedule_runs(&name, runs).await?));
                encode(&json)
            }
            ScheduleAsk::Reschedule { name, rule, zone } => {
                encode(&self.reschedule(&name, &rule, zone.as_deref()).await?)
            }
            ScheduleAsk::Remove(name) => encode(&self.remove_schedule(&name).await?),
            ScheduleAsk::SetPaused(name, true) => encode(&self.pause_schedule(&name).await?),
            ScheduleAsk::SetPaused(name, false) => encode(&self.resume_schedule(&name).await?),
            ScheduleAsk::Run(name) => encode(&self.run_schedule(&name).await?),
        }
    }

    async fn ask_queues(&self, ask: QueueAsk) -> Result<Vec<u8>> {
        match ask {
            QueueAsk::List => encode(&self.queues().await?.iter().map(QueueStatus::to_json).collect::<Vec<_>>()),
            QueueAsk::SetPaused(queue, true) => encode(&self.pause_queue(&queue).await?),
            QueueAsk::SetPaused(queue, false) => encode(&self.resume_queue(&queue).await?),
            QueueAsk::Limit(queue, running_max) => encode(&self.limit_queue(&queue, running_max).await?),
            QueueAsk::Rate(queue, rate) => encode(&self.rate_queue(&queue, rate).await?),
            QueueAsk::Age(queue, every) => encode(&self.age_queue(&queue, every).await?),
            QueueAsk::Drain { queue, timeout } => encode(&self.drain_queue(&queue, timeout).await?),
            QueueAsk::Purge(filter) => encode(&self.purge(&filter).await?),
        }
    }

    async fn ask_dead(&self, ask: DeadAsk) -> Result<Vec<u8>> {
        match ask {
            DeadAsk::List(filter) => self.encoded_list(super::dead::dead(&filter)).await,
            DeadAsk::Count(filter) => encode(&self.count_dead(&filter).await?),
            DeadAsk::Show(id) => {
                let task = self.get::<serde_json::Value>(id);
                encode(&shown::Object::from([
                    ("task", shown::value(&task.record().await?)),
                    ("attempts", shown::value(&task.attempts().await?)),
                ]))
            }
            DeadAsk::Edit(id, edit) => encode(&self.edit_dead(id, &edit).await?),
            DeadAsk::Retry(id, edit) => {
                if !edit.is_empty() {
                    self.edit_dead(id, &edit).await?;
                }
                encode(&self.get::<serde_json::Value>(id).retry().await?)
            }
            DeadAsk::RetryAll(filter) => encode(&self.retry_dead(&filter).await?),
            DeadAsk::Purge(filter) => encode(&self.purge_dead(&filter).await?),
        }
    }

    /// Adds all of these or none, each settled before ([`Draft::settle`]). Over the bound on what waits it blocks its thread,
    /// as [`Client::add_later`] does.
    ///
    /// # Errors
    /// [`Error::Cycle`], [`Error::QueueUnavailable`].
    #[doc(hidden)]
    pub fn add_settled(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef>> {
        self.push_tasks(tasks)
    }

    /// The same if there is room; or they are given back.
    ///
    /// # Errors
    /// As [`Client::add_settled`].
    #[doc(hidden)]
    pub fn add_settled_now(&self, tasks: Vec<NewTask>) -> Result<Result<Vec<TaskRef>, Vec<NewTask>>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = super::ids(&tasks);
        Ok(self.adder.push_now(tasks)?.map(|ticket| self.refs(ids, &ticket)))
    }

    /// Returns once the additions that wait in memory are within their bound; or nothing was written for `stall`, or the
    /// database is away: then there is no use in waiting.
    pub async fn until_room(&self, stall: Duration) {
        self.adder.room(stall).await;
    }

    fn push_beyond(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskRef>> {
        crate::graph::check_cycles(&tasks)?;
        let ids = super::ids(&tasks);
        Ok(self.refs(ids, &self.adder.push_beyond(tasks)?))
    }

    fn settle_drafts(&self, drafts: Vec<Draft>) -> Result<Vec<NewTask>> {
        let limits = self.config().limits;
        drafts.into_iter().map(|draft| draft.settle(&limits, self.keys.as_ref())).collect()
    }
}

impl Draft {
    /// Seals and checks it.
    ///
    /// # Errors
    /// What cannot be stored, and that there is no key.
    pub fn settle(self, limits: &crate::Limits, keys: &dyn Keys) -> Result<NewTask> {
        let mut task = self.task;
        if !self.blobs.is_empty() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            seal(&mut task, &self.blobs, keys, now.map_or(0, |now| now.as_secs()))?;
        }
        super::call::check(&mut task, limits)?;
        Ok(task)
    }
}

#[derive(Serialize)]
struct Watched {
    events: Vec<Event>,
    seen: Option<u64>,
    ended: bool,
}

fn control(control: super::Control) -> Answering {
    Box::pin(async move { encode(&control.await?) })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Database(format!("an answer cannot be encoded: {error}")))
}

/// A stored result in the Python client's encoding.
fn result(stored: Option<&[u8]>, encoded: bool) -> Result<Option<Box<RawValue>>> {
    stored.map(|stored| if encoded { raw(stored) } else { raw(&plain::escape(stored)) }).transpose()
}

/// Stored JSON as it is; what is none becomes an error that says so.
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
    /// The result's bytes.
    size: usize,
    /// The result was plain JSON, which a reader fits to what it wants.
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
