//! Converts a task description from Python, a dict, to a task to be added. Missing keys have their defaults.

use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use taskyard_core::client::Draft;
use taskyard_core::namespace::{self, Namespace};
use taskyard_core::seal::Blob;
use taskyard_core::state::Runtime;
use taskyard_core::task::{NewTask, Start, Unique, UniqueHold};
use taskyard_core::time::limit_millis;
use taskyard_core::{RetryPolicy, TaskId, Timestamp};

use crate::errors;
use crate::question::{id_of, read};

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

pub fn seconds(what: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| errors::invalid(format!("{what}: {seconds} is not a number of seconds, 0 or more")))
}

pub fn instant(what: &str, micros: i64) -> PyResult<Timestamp> {
    taskyard_core::time::from_micros(micros)
        .ok_or_else(|| errors::invalid(format!("{what}: it is outside the years -9999 to 9999")))
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

/// Checks a task and returns the arguments of `taskyard.enqueue_payload` for it, in their order.
#[pyfunction]
pub fn enqueue_values<'py>(
    py: Python<'py>,
    queue: &crate::queue::Queue,
    task: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyTuple>> {
    let task = queue.settle(py, draft(py, task)?)?;
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let (after, run_at) = match task.start {
        Start::Now => (None, None),
        Start::After(after) => (Some(micros(after)), None),
        Start::At(at) => (None, Some(at.to_string())),
    };
    let (hold, hold_for) = match task.unique.as_ref().map(|unique| unique.hold) {
        None => (None, None),
        Some(UniqueHold::UntilFinished) => (Some(0_i16), None),
        Some(UniqueHold::UntilStarted) => (Some(1), None),
        Some(UniqueHold::For(duration)) => (Some(2), Some(micros(duration))),
    };
    let policy = if task.retry == RetryPolicy::default() { None } else { serde_json::to_string(&task.retry).ok() };
    let parents: Vec<String> = task.parents.iter().map(ToString::to_string).collect();
    let plain_parts = task.plain_parts();
    let values: Vec<Bound<'py, PyAny>> = vec![
        task.id.to_string().into_pyobject(py)?.into_any(),
        task.kind.into_pyobject(py)?.into_any(),
        PyBytes::new(py, &task.payload).into_any(),
        task.context.map(|context| PyBytes::new(py, &context)).into_pyobject(py)?.into_any(),
        task.runtime.code().into_pyobject(py)?.into_any(),
        task.name.into_pyobject(py)?.into_any(),
        task.queue.into_pyobject(py)?.into_any(),
        task.priority.into_pyobject(py)?.into_any(),
        policy.into_pyobject(py)?.into_any(),
        task.timeout
            .map(|timeout| i64::try_from(limit_millis(timeout)).unwrap_or(i64::MAX))
            .into_pyobject(py)?
            .into_any(),
        after.into_pyobject(py)?.into_any(),
        run_at.into_pyobject(py)?.into_any(),
        task.expires.map(micros).into_pyobject(py)?.into_any(),
        parents.into_pyobject(py)?.into_any(),
        task.on_parent_failure.code().into_pyobject(py)?.into_any(),
        task.unique.as_ref().map(|unique| unique.key.clone()).into_pyobject(py)?.into_any(),
        hold.into_pyobject(py)?.into_any(),
        hold_for.into_pyobject(py)?.into_any(),
        task.tags.into_pyobject(py)?.into_any(),
        task.auto_remove.into_pyobject(py)?.to_owned().into_any(),
        task.at_most_once.into_pyobject(py)?.to_owned().into_any(),
        plain_parts.into_pyobject(py)?.into_any(),
    ];
    PyTuple::new(py, values)
}
