//! Filters of dead letters: by queue, kind and tag, by error, and by time.

use std::time::Duration;

use clap::Args;
use taskyard::{Settings, Store, TaskState, Timestamp};
use taskyard_core::store::TaskFilter;
use taskyard_terminal::{Failure, humanize};

use crate::commands::filter::{FilterArgs, ago, span};

/// Filters of dead letters.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DeadFilterArgs {
    #[command(flatten)]
    by: FilterArgs,
    /// Only with an error of this type, as `dead list` shows it
    #[arg(long, value_name = "TYPE")]
    error: Option<String>,
    /// Only with this text in the error's message
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Only those that died before this instant (2026-12-24T18:00:00Z)
    #[arg(long, value_name = "INSTANT")]
    failed_before: Option<Timestamp>,
    /// Only those that died at this instant or later
    #[arg(long, value_name = "INSTANT")]
    failed_after: Option<Timestamp>,
    /// Only those that died at least this long ago (30, 5m, 2h, 7d)
    #[arg(long, value_name = "AGE", value_parser = span, conflicts_with = "failed_before")]
    older_than: Option<Duration>,
}

impl DeadFilterArgs {
    /// Returns the store's filter.
    ///
    /// # Errors
    /// [`taskyard::Error`] if the database's time cannot be read, which `--older-than` needs.
    pub(super) async fn filter(&self, settings: &Settings, store: &dyn Store) -> Result<TaskFilter, Failure> {
        Ok(TaskFilter {
            error_type: self.error.clone(),
            message: self.message.clone(),
            finished_before: self.failed_before.or(ago(store, self.older_than).await?),
            finished_after: self.failed_after,
            ..self.by.states(settings, &[TaskState::Failed])
        })
    }

    /// Returns the filters as text for messages: ` of queue x and error y`; empty without a filter.
    pub(super) fn words(&self, settings: &Settings) -> String {
        let mut words = self.by.words(settings);
        let mut add = |part: Option<String>| {
            if let Some(part) = part {
                words.push_str(if words.is_empty() { " of " } else { " and " });
                words.push_str(&part);
            }
        };
        add(self.error.as_ref().map(|error| format!("error `{error}`")));
        add(self.message.as_ref().map(|text| format!("`{text}` in the message")));
        add(self.failed_before.map(|at| format!("death before {}", humanize::instant(at))));
        add(self.failed_after.map(|at| format!("death after {}", humanize::instant(at))));
        add(self.older_than.map(|age| format!("death over {} ago", humanize::span(age))));
        words
    }
}
