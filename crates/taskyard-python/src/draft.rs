//! Converts a task description from Python, a dict, to a task to be added. Missing keys have their defaults.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use taskyard_core::client::Draft;
use taskyard_core::namespace::{self, Namespace};
use taskyard_core::seal::Blob;
use taskyard_core::state::Runtime;
use taskyard_core::task::{ExtraOptions, NewTask, Start, Unique, UniqueHold};
use taskyard_core::{RetryPolicy, TaskId};

use crate::errors;
use crate::values::{id_of, instant, read, seconds};

/// Returns a new task id (UUIDv7).
#[pyfunction]
pub fn new_id() -> String {
    TaskId::generate().to_string()
}

/// Returns the stored kind that a text refers to in a namespace.
#[pyfunction]
pub fn kind_in(namespace: Option<&str>, text: &str) -> PyResult<String> {
    let namespace = namespace
        .map(str::parse::<Namespace>)
        .transpose()
        .map_err(|why| errors::invalid(format!("namespace: {why}")))?;
    Ok(namespace::kind_in(namespace.as_ref(), text))
}

/// Converts a description.
pub fn draft(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<Draft> {
    let mut task = NewTask::new("", Vec::new());
    task.runtime = Runtime::Python;
    // The Python client encodes every context that it stores.
    task.context_encoded = true;
    let (mut blobs, mut key, mut hold) = (Vec::new(), None, UniqueHold::UntilFinished);
    for (name, value) in given {
        let name = name.cast::<pyo3::types::PyString>()?;
        match name.to_str()? {
            "id" => task.id = id_of(py, value.extract()?)?,
            "kind" => task.kind = value.extract()?,
            "runtime" => task.runtime = read(py, value.extract()?)?,
            "name" => task.name = value.extract()?,
            "queue" => task.queue = value.extract()?,
            "priority" => task.priority = value.extract()?,
            "payload" => task.payload = value.extract::<&[u8]>()?.to_vec(),
            "encoded" => task.payload_encoded = value.extract()?,
            "blobs" => blobs = read_blobs(&value)?,
            "context" => task.context = value.extract::<Option<&[u8]>>()?.map(<[u8]>::to_vec),
            "parents" => {
                let parents: Vec<String> = value.extract()?;
                task.parents = parents.iter().map(|parent| id_of(py, parent)).collect::<PyResult<_>>()?;
            }
            "on_parent_failure" => task.on_parent_failure = read(py, value.extract()?)?,
            "delay" => task.start = Start::After(seconds("delay", value.extract()?)?),
            "run_at" => task.start = Start::At(instant("run_at", value.extract()?)?),
            "expires" => task.expires = Some(seconds("expires", value.extract()?)?),
            "max_retries" => task.retry.max_retries = value.extract()?,
            "retry" => task.retry = policy(value.extract()?, task.retry.max_retries)?,
            "timeout" => {
                let timeout = value.extract::<Option<f64>>()?;
                let timeout = timeout.map(|timeout| seconds("timeout", timeout)).transpose()?;
                task.timeout = timeout.filter(|timeout| !timeout.is_zero());
            }
            "unique" => key = Some(value.extract()?),
            "unique_hold" => hold = unique_hold(&value)?,
            "auto_remove" => task.auto_remove = value.extract()?,
            "at_most_once" => task.at_most_once = value.extract()?,
            "tags" => task.tags = value.extract()?,
            "extra" => task.extra = ExtraOptions::from_json(value.extract()?).map_err(PyTypeError::new_err)?,
            other => return Err(PyTypeError::new_err(format!("a task has no `{other}`"))),
        }
    }
    task.unique = key.map(|key| Unique { key, hold });
    Ok(Draft { task, blobs })
}

fn read_blobs(value: &Bound<'_, PyAny>) -> PyResult<Vec<Blob>> {
    let blobs: Vec<(usize, (u8, u8), Vec<u8>)> = value
        .try_iter()?
        .map(|item| {
            let item = item?;
            let (at, python, body): (usize, (u8, u8), Bound<'_, PyBytes>) = item.extract()?;
            Ok((at, python, body.as_bytes().to_vec()))
        })
        .collect::<PyResult<_>>()?;
    Ok(blobs.into_iter().map(|(at, python, body)| Blob { at, python, body }).collect())
}

/// Parses a policy from JSON; its own number of retries takes precedence if it has one.
fn policy(json: &str, max_retries: u32) -> PyResult<RetryPolicy> {
    let wrong = |error: serde_json::Error| errors::invalid(format!("retry: {error}"));
    let value: serde_json::Value = serde_json::from_str(json).map_err(wrong)?;
    let named = value.get("max_retries").is_some();
    let mut policy: RetryPolicy = serde_json::from_value(value).map_err(wrong)?;
    if !named {
        policy.max_retries = max_retries;
    }
    Ok(policy)
}

fn unique_hold(value: &Bound<'_, PyAny>) -> PyResult<UniqueHold> {
    if let Ok(text) = value.extract::<&str>() {
        return match text {
            "until_finished" => Ok(UniqueHold::UntilFinished),
            "until_started" => Ok(UniqueHold::UntilStarted),
            _ => Err(errors::invalid(format!("unique: `{text}` is neither until_finished, until_started nor a time"))),
        };
    }
    Ok(UniqueHold::For(seconds("unique", value.extract()?)?))
}
