//! A pending reply: to be awaited by an event loop, waited for by a thread, or ignored. A failure that was never
//! retrieved is logged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use taskyard_core::Error;
use taskyard_core::client::TaskRef;
use taskyard_server::children::frame::Refusal;

use crate::guard::Guard;
use crate::mailbox::{Mailbox, Post};
use crate::{errors, log, runtime};

/// Maximum sleep of a waiting thread before it checks for signals (Ctrl-C).
const SLICE: Duration = Duration::from_millis(100);

/// JSON, or an error.
pub type Answer = Result<Vec<u8>, Refusal>;

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    watchers: Vec<(Arc<Post>, u64)>,
    seen: bool,
}

/// Receives a reply.
pub struct Cell {
    /// Name of the request, for the log.
    what: String,
    state: Mutex<State>,
    arrived: Condvar,
}

impl Cell {
    pub fn new(what: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { what: what.into(), state: Mutex::default(), arrived: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the reply; later ones are ignored.
    pub fn settle(&self, answer: Answer) {
        let mut state = self.lock();
        if state.answer.is_some() {
            return;
        }
        state.answer = Some(answer);
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        self.arrived.notify_all();
        for (post, token) in watchers {
            post.put(token);
        }
    }
}

impl Cell {
    /// Returns true if the reply has arrived.
    pub fn is_settled(&self) -> bool {
        self.lock().answer.is_some()
    }

    /// Returns the refusal, if the reply is one. `learn` marks it as seen.
    fn refusal(&self, learn: bool) -> Option<Refusal> {
        let mut state = self.lock();
        let refusal = state.answer.as_ref()?.as_ref().err().cloned()?;
        state.seen |= learn;
        Some(refusal)
    }

    /// Cancels the request; its reply is no longer needed.
    fn withdraw(&self) {
        self.lock().seen = true;
        let error = Error::QueueUnavailable { waiting: 0, bytes: 0, cause: "it has not answered yet".into() };
        self.settle(Err(Refusal::from(&error)));
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Err(refusal)), false) = (&state.answer, state.seen) {
            log::push(40, format!("{} failed, and its result was not awaited: {}", self.what, refusal.message));
        }
    }
}

/// Number of queries in this process whose [`Reply`] has not been dropped.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of open queries in this process.
#[pyfunction]
pub fn open_questions() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Cancels a query.
type Withdrawal = Box<dyn FnOnce() + Send>;

/// A pending query; counted until it is withdrawn.
pub struct Question(Mutex<Asked>);

enum Asked {
    /// Not sent yet.
    New,
    /// Sent; contains the function that cancels it.
    Begun(Withdrawal),
    Withdrawn,
}

impl Question {
    /// Creates a query and counts it as open.
    pub fn new() -> Arc<Self> {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(Mutex::new(Asked::New)))
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the query was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        matches!(*self.lock(), Asked::Withdrawn)
    }

    /// Marks the query as sent. `withdrawal` cancels it, and is called at once if the query is already withdrawn.
    pub fn begun(&self, withdrawal: impl FnOnce() + Send + 'static) {
        let mut asked = self.lock();
        if matches!(*asked, Asked::Withdrawn) {
            drop(asked);
            withdrawal();
        } else {
            *asked = Asked::Begun(Box::new(withdrawal));
        }
    }

    fn withdraw(&self) {
        let before = std::mem::replace(&mut *self.lock(), Asked::Withdrawn);
        if matches!(before, Asked::Withdrawn) {
            return;
        }
        OPEN.fetch_sub(1, Ordering::Relaxed);
        if let Asked::Begun(withdrawal) = before {
            withdrawal();
        }
    }
}

/// A pending reply. Dropping it withdraws its query everywhere, because the reply can no longer be retrieved.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Reply {
    cell: Arc<Cell>,
    question: Option<Guard<Arc<Question>>>,
}

impl Reply {
    /// Creates a reply to an operation that is executed whether or not the reply is retrieved.
    pub fn new(cell: Arc<Cell>) -> Self {
        Self { cell, question: None }
    }

    /// Creates a reply to a query, if there is one.
    pub fn of(question: Option<Arc<Question>>, cell: Arc<Cell>) -> Self {
        Self { cell, question: question.map(Guard::new) }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(question) = self.question.as_ref().filter(|question| question.is_home()) {
            question.withdraw();
        }
    }
}

#[pymethods]
impl Reply {
    /// Returns true if the reply has arrived.
    fn done(&self) -> bool {
        self.cell.lock().answer.is_some()
    }

    /// Returns the reply as JSON, or raises its error. Only allowed once `done` returns true.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.cell.lock();
        state.seen = true;
        match &state.answer {
            Some(Ok(json)) => Ok(PyBytes::new(py, json)),
            Some(Err(refusal)) => {
                let refusal = refusal.clone();
                drop(state);
                Err(errors::refused(py, &refusal))
            }
            None => Err(pyo3::exceptions::PyRuntimeError::new_err("the reply has not arrived yet")),
        }
    }

    /// Adds the token to the mailbox when the reply arrives; returns false if it has arrived already.
    fn notify(&self, mailbox: &Mailbox, token: u64) -> bool {
        let mut state = self.cell.lock();
        if state.answer.is_some() {
            return false;
        }
        state.watchers.push((mailbox.post(), token));
        true
    }

    /// Waits in this thread for up to `timeout` seconds; returns true if the reply has arrived.
    #[pyo3(signature = (timeout=None))]
    fn block(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let until = timeout.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        loop {
            let left = until.map_or(SLICE, |until| until.saturating_duration_since(Instant::now()).min(SLICE));
            let done = py.detach(|| {
                let waiting =
                    self.cell.arrived.wait_timeout_while(self.cell.lock(), left, |state| state.answer.is_none());
                waiting.unwrap_or_else(PoisonError::into_inner).0.answer.is_some()
            });
            if done || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(done);
            }
            py.check_signals()?;
        }
    }
}

/// Tasks that were added: their ids are available at once, and a reply follows when they are durable.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Addition(Added);

enum Added {
    /// Added by the engine in this process: a reply is created only on request.
    Here { refs: Vec<TaskRef>, cell: OnceLock<Arc<Cell>> },
    /// Added elsewhere: the reply arrives in the cell.
    There(Arc<Cell>),
}

impl Addition {
    pub fn here(refs: Vec<TaskRef>) -> Self {
        Self(Added::Here { refs, cell: OnceLock::new() })
    }

    pub fn there(cell: Arc<Cell>) -> Self {
        Self(Added::There(cell))
    }
}

#[pymethods]
impl Addition {
    /// Withdraws the addition: tasks not yet passed to the database are never sent, and those that may have been are
    /// cancelled.
    fn withdraw(&self) {
        match &self.0 {
            Added::Here { refs, .. } => TaskRef::withdraw(refs),
            Added::There(cell) => cell.withdraw(),
        }
    }

    /// Returns the refusal, if the reply is one, as an exception that is not raised. `learn` marks it as seen.
    fn refusal(&self, py: Python<'_>, learn: bool) -> PyResult<Option<PyErr>> {
        Ok(self.reply()?.cell.refusal(learn).map(|refusal| errors::refused(py, &refusal)))
    }

    /// Returns the reply: `[[id, existing], ..]`.
    fn reply(&self) -> PyResult<Reply> {
        match &self.0 {
            Added::There(cell) => Ok(Reply::new(cell.clone())),
            Added::Here { refs, cell } => {
                if let Some(cell) = cell.get() {
                    return Ok(Reply::new(cell.clone()));
                }
                let made = Cell::new("an addition");
                if cell.set(made.clone()).is_ok() {
                    let (refs, made) = (refs.clone(), made.clone());
                    runtime::handle()?.spawn(async move {
                        let mut added = Vec::with_capacity(refs.len());
                        for task in &refs {
                            match task.stored().await {
                                Ok(id) => added.push((id, task.existing())),
                                Err(error) => return made.settle(Err(Refusal::from(&error))),
                            }
                        }
                        made.settle(Ok(serde_json::to_vec(&added).unwrap_or_default()));
                    });
                }
                Ok(Reply::new(cell.get().cloned().unwrap_or(made)))
            }
        }
    }
}
