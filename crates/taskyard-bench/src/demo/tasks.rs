//! The two functions that run as tasks. Their kinds are stored in the database and must never change.
//!
//! Both are in a task set of their own, so that only the demo's server runs them. Both work only on the directory that the demo
//! was started for: a task's arguments name a directory and a file to write, and every client of the database can add tasks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use taskyard::{State, TaskContext, TaskError, task};

use super::exact::Exact;
use super::meter::METER;
use super::read::{self, Problem};
use super::report::{self, Summary};
use super::walk::Beside;

taskyard::task_set!(
    /// The tasks that the demo's server runs.
    pub(super) DEMO_TASKS
);

/// The queue of the demo's tasks.
pub(super) const QUEUE: &str = "demo";
/// The joining task's kind.
pub(super) const REPORT_KIND: &str = "taskyard::demo::report";
/// Time by which a task of another directory is postponed, so that the demo of that directory can claim it.
const NOT_OURS: Duration = Duration::from_secs(1);
/// Least time between two writes of a task's progress.
const PROGRESS_GAP: Duration = Duration::from_millis(250);

/// The directory that this demo works on.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// The directory's absolute path.
    pub(super) root: PathBuf,
    /// Path of the report, the only file that is written.
    pub(super) report: PathBuf,
}

/// The result of a file's task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileStats {
    /// Path relative to the root.
    pub(super) path: Exact,
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
    /// Size in bytes.
    pub(super) bytes: u64,
    /// Number of line feeds.
    pub(super) lines: u64,
    /// Size under gzip in bytes.
    pub(super) gzip_bytes: u64,
}

/// Measures one file. Reports progress for a large file, and ends at once when the server stops.
#[task(set = DEMO_TASKS, kind = "taskyard::demo::file", queue = "demo", timeout = "0s")]
pub(super) fn file(
    root: Exact,
    path: Exact,
    directory: State<Directory>,
    context: TaskContext,
) -> Result<FileStats, TaskError> {
    if root.0 != directory.0.root {
        return Err(TaskError::snooze(NOT_OURS));
    }
    let reading = METER.enter(context.id(), path.lossy());
    let mut said_at = Instant::now();
    let step = |read, total| {
        reading.advance(read, total);
        if said_at.elapsed() >= PROGRESS_GAP {
            said_at = Instant::now();
            context.progress(read, total);
        }
        !context.is_cancelled()
    };
    let measured = read::measure(&root.0.join(&path.0), step).map_err(|problem| match problem {
        Problem::Interrupted => {
            context.check_cancelled().err().map_or_else(|| TaskError::snooze(Duration::ZERO), TaskError::from)
        }
        problem => {
            tracing::warn!(error = problem.name(), "{problem}");
            let error = TaskError::new(problem.name(), problem.to_string());
            if problem.is_worth_a_retry() {
                error
            } else {
                TaskError::fail(problem.to_string()).with_type(problem.name())
            }
        }
    })?;
    context.progress(measured.bytes, measured.bytes);
    tracing::info!(bytes = measured.bytes, lines = measured.lines, gzip_bytes = measured.gzip_bytes, "read");
    reading.done();
    let read::Measured { sha256, bytes, lines, gzip_bytes } = measured;
    Ok(FileStats { path, sha256, bytes, lines, gzip_bytes })
}

/// Writes the report on all files, including those that failed, and returns its summary.
#[task(set = DEMO_TASKS, kind = "taskyard::demo::report", queue = "demo", timeout = "0s")]
pub(super) async fn report(
    root: Exact,
    report: Exact,
    beside: Beside,
    directory: State<Directory>,
    context: TaskContext,
) -> Result<Summary, TaskError> {
    let Directory { root: own_root, report: own_report } = directory.0;
    if root.0 != own_root || report.0 != own_report {
        return Err(TaskError::snooze(NOT_OURS));
    }
    let parents = context.parent_results().await?;
    let store = context.client().store();
    let summary = report::write(store.as_ref(), parents, beside, &own_report).await?;
    tracing::info!(files = summary.files, failed = summary.failed, duplicates = summary.duplicates, "report written");
    Ok(summary)
}
