//! The engine in this process: opened in the background on first use, so that calls from an event loop never wait.
//!
//! While the database is being opened, calls are queued in order. If it cannot be opened at all, they fail, and the
//! next call tries again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use taskyard::{Store, Taskyard};
use taskyard_config::project::ProjectContext;
use taskyard_core::backoff::{Backoff, READ};
use taskyard_core::client::{ClientRequest, Draft};
use taskyard_core::store::TestClock;
use taskyard_core::task::NewTask;
use taskyard_core::{Error, Result};
use taskyard_server::children::frame::Refusal;

use crate::client_request::Request;
use crate::draft::draft;
use crate::guard::Guard;
use crate::message::put_limits;
use crate::reply::{Addition, Answer, Cell, Question, Reply};
use crate::{errors, runtime, stored};

/// Maximum time for which additions that exceed the limit wait for the database to open.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// Maximum time for closing the database.
const CLOSE_MAX: Duration = Duration::from_secs(1);

type Run = Box<dyn FnOnce(Result<&Taskyard>) + Send>;

/// An action to run once the database is open, or has failed to open.
pub struct Then {
    run: Run,
    /// The query that it is for: the action is dropped if that is withdrawn.
    question: Option<Arc<Question>>,
}

impl Then {
    pub fn new(run: impl FnOnce(Result<&Taskyard>) + Send + 'static) -> Self {
        Self { run: Box::new(run), question: None }
    }

    fn is_withdrawn(&self) -> bool {
        self.question.as_ref().is_some_and(|question| question.is_withdrawn())
    }
}

/// Minimum number of queued actions at which they are searched for withdrawn queries, each time that the number has
/// doubled.
const LOOK_THROUGH_MIN: usize = 1_000;

enum State {
    Closed,
    /// The database is being opened; contains the queued actions.
    Opening(Waiting),
    Open(Box<Taskyard>),
}

#[derive(Default)]
struct Waiting {
    thens: Vec<Then>,
    /// Number of queued actions at which withdrawn queries are removed.
    thens_max: usize,
    additions: usize,
    bytes: usize,
    /// When the opening began.
    since: Option<Instant>,
    /// Why the last attempt to open the database failed.
    away: Option<String>,
    /// Number of this opening.
    generation: u64,
}

impl Waiting {
    /// Returns true if these additions would exceed the limit of queued ones.
    fn is_full(&self, weight: Weight) -> bool {
        let config = taskyard::ClientConfig::default();
        weight.additions > 0
            && self.additions > 0
            && (self.additions + weight.additions > config.waiting_max
                || self.bytes + weight.bytes > config.waiting_bytes_max)
    }
}

/// Size of the additions of one call while they are queued.
#[derive(Clone, Copy, Default)]
pub struct Weight {
    additions: usize,
    bytes: usize,
}

pub struct Inner {
    generation: AtomicU64,
    place: ProjectContext,
    state: Mutex<State>,
    /// Notified when the state has changed, or when an attempt to open the database has failed.
    changed: Condvar,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `then` in its turn, with the queue or the error that prevented its opening.
    pub fn with(self: &Arc<Self>, weight: Weight, then: Then) -> PyResult<Result<()>> {
        let mut state = self.lock();
        let begin = match &mut *state {
            State::Open(taskyard) => {
                (then.run)(Ok(taskyard));
                return Ok(Ok(()));
            }
            State::Opening(_) => false,
            State::Closed => {
                let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
                *state = State::Opening(Waiting { generation, since: Some(Instant::now()), ..Waiting::default() });
                true
            }
        };
        let State::Opening(waiting) = &mut *state else {
            return Ok(Err(Error::ShutDown("this queue has been shut down")));
        };
        let answer = if waiting.is_full(weight) {
            let cause = waiting.away.clone().unwrap_or_else(|| "it has not answered yet".into());
            Err(Error::QueueUnavailable { waiting: waiting.additions, bytes: waiting.bytes, cause })
        } else {
            waiting.additions += weight.additions;
            waiting.bytes += weight.bytes;
            if waiting.thens.len() >= waiting.thens_max.max(LOOK_THROUGH_MIN) {
                waiting.thens.retain(|then| !then.is_withdrawn());
                waiting.thens_max = 2 * waiting.thens.len();
            }
            waiting.thens.push(then);
            Ok(())
        };
        drop(state);
        if begin {
            let inner = self.clone();
            runtime::handle()?.spawn(async move { inner.open().await });
        }
        Ok(answer)
    }

    async fn open(self: Arc<Self>) {
        let mut backoff = Backoff::new(READ);
        let opened = loop {
            match self.place.prepare() {
                Err(error) => break Err(error),
                Ok(()) => match taskyard::open(&self.place.settings).await {
                    Err(error) if error.is_transient() => {
                        tracing::warn!(%error, "cannot open the queue's database; trying again");
                        if let State::Opening(waiting) = &mut *self.lock() {
                            waiting.away = Some(error.to_string());
                        }
                        self.changed.notify_all();
                    }
                    opened => break opened,
                },
            }
            backoff.pause().await;
        };
        let opened = opened.map(|store| Taskyard::on(store, self.place.settings.clone()).keys(self.place.keys.clone()));
        // The queued actions run before any later ones, because the lock is held.
        let mut state = self.lock();
        let waiting = match std::mem::replace(&mut *state, State::Closed) {
            State::Opening(waiting) => waiting.thens,
            other => {
                *state = other;
                return;
            }
        };
        for then in waiting {
            (then.run)(opened.as_ref().map_err(Clone::clone));
        }
        if let Ok(taskyard) = opened {
            *state = State::Open(Box::new(taskyard));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// While the database is being opened, waits until these additions may be queued, or until waiting is pointless.
    fn until_open(&self, weight: Weight) {
        let mut state = self.lock();
        while let State::Opening(waiting) = &*state
            && waiting.away.is_none()
            && waiting.is_full(weight)
            && let Some(left) = waiting.since.and_then(|since| OPEN_MAX.checked_sub(since.elapsed()))
        {
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes the open database once everything is written, or at `until`.
    async fn close(&self, until: tokio::time::Instant) -> Answer {
        let taskyard = {
            let mut state = self.lock();
            let State::Open(taskyard) = &*state else { return Ok(b"null".to_vec()) };
            let taskyard = taskyard.clone();
            *state = State::Closed;
            taskyard
        };
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let closed = taskyard.close(left).await;
        let _ = tokio::time::timeout(CLOSE_MAX, taskyard.store().close()).await;
        closed.map(|()| b"null".to_vec()).map_err(|error| Refusal::from(&error))
    }

    /// Fails all actions that wait for an opening which did not complete in time.
    fn give_up(&self, generation: u64) {
        let mut state = self.lock();
        let State::Opening(waiting) = &mut *state else { return };
        if waiting.generation != generation {
            return;
        }
        let waiting = std::mem::take(waiting);
        *state = State::Closed;
        drop(state);
        self.changed.notify_all();
        if waiting.additions > 0 {
            tracing::error!(additions = waiting.additions, "the queue is closed before its database was reached");
        }
        for then in waiting.thens {
            (then.run)(Err(Error::ShutDown("this queue has been shut down")));
        }
    }

    /// Sends a request; the reply is stored in `cell`.
    fn ask(
        self: &Arc<Self>,
        ask: ClientRequest,
        cell: &Arc<Cell>,
        question: Option<Arc<Question>>,
    ) -> PyResult<Result<()>> {
        let handle = runtime::handle()?;
        let cell = cell.clone();
        let asked = question.clone();
        let then = Then::new(move |taskyard| {
            if asked.as_ref().is_some_and(|asked| asked.is_withdrawn()) {
                return;
            }
            match taskyard.and_then(|taskyard| taskyard.request(ask)) {
                Ok(answering) => {
                    let answering = handle.spawn(async move {
                        let answer = answering.await;
                        cell.settle(answer.map_err(|error| Refusal::from(&error)));
                    });
                    if let Some(asked) = asked {
                        asked.begun(move || answering.abort());
                    }
                }
                Err(error) => cell.settle(Err(Refusal::from(&error))),
            }
        });
        self.with(Weight::default(), Then { question, ..then })
    }

    /// Adds tasks. Above the limit of queued additions, this thread waits for capacity while other threads may run.
    fn add(self: &Arc<Self>, py: Python<'_>, tasks: Vec<NewTask>) -> PyResult<Result<Addition>> {
        let mut tasks = tasks;
        let weight = || Weight { additions: tasks.len(), bytes: tasks.iter().map(NewTask::weight).sum() };
        let opening = match &*self.lock() {
            State::Opening(waiting) => Some(weight()).filter(|weight| waiting.is_full(*weight)),
            _ => None,
        };
        if let Some(weight) = opening {
            py.detach(|| self.until_open(weight));
        }
        let full = match &*self.lock() {
            State::Open(taskyard) => match taskyard.add_settled_now(tasks) {
                Ok(Err(outside)) => {
                    tasks = outside;
                    Some(taskyard.clone())
                }
                Ok(Ok(refs)) => return Ok(Ok(Addition::here(refs))),
                Err(error) => return Ok(Err(error)),
            },
            _ => None,
        };
        if let Some(taskyard) = full {
            return Ok(py.detach(|| taskyard.add_settled(tasks)).map(Addition::here));
        }
        let cell = Cell::new("an addition");
        let weight = Weight { additions: tasks.len(), bytes: tasks.iter().map(NewTask::weight).sum() };
        let (arrived, handle) = (cell.clone(), runtime::handle()?);
        let then = Then::new(move |taskyard| {
            if arrived.is_settled() {
                // The addition was withdrawn.
                return;
            }
            if let Err(error) = &taskyard {
                for task in &tasks {
                    tracing::error!(task = %task.id, kind = %task.kind, %error, "a task was not written");
                }
            }
            let drafts = tasks.into_iter().map(|task| Draft { task, blobs: Vec::new() }).collect();
            match taskyard.and_then(|taskyard| taskyard.request(ClientRequest::Add(drafts))) {
                Ok(answering) => {
                    handle.spawn(async move {
                        let answer = answering.await;
                        arrived.settle(answer.map_err(|error| Refusal::from(&error)));
                    });
                }
                Err(error) => arrived.settle(Err(Refusal::from(&error))),
            }
        });
        Ok(self.with(weight, then)?.map(|()| Addition::there(cell)))
    }
}

/// The queue of one database, in this process.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Queue(Guard<Arc<Inner>>);

impl Queue {
    pub fn inner(&self) -> PyResult<Arc<Inner>> {
        if self.0.is_home() {
            Ok(Arc::clone(&self.0))
        } else {
            Err(PyRuntimeError::new_err("this queue was opened before a fork; open it again in this process"))
        }
    }

    /// Calls the store directly, once it is open.
    fn on_store<F>(
        &self,
        py: Python<'_>,
        what: &str,
        ask: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> PyResult<Reply>
    where
        F: Future<Output = Result<Vec<u8>>> + Send + 'static,
    {
        let cell = Cell::new(what);
        let (arrived, handle) = (cell.clone(), runtime::handle()?);
        let then = Then::new(move |taskyard| match taskyard {
            Ok(taskyard) => {
                let asking = ask(taskyard.store().clone());
                handle.spawn(async move { arrived.settle(asking.await.map_err(|error| Refusal::from(&error))) });
            }
            Err(error) => arrived.settle(Err(Refusal::from(&error))),
        });
        self.inner()?.with(Weight::default(), then)?.map_err(|error| errors::raised(py, &error))?;
        Ok(Reply::new(cell))
    }

    /// Signs and checks a task without adding it.
    pub fn settle(&self, py: Python<'_>, draft: Draft) -> PyResult<NewTask> {
        let inner = self.inner()?;
        draft
            .settle(&inner.place.settings.limits, inner.place.keys.as_ref())
            .map_err(|error| errors::raised(py, &error))
    }
}

#[pymethods]
impl Queue {
    /// Finds the project's settings; `settings` are names and values that take precedence. Does not open the database
    /// yet.
    #[new]
    #[pyo3(signature = (database=None, settings=None))]
    fn new(py: Python<'_>, database: Option<String>, settings: Option<Vec<(String, String)>>) -> PyResult<Self> {
        let place =
            ProjectContext::find(database, settings.unwrap_or_default()).map_err(|error| errors::raised(py, &error))?;
        let address = place.settings.database.as_deref().unwrap_or_default();
        taskyard_config::check_address(address).map_err(|error| errors::raised(py, &error))?;
        Ok(Self(Guard::new(Arc::new(Inner {
            generation: AtomicU64::new(0),
            place,
            state: Mutex::new(State::Closed),
            changed: Condvar::new(),
        }))))
    }

    /// Returns the effective settings that Python needs, as a dict.
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.inner()?;
        let settings = &inner.place.settings;
        let dict = PyDict::new(py);
        dict.set_item("database", settings.database.as_deref().map(taskyard::redacted))?;
        dict.set_item("app", &settings.app)?;
        dict.set_item("include", &settings.include)?;
        dict.set_item("namespace", settings.namespace.as_ref().map(ToString::to_string))?;
        dict.set_item("max_workers", settings.max_workers)?;
        dict.set_item("concurrency", settings.concurrency)?;
        dict.set_item("worker_idle_timeout", settings.worker_idle_timeout.as_secs_f64())?;
        dict.set_item("polling_interval", settings.polling_interval.as_secs_f64())?;
        dict.set_item("fallback_polling_interval", settings.fallback_polling_interval.as_secs_f64())?;
        dict.set_item("task_timeout", settings.task_timeout.map_or(0.0, |timeout| timeout.as_secs_f64()))?;
        dict.set_item("max_retries", settings.max_retries)?;
        dict.set_item("use_postgresql_notify", settings.use_postgresql_notify)?;
        dict.set_item("notify_channel", &settings.notify_channel)?;
        dict.set_item("shutdown_grace", settings.shutdown_grace.as_secs_f64())?;
        put_limits(&dict, &settings.limits)?;
        Ok(dict)
    }

    /// Adds all of the tasks or none; each is a dict. Raises an error if a task is invalid.
    fn add(&self, py: Python<'_>, tasks: &Bound<'_, PyList>) -> PyResult<Addition> {
        let inner = self.inner()?;
        let mut settled = Vec::with_capacity(tasks.len());
        for task in tasks {
            settled.push(self.settle(py, draft(py, task.cast::<PyDict>()?)?)?);
        }
        inner.add(py, settled)?.map_err(|error| errors::raised(py, &error))
    }

    /// Sends a query or a control operation.
    fn ask(&self, py: Python<'_>, request: &Request) -> PyResult<Reply> {
        let ask = request.checked(py)?;
        let cell = Cell::new(request.name);
        let asked = ask.is_question().then(Question::new);
        let reply = Reply::of(asked.clone(), cell.clone());
        self.inner()?.ask(ask, &cell, asked)?.map_err(|error| errors::raised(py, &error))?;
        Ok(reply)
    }

    /// Opens the database if it is not open; the reply reports whether that succeeded.
    fn open(&self, py: Python<'_>) -> PyResult<Reply> {
        let cell = Cell::new("opening the queue's database");
        let arrived = cell.clone();
        let then = Then::new(move |taskyard| {
            arrived.settle(taskyard.map(|_| b"null".to_vec()).map_err(|error| Refusal::from(&error)));
        });
        self.inner()?.with(Weight::default(), then)?.map_err(|error| errors::raised(py, &error))?;
        Ok(Reply::new(cell))
    }

    /// Writes pending additions for up to `bound` seconds, then closes the database.
    fn close(&self, py: Python<'_>, bound: f64) -> PyResult<Reply> {
        let inner = self.inner()?;
        let cell = Cell::new("closing the queue");
        let bound = Duration::from_secs_f64(bound.clamp(0.0, 3600.0));
        let handle = runtime::handle()?;
        if matches!(*inner.lock(), State::Closed) {
            cell.settle(Ok(b"null".to_vec()));
            return Ok(Reply::new(cell));
        }
        let until = tokio::time::Instant::now() + bound;
        let (closing, arrived) = (inner.clone(), cell.clone());
        let (spawner, opening) = (handle.clone(), inner.clone());
        let then = Then::new(move |opened| match opened {
            Ok(_) => {
                spawner.spawn(async move { arrived.settle(closing.close(until).await) });
            }
            Err(error) => arrived.settle(Err(Refusal::from(&error))),
        });
        inner.with(Weight::default(), then)?.map_err(|error| errors::raised(py, &error))?;
        let generation = inner.generation.load(Ordering::Relaxed);
        handle.spawn(async move {
            tokio::time::sleep_until(until).await;
            opening.give_up(generation);
        });
        Ok(Reply::new(cell))
    }

    /// For tests: moves the database's clock this many seconds ahead of the host's.
    fn set_clock(&self, py: Python<'_>, seconds: f64) -> PyResult<Reply> {
        let micros = (seconds.clamp(-1e12, 1e12) * 1e6) as i64;
        let clock = if micros == 0 { TestClock::Real } else { TestClock::Offset(micros) };
        self.on_store(py, "setting the clock", move |store| async move {
            store.set_clock(clock).await.map(|()| b"null".to_vec())
        })
    }

    /// Returns a text that is the same for two addresses of one database and different for any others; a file is not
    /// opened.
    fn identity(&self, py: Python<'_>) -> PyResult<Reply> {
        let inner = self.inner()?;
        let address = inner.place.settings.database.as_deref().unwrap_or_default();
        if let Some(identity) = stored::of_file(address).map_err(|error| errors::raised(py, &error))? {
            let cell = Cell::new("the database's identity");
            cell.settle(Ok(identity));
            return Ok(Reply::new(cell));
        }
        self.on_store(py, "the database's identity", |store| async move { stored::of_server(store.as_ref()).await })
    }

    /// Returns the number of servers that are running on the database.
    fn live_servers(&self, py: Python<'_>) -> PyResult<Reply> {
        self.on_store(py, "the servers", |store| async move { stored::live_servers(store.as_ref()).await })
    }
}
