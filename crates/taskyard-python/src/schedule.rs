//! Schedules: converts the task of a schedule, and checks rules before anything is stored.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskyard_core::schedule::rule::{Clock, Rule, zone};
use taskyard_core::task::NewTask;
use taskyard_core::{Error, Timestamp};

use crate::draft::draft;
use crate::errors;
use crate::values::instant;

/// Converts the task of a schedule.
pub fn task(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<NewTask> {
    let draft = draft(py, given)?;
    if !draft.blobs.is_empty() {
        return Err(errors::invalid(
            "a schedule: a nested function or a serialised value cannot be scheduled, because its signature is \
             valid for one task only; use a function at the top of a module and plain arguments",
        ));
    }
    Ok(draft.task)
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
