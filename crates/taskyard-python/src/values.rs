//! Converts single values from Python: ids, words, durations and instants.

use std::str::FromStr;
use std::time::Duration;

use pyo3::prelude::*;
use taskyard_core::{Error, TaskId, Timestamp};
use taskyard_server::children::frame::Refusal;

use crate::errors;

/// Parses an id, a state, a rate or another value whose error explains what is wrong.
pub fn read<T: FromStr<Err = Error>>(py: Python<'_>, text: &str) -> PyResult<T> {
    text.parse().map_err(|error| errors::raised(py, &error))
}

/// Parses an id. Raises `InvalidTaskId` if the text is not a valid id.
pub fn id_of(py: Python<'_>, text: &str) -> PyResult<TaskId> {
    text.parse().map_err(|error: Error| {
        let refusal = Refusal { code: "invalid_task_id".into(), ..Refusal::from(&error) };
        errors::refused(py, &refusal)
    })
}

/// Converts a number of seconds; `what` names it in the error.
pub fn seconds(what: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| errors::invalid(format!("{what}: {seconds} is not a number of seconds, 0 or more")))
}

/// Converts microseconds since the Unix epoch; `what` names them in the error.
pub fn instant(what: &str, micros: i64) -> PyResult<Timestamp> {
    taskyard_core::time::from_micros(micros)
        .ok_or_else(|| errors::invalid(format!("{what}: it is outside the years -9999 to 9999")))
}
