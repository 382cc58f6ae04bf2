//! The filter of lists, counts, purges and retries.

use serde::{Deserialize, Serialize};

use crate::{TaskId, TaskState, Timestamp};

/// Selects tasks; all conditions must hold.
///
/// ```
/// use taskyard::{TaskFilter, TaskState};
///
/// let filter = TaskFilter {
///     states: vec![TaskState::Done],
///     queue: Some("mail".into()),
///     tag: Some("welcome".into()),
///     ..TaskFilter::default()
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// In one of these states; any if empty.
    pub states: Vec<TaskState>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this kind as stored, including its namespace, if any ([`crate::Client::kind_of`]).
    pub kind: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Finished before this instant.
    pub finished_before: Option<Timestamp>,
    /// Finished at or after this instant.
    pub finished_after: Option<Timestamp>,
    /// With an error of this type.
    pub error_type: Option<String>,
    /// With an error whose message contains this text, case-sensitively.
    pub message: Option<String>,
    /// Maximum number of tasks, newest first (0 = 50; at most 10,000): see [`TaskFilter::records_max`].
    pub limit: usize,
    /// With an id below this one, to continue after a page.
    pub before: Option<TaskId>,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    #[serde(skip)]
    pub unlisted: crate::Unlisted,
}

impl TaskFilter {
    /// Returns the maximum number of records in a list of these tasks.
    #[must_use]
    pub const fn records_max(&self) -> usize {
        match self.limit {
            0 => 50,
            10_001.. => 10_000,
            limit => limit,
        }
    }
}
