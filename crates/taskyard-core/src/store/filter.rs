//! Which tasks a list, a count, a purge or a retry means.

use serde::{Deserialize, Serialize};

use crate::{TaskId, TaskState, Timestamp};

/// Which tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// In one of these states; all if empty.
    pub states: Vec<TaskState>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this kind, as it is stored: with its namespace, if it has one ([`crate::Client::kind_of`]).
    pub kind: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Finished before this instant.
    pub finished_before: Option<Timestamp>,
    /// Finished at this instant or after it.
    pub finished_after: Option<Timestamp>,
    /// With an error of this type.
    pub error_type: Option<String>,
    /// With an error whose message contains this text, upper and lower case being different.
    pub message: Option<String>,
    /// Newest first, at most this many (0 = 50; at most 10,000): see [`TaskFilter::records_max`].
    pub limit: usize,
    /// Continue below this id.
    pub before: Option<TaskId>,
    /// Further fields may come: a literal ends in `..Default::default()`.
    #[doc(hidden)]
    #[serde(skip)]
    pub unlisted: crate::Unlisted,
}

impl TaskFilter {
    /// How many records a list of these tasks has at most.
    #[must_use]
    pub const fn records_max(&self) -> usize {
        match self.limit {
            0 => 50,
            10_001.. => 10_000,
            limit => limit,
        }
    }
}
