//! Queues and dead letters: converts a verb and a dict to a request.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskyard_core::TaskState;
use taskyard_core::client::{ClientRequest, DeadEdit, DeadLetterRequest, QueueRequest};
use taskyard_core::store::TaskFilter;

use crate::errors;
use crate::values::{id_of, instant, read, seconds};

/// The arguments that Python passed with a request.
pub struct Given<'a, 'py>(pub Option<&'a Bound<'py, PyDict>>);

impl<'py> Given<'_, 'py> {
    pub fn get<T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(&self, name: &str) -> PyResult<Option<T>> {
        match self.0.map(|given| given.get_item(name)).transpose()?.flatten() {
            Some(value) => value.extract(),
            None => Ok(None),
        }
    }

    /// Returns a required value.
    pub fn need<T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(&self, name: &str) -> PyResult<T> {
        self.get(name)?.ok_or_else(|| PyValueError::new_err(format!("`{name}` is missing")))
    }

    fn filter(&self) -> PyResult<TaskFilter> {
        let time = |name: &str| self.get::<i64>(name)?.map(|at| instant(name, at)).transpose();
        Ok(TaskFilter {
            states: states(&self.get::<Vec<String>>("states")?.unwrap_or_default())?,
            queue: self.get("queue")?,
            kind: self.get("kind")?,
            tag: self.get("tag")?,
            error_type: self.get("error")?,
            message: self.get("message")?,
            finished_before: time("before")?,
            finished_after: time("after")?,
            limit: self.get("limit")?.unwrap_or(0),
            before: None,
            ..TaskFilter::default()
        })
    }

    fn edit(&self) -> PyResult<DeadEdit> {
        Ok(DeadEdit {
            args: self.get("args")?,
            kwargs: self.get("kwargs")?,
            queue: self.get("queue")?,
            priority: self.get("priority")?,
            max_retries: self.get("max_retries")?,
            language: self.get("language")?,
            ..DeadEdit::default()
        })
    }
}

/// Parses states.
pub fn states(words: &[String]) -> PyResult<Vec<TaskState>> {
    let state = |word: &String| word.parse().map_err(|_| errors::invalid(format!("there is no state `{word}`")));
    words.iter().map(state).collect()
}

/// Returns the request for `verb` about the queue with this name.
pub fn question(py: Python<'_>, verb: &str, name: &str, given: Option<&Bound<'_, PyDict>>) -> PyResult<ClientRequest> {
    let (given, queue) = (Given(given), name.to_owned());
    let span = |name: &str| given.get::<f64>(name)?.map(|value| seconds(name, value)).transpose();
    Ok(ClientRequest::Queues(Box::new(match verb {
        "queues" => QueueRequest::List,
        "queue_pause" => QueueRequest::SetPaused(queue, true),
        "queue_resume" => QueueRequest::SetPaused(queue, false),
        "queue_limit" => QueueRequest::Limit(queue, given.get("running_max")?),
        "queue_rate" => {
            let rate = given.get::<String>("rate")?.map(|text| read(py, &text)).transpose()?;
            QueueRequest::Rate(queue, rate)
        }
        "queue_ageing" => QueueRequest::Age(queue, span("every")?),
        "queue_drain" => QueueRequest::Drain { queue, timeout: span("timeout")? },
        "queue_purge" => QueueRequest::Purge(given.filter()?),
        other => return Err(PyValueError::new_err(format!("there is no question `{other}`"))),
    })))
}

/// Returns the request for `verb` about dead letters.
pub fn about_dead(py: Python<'_>, verb: &str, id: &str, given: Option<&Bound<'_, PyDict>>) -> PyResult<ClientRequest> {
    let given = Given(given);
    Ok(ClientRequest::Dead(Box::new(match verb {
        "dead" => DeadLetterRequest::List(given.filter()?),
        "dead_count" => DeadLetterRequest::Count(given.filter()?),
        "dead_show" => DeadLetterRequest::Show(id_of(py, id)?),
        "dead_edit" => DeadLetterRequest::Edit(id_of(py, id)?, given.edit()?),
        "dead_retry" => DeadLetterRequest::Retry(id_of(py, id)?, given.edit()?),
        "dead_retry_all" => DeadLetterRequest::RetryAll(given.filter()?),
        "dead_purge" => DeadLetterRequest::Purge(given.filter()?),
        other => return Err(PyValueError::new_err(format!("there is no question `{other}`"))),
    })))
}
