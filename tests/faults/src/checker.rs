//! Compares ledgers and rows in linear time.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use taskyard::{Result, Store, TaskId, TaskState};

use crate::ledger::{Event, read_all};
use crate::tasks::Proof;

/// Differences between the ledgers and the database. All must be zero but `runs_repeated`, which "at least once"
/// permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of acknowledged additions.
    pub added: usize,
    /// Number of runs that started.
    pub started: usize,
    /// Runs beyond the first of their tasks.
    pub runs_repeated: usize,
    /// Tasks that were acknowledged but are not in the database.
    pub lost: usize,
    /// Tasks in the database or run, but never added.
    pub invented: usize,
    /// Tasks not in a final state at the end.
    pub unfinished: usize,
    /// Tasks whose final state or result differs from one that an observer saw, or with two ends.
    pub decided_twice: usize,
    /// Results that were not made by the task's last claimed run.
    pub stale_accepted: usize,
}

impl CheckReport {
    /// Panics unless nothing was lost, invented, decided twice or accepted from a stale run.
    pub fn assert_clean(&self) {
        let faults = [self.lost, self.invented, self.unfinished, self.decided_twice, self.stale_accepted];
        assert_eq!(faults, [0; 5], "{self:?}");
    }
}

/// Checks a database against the ledgers in a directory.
///
/// # Errors
/// `Error::Database` if a ledger cannot be read; any error of reading the database.
pub async fn check(store: &dyn Store, directory: &Path) -> Result<CheckReport> {
    let events = read_all(directory).map_err(|error| taskyard::Error::Database(error.to_string()))?;
    let mut report = CheckReport::default();
    let (mut adding, mut added) = (HashSet::new(), Vec::new());
    let mut observed: HashMap<TaskId, (String, Option<String>)> = HashMap::new();
    let mut runs: HashMap<TaskId, HashSet<String>> = HashMap::new();
    for event in events {
        match event {
            Event::Adding { task } => drop(adding.insert(task)),
            Event::Added { task } => added.push(task),
            Event::Started { task, token, .. } => {
                report.started += 1;
                if !runs.entry(task).or_default().insert(token) {
                    // One claim, two starts: a token must never begin a second run.
                    report.decided_twice += 1;
                }
            }
            Event::Observed { task, state, result } => {
                if let Some(before) = observed.insert(task, (state.clone(), result.clone())) {
                    report.decided_twice += usize::from(before != (state, result));
                }
            }
            Event::Ended { .. } | Event::Refused { .. } | Event::Merged { .. } | Event::Cancelling { .. } => {}
        }
    }
    report.added = added.len();
    report.runs_repeated = runs.values().map(|tokens| tokens.len() - 1).sum();
    report.invented = runs.keys().filter(|task| !adding.contains(task)).count();
    for chunk in added.chunks(1_000) {
        for (id, record) in chunk.iter().zip(store.get(chunk).await?) {
            let Some(record) = record else {
                report.lost += 1;
                continue;
            };
            if !record.state.is_final() {
                report.unfinished += 1;
                continue;
            }
            let result = record.result.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if let Some(seen) = observed.get(id) {
                report.decided_twice += usize::from(*seen != (record.state.to_string(), result.clone()));
            }
            if record.state == TaskState::Done {
                let proof: Option<Proof> = result.as_deref().and_then(|text| serde_json::from_str(text).ok());
                report.stale_accepted += usize::from(proof.is_some_and(|proof| {
                    proof.attempt != record.attempt || !runs.get(id).is_some_and(|runs| runs.contains(&proof.token))
                }));
            }
        }
    }
    Ok(report)
}
