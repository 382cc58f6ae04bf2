//! Converts a verb and its arguments to a request; the verbs are the same for the engine in this process and for a
//! server.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskyard_core::TaskId;
use taskyard_core::client::ClientRequest;

use crate::values::id_of;
use crate::{queues, schedule};

/// Returns the request for `verb` about the task with this id, or the schedule or queue with this name.
pub fn question(
    py: Python<'_>,
    verb: &str,
    id: Option<&str>,
    filter: Option<&Bound<'_, PyDict>>,
) -> PyResult<ClientRequest> {
    if verb.starts_with("schedule") {
        return schedule::question(py, verb, id.unwrap_or_default(), filter);
    }
    if verb.starts_with("queue") {
        return queues::question(py, verb, id.unwrap_or_default(), filter);
    }
    if verb.starts_with("dead") {
        return queues::about_dead(py, verb, id.unwrap_or_default(), filter);
    }
    let id = || id_of(py, id.unwrap_or_default());
    Ok(match verb {
        "wait" => ClientRequest::Wait(id()?),
        "record" => ClientRequest::Record(id()?),
        "context" => ClientRequest::Context(id()?),
        "logs" => ClientRequest::Logs(id()?),
        "attempts" => ClientRequest::Attempts(id()?),
        "cancel" => ClientRequest::Cancel(id()?, queues::Given(filter).get("reason")?),
        "stop" => ClientRequest::Stop(id()?),
        "retry" => ClientRequest::Retry(id()?),
        "priority" => ClientRequest::SetPriority(id()?, queues::Given(filter).need("priority")?),
        "parent_results" => ClientRequest::ParentResults(id()?),
        "watch" => watch(id()?, filter)?,
        "flush" => ClientRequest::Flush,
        "list" => list(filter)?,
        other => return Err(PyValueError::new_err(format!("there is no question `{other}`"))),
    })
}

fn watch(id: TaskId, filter: Option<&Bound<'_, PyDict>>) -> PyResult<ClientRequest> {
    let number = |name: &str| -> PyResult<Option<u64>> {
        match filter.map(|filter| filter.get_item(name)).transpose()?.flatten() {
            Some(value) => value.extract(),
            None => Ok(None),
        }
    };
    Ok(ClientRequest::Watch {
        id,
        since: number("since")?,
        seen: number("seen")?,
        wait_ms: number("wait_ms")?.unwrap_or(0),
    })
}

fn list(filter: Option<&Bound<'_, PyDict>>) -> PyResult<ClientRequest> {
    let get = |name: &str| match filter {
        Some(filter) => filter.get_item(name),
        None => Ok(None),
    };
    let text = |name: &str| -> PyResult<Option<String>> {
        get(name)?.map_or(Ok(None), |value| value.extract::<Option<String>>())
    };
    let states = match get("states")? {
        Some(states) => states.extract::<Vec<String>>()?,
        None => Vec::new(),
    };
    let states = queues::states(&states)?;
    let limit = get("limit")?.map_or(Ok(50), |limit| limit.extract())?;
    Ok(ClientRequest::List { states, queue: text("queue")?, kind: text("kind")?, limit })
}
