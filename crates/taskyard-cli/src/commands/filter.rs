//! Filters that commands on many tasks share.

use std::time::Duration;

use clap::Args;
use taskyard::{Store, TaskState};
use taskyard_core::duration;
use taskyard_core::namespace::kind_in;
use taskyard_core::settings::Settings;
use taskyard_core::store::TaskFilter;
use taskyard_terminal::Failure;

/// Filters by queue, kind and tag.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only of this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only of this kind (the function's path; NAMESPACE/PATH in another namespace, /PATH in none)
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only with this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
}

impl FilterArgs {
    /// Returns the store's filter for these states.
    pub(crate) fn states(&self, settings: &Settings, states: &[TaskState]) -> TaskFilter {
        TaskFilter {
            states: states.to_vec(),
            queue: self.queue.clone(),
            kind: self.stored_kind(settings),
            tag: self.tag.clone(),
            ..TaskFilter::default()
        }
    }

    fn stored_kind(&self, settings: &Settings) -> Option<String> {
        self.kind.as_ref().map(|kind| kind_in(settings.namespace.as_ref(), kind))
    }

    /// Returns the filters as text for messages: ` of queue x and kind y`; empty without a filter.
    pub(crate) fn words(&self, settings: &Settings) -> String {
        let kind = self.stored_kind(settings);
        let parts: Vec<String> = [("queue", &self.queue), ("kind", &kind), ("tag", &self.tag)]
            .into_iter()
            .filter_map(|(word, value)| value.as_ref().map(|value| format!("{word} `{value}`")))
            .collect();
        if parts.is_empty() { String::new() } else { format!(" of {}", parts.join(" and ")) }
    }
}

/// Parses the value of a flag that takes a state.
pub(crate) fn state(text: &str) -> Result<TaskState, String> {
    text.parse().map_err(|error: taskyard::Error| error.to_string())
}

/// Parses a priority.
pub(crate) fn priority(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("expected a whole number from {} to {}", i32::MIN, i32::MAX))
}

/// Parses the value of a flag that takes a duration: `30` (seconds), `250ms`, `1h30m`, `7d`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

/// Returns the instant this long ago by the database's clock; `None` without an age, or for an instant out of range.
///
/// # Errors
/// [`taskyard::Error`] if the database's time cannot be read.
pub(crate) async fn ago(store: &dyn Store, age: Option<Duration>) -> Result<Option<taskyard::Timestamp>, Failure> {
    let Some(age) = age else { return Ok(None) };
    let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    let then = store.now().await?.as_microsecond().saturating_sub(micros);
    Ok(taskyard_core::time::from_micros(then))
}
