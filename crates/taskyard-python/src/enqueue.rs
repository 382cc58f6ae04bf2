//! The arguments with which Python adds a task in its own transaction.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use taskyard_core::task::{Start, UniqueHold};
use taskyard_core::time::limit_millis;

use crate::draft::draft;
use crate::queue::Queue;

/// Checks a task and returns the arguments of `taskyard.enqueue_payload` for it, in their order.
#[pyfunction]
pub fn enqueue_values<'py>(py: Python<'py>, queue: &Queue, task: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyTuple>> {
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
    let policy = task.policy_text();
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
