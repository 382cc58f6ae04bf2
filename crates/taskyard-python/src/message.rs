//! Converts the messages of a server to Python: tuples that begin with the message's name.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use taskyard_core::Limits;
use taskyard_server::children::frame::{AfterFailure, Interrupt, Run, ToChild};

/// Returns the tuple of a message; `None` if Python does not need it.
pub fn message<'py>(py: Python<'py>, said: ToChild) -> PyResult<Option<Bound<'py, PyTuple>>> {
    Ok(Some(match said {
        ToChild::Begin { concurrency, limits, max_retries, timeout_ms, only_declared, namespace } => {
            let settings = PyDict::new(py);
            settings.set_item("concurrency", concurrency)?;
            settings.set_item("max_retries", max_retries)?;
            settings.set_item("task_timeout", timeout_ms.map_or(0.0, |timeout| timeout as f64 / 1_000.0))?;
            settings.set_item("only_declared", only_declared)?;
            settings.set_item("namespace", namespace)?;
            put_limits(&settings, &limits)?;
            ("begin", settings).into_pyobject(py)?
        }
        ToChild::Run(runs) => {
            let list = PyList::empty(py);
            for one in runs {
                list.append(run(py, one)?)?;
            }
            ("run", list).into_pyobject(py)?
        }
        ToChild::Interrupt(slots) => {
            let slots: Vec<(u64, &str)> = slots.into_iter().map(|(slot, why)| (slot, word(why))).collect();
            ("interrupt", slots).into_pyobject(py)?
        }
        ToChild::Recall(slots) => ("recall", slots).into_pyobject(py)?,
        ToChild::ProbeParked(reasons) => ("knows", reasons).into_pyobject(py)?,
        ToChild::Death(number, dead) => ("death", (number, PyBytes::new(py, &dead))).into_pyobject(py)?,
        ToChild::Leave => ("leave", py.None()).into_pyobject(py)?,
        ToChild::Failures(failures) => {
            let failures: Vec<(u64, &str, f64)> =
                failures.into_iter().map(|(slot, after)| (slot, word_of(after), seconds_of(after))).collect();
            ("failures", failures).into_pyobject(py)?
        }
        // Responses were already passed to their waiters.
        ToChild::Answers(_) | ToChild::Ping => return Ok(None),
    }))
}

/// Adds the limits that Python checks itself.
pub fn put_limits(settings: &Bound<'_, PyDict>, limits: &Limits) -> PyResult<()> {
    settings.set_item("arguments_bytes_max", limits.arguments_bytes_max)?;
    settings.set_item("arguments_filled_bytes_max", limits.arguments_filled_bytes_max)?;
    settings.set_item("result_bytes_max", limits.result_bytes_max)?;
    settings.set_item("context_bytes_max", limits.context_bytes_max)?;
    settings.set_item("log_line_bytes_max", limits.log_line_bytes_max)?;
    settings.set_item("nesting_max", limits.nesting_max)
}

fn word_of(after: AfterFailure) -> &'static str {
    match after {
        AfterFailure::Retry(_) => "retry",
        AfterFailure::Dead => "dead",
        AfterFailure::Other => "other",
    }
}

fn seconds_of(after: AfterFailure) -> f64 {
    if let AfterFailure::Retry(pause) = after { pause as f64 / 1_000.0 } else { 0.0 }
}

fn word(why: Interrupt) -> &'static str {
    match why {
        Interrupt::Asked => "asked",
        Interrupt::Release => "release",
        Interrupt::Timeout => "timeout",
    }
}

/// Returns `(slot, id, kind, name, queue, payload, context, attempt, timeout, has_parents, {text: (python, body)},
/// restricted)`.
fn run<'py>(py: Python<'py>, run: Run) -> PyResult<Bound<'py, PyTuple>> {
    let opened = PyDict::new(py);
    for value in run.opened {
        opened.set_item(value.text, (value.python, PyBytes::new(py, &value.body)))?;
    }
    PyTuple::new(
        py,
        [
            run.slot.into_bound_py_any(py)?,
            run.id.to_string().into_bound_py_any(py)?,
            run.kind.into_bound_py_any(py)?,
            run.name.into_bound_py_any(py)?,
            run.queue.into_bound_py_any(py)?,
            PyBytes::new(py, &run.payload).into_any(),
            run.context.map(|context| PyBytes::new(py, &context)).into_bound_py_any(py)?,
            run.attempt.into_bound_py_any(py)?,
            run.timeout_ms.map(|timeout| timeout as f64 / 1_000.0).into_bound_py_any(py)?,
            run.has_parents.into_bound_py_any(py)?,
            opened.into_any(),
            run.restricted.into_bound_py_any(py)?,
        ],
    )
}
