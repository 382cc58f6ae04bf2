//! An answer on its way: to be awaited by an event loop, to be waited for by a thread, or to be forgotten. A failure
//! that nobody looked at is logged.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use taskyard_core::client::TaskRef;
use taskyard_server::children::frame::Refusal;

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

impl Drop for Cell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Err(refusal)), false) = (&state.answer, state.seen) {
            log::push(40, format!("{} failed, and nobody awaited it: {}", self.what, refusal.message));
        }
    }
}

/// An answer on its way.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Reply(pub Arc<Cell>);

#[pymethods]
impl Reply {
    /// Whether the answer is there.
    fn done(&self) -> bool {
        self.0.lock().answer.is_some()
    }

    /// The answer, JSON; raises what was refused. Only once `done`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.0.lock();
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
        let mut state = self.0.lock();
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
                let waiting = self.0.arrived.wait_timeout_while(self.0.lock(), left, |state| state.answer.is_none());
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
    /// The answer: `[[id, existing], ..]`.
    fn reply(&self) -> PyResult<Reply> {
        match &self.0 {
            Added::There(cell) => Ok(Reply(cell.clone())),
            Added::Here { refs, cell } => {
                if let Some(cell) = cell.get() {
                    return Ok(Reply(cell.clone()));
                }
                let made = Cell::new("an addition");
                if cell.set(made.clone()).is_ok() {
                    let (refs, made) = (refs.clone(), made.clone());
                    runtime::handle()?.spawn(async move {
                        let mut added = Vec::with_capacity(refs.len());
                        for task in &refs {
                            match task.get_task_id().await {
                                Ok(id) => added.push((id, task.existing())),
                                Err(error) => return made.settle(Err(Refusal::from(&error))),
                            }
                        }
                        made.settle(Ok(serde_json::to_vec(&added).unwrap_or_default()));
                    });
                }
                Ok(Reply(cell.get().cloned().unwrap_or(made)))
            }
        }
    }
}
