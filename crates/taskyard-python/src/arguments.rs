//! The parts of a request with many fields: a filter of tasks, and an edit of a dead letter.

use pyo3::prelude::*;
use taskyard_core::{client, store};

use crate::errors;
use crate::values::instant;

/// A filter of tasks. `before` and `after` are the time of the end, in microseconds since the Unix epoch.
#[pyclass(frozen, module = "taskyard._core")]
pub struct TaskFilter(pub store::TaskFilter);

#[pymethods]
impl TaskFilter {
    /// Raises `InvalidArgument` for an unknown state, and for a time that cannot be represented.
    #[new]
    #[pyo3(signature = (
        *, states=Vec::new(), queue=None, kind=None, tag=None, error=None, message=None, before=None, after=None, limit=0
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each field")]
    fn new(
        states: Vec<String>,
        queue: Option<String>,
        kind: Option<String>,
        tag: Option<String>,
        error: Option<String>,
        message: Option<String>,
        before: Option<i64>,
        after: Option<i64>,
        limit: usize,
    ) -> PyResult<Self> {
        let state = |word: &String| word.parse().map_err(|_| errors::invalid(format!("there is no state `{word}`")));
        Ok(Self(store::TaskFilter {
            states: states.iter().map(state).collect::<PyResult<_>>()?,
            queue,
            kind,
            tag,
            error_type: error,
            message,
            finished_before: before.map(|at| instant("before", at)).transpose()?,
            finished_after: after.map(|at| instant("after", at)).transpose()?,
            limit,
            ..store::TaskFilter::default()
        }))
    }
}

/// Changes of a dead letter; `args` and `kwargs` are JSON, in the encoding of `language`.
#[pyclass(frozen, module = "taskyard._core")]
pub struct DeadEdit(pub client::DeadEdit);

#[pymethods]
impl DeadEdit {
    #[new]
    #[pyo3(signature = (*, args=None, kwargs=None, queue=None, priority=None, max_retries=None, language=None))]
    fn new(
        args: Option<String>,
        kwargs: Option<String>,
        queue: Option<String>,
        priority: Option<i32>,
        max_retries: Option<u32>,
        language: Option<String>,
    ) -> Self {
        Self(client::DeadEdit { args, kwargs, queue, priority, max_retries, language, ..client::DeadEdit::default() })
    }

    /// Returns whether it changes nothing.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
