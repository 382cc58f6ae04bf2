//! The requests of a client as Python builds them: one constructor per request, whose signature is in `_core.pyi`.
//!
//! A request is the same for the engine in this process and for a server; `ask` of both takes it. An id that is not
//! valid is reported by `ask`, where a port turns the error into the response to its HTTP request; values of other types
//! and filters are checked by the constructors.
//! Additions are not here: they have a path of their own (`draft.rs`).

use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskyard_core::client::{ClientRequest, DeadLetterRequest, QueueRequest, ScheduleRequest};
use taskyard_core::schedule::NewSchedule;
use taskyard_core::{Rate, TaskId};

use crate::arguments::{DeadEdit, TaskFilter};
use crate::schedule;
use crate::values::{id_of, instant, read, seconds};

/// A query or a control operation.
#[pyclass(frozen, module = "taskyard._core", name = "ClientRequest")]
pub struct Request {
    /// Name of the request, for the log.
    pub name: &'static str,
    request: PyResult<ClientRequest>,
}

impl Request {
    fn of(name: &'static str, request: PyResult<ClientRequest>) -> Self {
        Self { name, request }
    }

    fn task(py: Python<'_>, name: &'static str, id: &str, request: impl FnOnce(TaskId) -> ClientRequest) -> Self {
        Self::of(name, id_of(py, id).map(request))
    }

    fn schedules(name: &'static str, request: ScheduleRequest) -> Self {
        Self::of(name, Ok(ClientRequest::Schedules(request)))
    }

    fn queues(name: &'static str, request: QueueRequest) -> Self {
        Self::of(name, Ok(ClientRequest::Queues(Box::new(request))))
    }

    fn dead_letters(name: &'static str, request: DeadLetterRequest) -> Self {
        Self::of(name, Ok(ClientRequest::Dead(Box::new(request))))
    }

    /// Returns the request, or raises the error of a value that is not valid.
    pub fn checked(&self, py: Python<'_>) -> PyResult<ClientRequest> {
        match &self.request {
            Ok(request) => Ok(request.clone()),
            Err(error) => Err(error.clone_ref(py)),
        }
    }
}

#[pymethods]
impl Request {
    #[staticmethod]
    fn wait(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "wait", id, ClientRequest::Wait)
    }

    #[staticmethod]
    fn record(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "record", id, ClientRequest::Record)
    }

    #[staticmethod]
    fn context(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "context", id, ClientRequest::Context)
    }

    #[staticmethod]
    fn logs(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "logs", id, ClientRequest::Logs)
    }

    #[staticmethod]
    fn attempts(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "attempts", id, ClientRequest::Attempts)
    }

    #[staticmethod]
    fn parent_results(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "parent_results", id, ClientRequest::ParentResults)
    }

    #[staticmethod]
    #[pyo3(signature = (id, reason=None))]
    fn cancel(py: Python<'_>, id: &str, reason: Option<String>) -> Self {
        Self::task(py, "cancel", id, |id| ClientRequest::Cancel(id, reason))
    }

    #[staticmethod]
    fn stop(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "stop", id, ClientRequest::Stop)
    }

    #[staticmethod]
    fn retry(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "retry", id, ClientRequest::Retry)
    }

    #[staticmethod]
    fn set_priority(py: Python<'_>, id: &str, priority: i32) -> Self {
        Self::task(py, "set_priority", id, |id| ClientRequest::SetPriority(id, priority))
    }

    #[staticmethod]
    fn watch(py: Python<'_>, id: &str, since: Option<u64>, seen: Option<u64>, wait_ms: u64) -> Self {
        Self::task(py, "watch", id, |id| ClientRequest::Watch { id, since, seen, wait_ms })
    }

    /// Uses the states, the queue, the kind and the limit of the filter.
    #[staticmethod]
    fn list(filter: &TaskFilter) -> Self {
        let filter = filter.0.clone();
        let (states, queue, kind, limit) = (filter.states, filter.queue, filter.kind, filter.limit);
        Self::of("list", Ok(ClientRequest::List { states, queue, kind, limit }))
    }

    #[staticmethod]
    fn flush() -> Self {
        Self::of("flush", Ok(ClientRequest::Flush))
    }

    // ------------------------------------------------------------------------------------------------------- queues

    #[staticmethod]
    fn list_queues() -> Self {
        Self::queues("list_queues", QueueRequest::List)
    }

    #[staticmethod]
    fn pause_queue(name: String) -> Self {
        Self::queues("pause_queue", QueueRequest::SetPaused(name, true))
    }

    #[staticmethod]
    fn resume_queue(name: String) -> Self {
        Self::queues("resume_queue", QueueRequest::SetPaused(name, false))
    }

    #[staticmethod]
    fn limit_queue(name: String, running_max: Option<u32>) -> Self {
        Self::queues("limit_queue", QueueRequest::Limit(name, running_max))
    }

    #[staticmethod]
    fn rate_queue(py: Python<'_>, name: String, rate: Option<&str>) -> Self {
        let rate = rate.map(|text| read::<Rate>(py, text)).transpose();
        Self::of("rate_queue", rate.map(|rate| ClientRequest::Queues(Box::new(QueueRequest::Rate(name, rate)))))
    }

    #[staticmethod]
    fn age_queue(name: String, every: Option<f64>) -> Self {
        let every = every.map(|every| seconds("every", every)).transpose();
        Self::of("age_queue", every.map(|every| ClientRequest::Queues(Box::new(QueueRequest::Age(name, every)))))
    }

    #[staticmethod]
    fn drain_queue(name: String, timeout: Option<f64>) -> Self {
        let timeout = timeout.map(|timeout| seconds("timeout", timeout)).transpose();
        let drain = |timeout| ClientRequest::Queues(Box::new(QueueRequest::Drain { queue: name, timeout }));
        Self::of("drain_queue", timeout.map(drain))
    }

    #[staticmethod]
    fn purge(filter: &TaskFilter) -> Self {
        Self::queues("purge", QueueRequest::Purge(filter.0.clone()))
    }

    // ------------------------------------------------------------------------------------------------- dead letters

    #[staticmethod]
    fn list_dead(filter: &TaskFilter) -> Self {
        Self::dead_letters("list_dead", DeadLetterRequest::List(filter.0.clone()))
    }

    #[staticmethod]
    fn count_dead(filter: &TaskFilter) -> Self {
        Self::dead_letters("count_dead", DeadLetterRequest::Count(filter.0.clone()))
    }

    #[staticmethod]
    fn show_dead(py: Python<'_>, id: &str) -> Self {
        Self::task(py, "show_dead", id, |id| ClientRequest::Dead(Box::new(DeadLetterRequest::Show(id))))
    }

    #[staticmethod]
    fn edit_dead(py: Python<'_>, id: &str, edit: &DeadEdit) -> Self {
        let edit = edit.0.clone();
        Self::task(py, "edit_dead", id, |id| ClientRequest::Dead(Box::new(DeadLetterRequest::Edit(id, edit))))
    }

    #[staticmethod]
    fn retry_dead(py: Python<'_>, id: &str, edit: &DeadEdit) -> Self {
        let edit = edit.0.clone();
        Self::task(py, "retry_dead", id, |id| ClientRequest::Dead(Box::new(DeadLetterRequest::Retry(id, edit))))
    }

    #[staticmethod]
    fn retry_all_dead(filter: &TaskFilter) -> Self {
        Self::dead_letters("retry_all_dead", DeadLetterRequest::RetryAll(filter.0.clone()))
    }

    #[staticmethod]
    fn purge_dead(filter: &TaskFilter) -> Self {
        Self::dead_letters("purge_dead", DeadLetterRequest::Purge(filter.0.clone()))
    }

    // ---------------------------------------------------------------------------------------------------- schedules

    /// `task` is a dict, as for `add`; times are microseconds since the Unix epoch, and lengths of time seconds.
    #[staticmethod]
    #[pyo3(signature = (
        *, name, rule, zone, task, overlap, catch_up, on_conflict, catch_up_window, jitter, starts_at, ends_at, runs_max,
        pause_after_failures
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each part of a schedule")]
    fn put_schedule(
        py: Python<'_>,
        name: String,
        rule: String,
        zone: String,
        task: &Bound<'_, PyDict>,
        overlap: &str,
        catch_up: &str,
        on_conflict: &str,
        catch_up_window: Option<f64>,
        jitter: Option<f64>,
        starts_at: Option<i64>,
        ends_at: Option<i64>,
        runs_max: Option<u32>,
        pause_after_failures: Option<u32>,
    ) -> Self {
        let put = || {
            let mut schedule = NewSchedule::new(name, rule, schedule::task(py, task)?);
            schedule.zone = zone;
            schedule.overlap = read(py, overlap)?;
            schedule.catch_up = read(py, catch_up)?;
            if let Some(window) = catch_up_window {
                schedule.catch_up_window = seconds("catch_up_window", window)?;
            }
            if let Some(jitter) = jitter {
                schedule.jitter = seconds("jitter", jitter)?;
            }
            schedule.starts_at = starts_at.map(|at| instant("starts_at", at)).transpose()?;
            schedule.ends_at = ends_at.map(|at| instant("ends_at", at)).transpose()?;
            schedule.runs_max = runs_max;
            schedule.pause_after_failures = pause_after_failures;
            let on_conflict = read(py, on_conflict)?;
            Ok(ClientRequest::Schedules(ScheduleRequest::Put { schedule: Box::new(schedule), on_conflict }))
        };
        Self::of("put_schedule", put())
    }

    #[staticmethod]
    fn list_schedules() -> Self {
        Self::schedules("list_schedules", ScheduleRequest::List)
    }

    #[staticmethod]
    fn show_schedule(name: String, upcoming: usize, runs: usize) -> Self {
        Self::schedules("show_schedule", ScheduleRequest::Get { name, upcoming, runs })
    }

    #[staticmethod]
    fn reschedule(name: String, rule: String, zone: Option<String>) -> Self {
        Self::schedules("reschedule", ScheduleRequest::Reschedule { name, rule, zone })
    }

    #[staticmethod]
    fn remove_schedule(name: String) -> Self {
        Self::schedules("remove_schedule", ScheduleRequest::Remove(name))
    }

    #[staticmethod]
    fn pause_schedule(name: String) -> Self {
        Self::schedules("pause_schedule", ScheduleRequest::SetPaused(name, true))
    }

    #[staticmethod]
    fn resume_schedule(name: String) -> Self {
        Self::schedules("resume_schedule", ScheduleRequest::SetPaused(name, false))
    }

    #[staticmethod]
    fn run_schedule(name: String) -> Self {
        Self::schedules("run_schedule", ScheduleRequest::Run(name))
    }
}
