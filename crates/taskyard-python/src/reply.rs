//! An answer on its way: to be awaited by an event loop, to be waited for by a thread, or to be forgotten. A failure
//! that nobody looked at is logged.

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

/// How long a waiting thread sleeps at most before it looks for signals (Ctrl-C).
const SLICE: Duration = Duration::from_millis(100);

/// JSON, or why not.
pub type Answer = Result<Vec<u8>, Refusal>;

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    watchers: Vec<(Arc<Post>, u64)>,
    seen: bool,
}

/// Where an answer arrives.
pub struct Cell {
    /// What it answers, for the log.
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

    /// The answer is there; a second one does not count.
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
    /// Whether its answer is there.
    pub fn is_settled(&self) -> bool {
        self.lock().answer.is_some()
    }

    /// The refusal, if that is the answer. `learn` marks it as seen.
    fn refusal(&self, learn: bool) -> Option<Refusal> {
        let mut state = self.lock();
        let refusal = state.answer.as_ref()?.as_ref().err().cloned()?;
        state.seen |= learn;
        Some(refusal)
    }

    /// Nobody wants the answer any more, nor what was asked for.
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
            log::push(40, format!("{} failed, and nobody awaited it: {}", self.what, refusal.message));
        }
    }
}

/// Questions whose answers are wanted and are not there, in this process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many questions wait for their answers in this process.
#[pyfunction]
pub fn open_questions() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// What takes a question back.
type Withdrawal = Box<dyn FnOnce() + Send>;

/// A question on its way; it counts until its answer is not wanted any more.
pub struct Question(Mutex<Asked>);

enum Asked {
    /// Not begun.
    New,
    /// With what ends it.
    Begun(Withdrawal),
    Withdrawn,
}

impl Question {
    /// A new one.
    pub fn new() -> Arc<Self> {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(Mutex::new(Asked::New)))
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer is not wanted any more.
    pub fn is_withdrawn(&self) -> bool {
        matches!(*self.lock(), Asked::Withdrawn)
    }

    /// The answer is on its way; `withdrawal` ends that, at once if the answer is not wanted any more.
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

/// An answer on its way. Gone, a question is withdrawn, everywhere: nobody can take its answer any more.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Reply {
    cell: Arc<Cell>,
    question: Option<Guard<Arc<Question>>>,
}

impl Reply {
    /// Of something that is carried out, whether its answer is taken or not.
    pub fn new(cell: Arc<Cell>) -> Self {
        Self { cell, question: None }
    }

    /// Of a question, if it is one.
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
    /// Whether the answer is there.
    fn done(&self) -> bool {
        self.cell.lock().answer.is_some()
    }

    /// The answer, JSON; raises what was refused. Only once `done`.
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
            None => Err(pyo3::exceptions::PyRuntimeError::new_err("the answer is not there yet")),
        }
    }

    /// Puts the token into the mailbox when the answer is there; false if it already is.
    fn notify(&self, mailbox: &Mailbox, token: u64) -> bool {
        let mut state = self.cell.lock();
        if state.answer.is_some() {
            return false;
        }
        state.watchers.push((mailbox.post(), token));
        true
    }

    /// Waits in this thread, for `timeout` seconds at most; whether the answer is there.
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

/// Tasks that were added: their ids at once, and an answer when they are durable.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Addition(Added);

enum Added {
    /// By the engine in this process: asked only if someone wants to know.
    Here { refs: Vec<TaskRef>, cell: OnceLock<Arc<Cell>> },
    /// By someone who will say.
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
    /// Takes it back: what was not handed to the database yet is never sent, and what may have been is cancelled.
    fn withdraw(&self) {
        match &self.0 {
            Added::Here { refs, .. } => TaskRef::withdraw(refs),
            Added::There(cell) => cell.withdraw(),
        }
    }

    /// The refusal, if that is the answer, as an exception that is not raised. `learn` marks it as seen.
    fn refusal(&self, py: Python<'_>, learn: bool) -> PyResult<Option<PyErr>> {
        Ok(self.reply()?.cell.refusal(learn).map(|refusal| errors::refused(py, &refusal)))
    }

    /// The answer: `[[id, existing], ..]`.
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
