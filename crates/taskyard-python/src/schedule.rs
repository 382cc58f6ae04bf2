//! Schedules: converts a description from Python, a dict, to a request, and checks rules before anything is stored.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use taskyard_core::client::{ClientRequest, ScheduleRequest};
use taskyard_core::schedule::rule::{Clock, Rule, zone};
use taskyard_core::schedule::{NewSchedule, OnConflict};
use taskyard_core::task::NewTask;
use taskyard_core::{Error, Timestamp};

use crate::draft::draft;
use crate::errors;
use crate::values::{instant, read, seconds};

/// Returns the request for `verb` about the schedule with this name.
pub fn question(py: Python<'_>, verb: &str, name: &str, given: Option<&Bound<'_, PyDict>>) -> PyResult<ClientRequest> {
    let name = || name.to_owned();
    let count = |key: &str| match given.map(|given| given.get_item(key)).transpose()?.flatten() {
        Some(value) => value.extract::<usize>(),
        None => Ok(0),
    };
    Ok(ClientRequest::Schedules(match verb {
        "schedule_put" => put(py, given.ok_or_else(|| PyValueError::new_err("a schedule is missing"))?)?,
        "schedules" => ScheduleRequest::List,
        "schedule" => ScheduleRequest::Get { name: name(), upcoming: count("upcoming")?, runs: count("runs")? },
        "schedule_rule" => {
            let text = |key: &str| match given.map(|given| given.get_item(key)).transpose()?.flatten() {
                Some(value) => value.extract::<Option<String>>(),
                None => Ok(None),
            };
            ScheduleRequest::Reschedule { name: name(), rule: text("rule")?.unwrap_or_default(), zone: text("zone")? }
        }
        "schedule_remove" => ScheduleRequest::Remove(name()),
        "schedule_pause" => ScheduleRequest::SetPaused(name(), true),
        "schedule_resume" => ScheduleRequest::SetPaused(name(), false),
        "schedule_run" => ScheduleRequest::Run(name()),
        other => return Err(PyValueError::new_err(format!("there is no question `{other}`"))),
    }))
}

fn put(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<ScheduleRequest> {
    let mut new = NewSchedule::new("", "", NewTask::new("", Vec::new()));
    let mut on_conflict = OnConflict::Replace;
    for (key, value) in given {
        match key.cast::<PyString>()?.to_str()? {
            "name" => new.name = value.extract()?,
            "rule" => new.rule = value.extract()?,
            "zone" => new.zone = value.extract()?,
            "task" => {
                let draft = draft(py, value.cast::<PyDict>()?)?;
                if !draft.blobs.is_empty() {
                    return Err(errors::invalid(
                        "a schedule: a nested function or a serialised value cannot be scheduled, because its signature is \
                         valid for one task only; use a function at the top of a module and plain arguments",
                    ));
                }
                new.task = draft.task;
            }
            "overlap" => new.overlap = read(py, value.extract()?)?,
            "catch_up" => new.catch_up = read(py, value.extract()?)?,
            "catch_up_window" => new.catch_up_window = seconds("catch_up_window", value.extract()?)?,
            "jitter" => new.jitter = seconds("jitter", value.extract()?)?,
            "starts_at" => new.starts_at = Some(instant("starts_at", value.extract()?)?),
            "ends_at" => new.ends_at = Some(instant("ends_at", value.extract()?)?),
            "runs_max" => new.runs_max = Some(value.extract()?),
            "pause_after_failures" => new.pause_after_failures = Some(value.extract()?),
            "on_conflict" => on_conflict = read(py, value.extract()?)?,
            other => return Err(PyTypeError::new_err(format!("a schedule has no `{other}`"))),
        }
    }
    Ok(ScheduleRequest::Put { schedule: Box::new(new), on_conflict })
}

/// Parses a rule and its zone, and returns warnings about probable mistakes.
///
/// Raises `CronError` if the rule is invalid, and `InvalidArgument` if the zone is.
#[pyfunction]
pub fn check_rule(py: Python<'_>, rule: &str, zone_name: &str, name: &str) -> PyResult<Vec<String>> {
    let check = || {
        let rule = Rule::parse(rule, name)?;
        zone(rule.zone_name().unwrap_or(zone_name))?;
        Ok(rule.warnings())
    };
    check().map_err(|error: Error| errors::raised(py, &error))
}

/// Returns the next `count` times of a rule after an instant, both in microseconds since the Unix epoch. `after`
/// defaults to the current time.
///
/// Raises as `check_rule`.
#[pyfunction]
pub fn next_times(
    py: Python<'_>,
    rule: &str,
    zone_name: &str,
    name: &str,
    after: Option<i64>,
    count: usize,
) -> PyResult<Vec<i64>> {
    let after = after.map(|after| instant("after", after)).transpose()?.unwrap_or_else(Timestamp::now);
    let times = || {
        let rule = Rule::parse(rule, name)?;
        let zone = zone(rule.zone_name().unwrap_or(zone_name))?;
        let clock = Clock::new(rule, zone, after);
        Ok(clock.times(after).take(count).map(Timestamp::as_microsecond).collect())
    };
    times().map_err(|error: Error| errors::raised(py, &error))
}
