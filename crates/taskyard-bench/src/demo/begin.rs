//! Finds the unfinished run by its joining task, or adds a new run.
//!
//! The joining task is added last, with the tasks of all files as parents. File tasks without a joining task therefore belong to
//! a run that was killed while it was being added. No server had started on them, and they are deleted before a new run.

use std::path::Path;
use std::time::{Duration, Instant};

use taskyard::{Call, ControlReply, OnParentFailure, RetryPolicy, Store, TaskId, TaskRef, TaskState, Taskyard};
use taskyard_core::store::{Final, TaskFilter};
use taskyard_terminal::humanize::number;
use taskyard_terminal::{Failure, remark};
use tokio::sync::mpsc;

use super::exact::Exact;
use super::home::Home;
use super::report::Summary;
use super::tasks::{self, FileStats, REPORT_KIND};
use super::walk;

/// Ids per statement.
pub(super) const PAGE: usize = 1_000;
/// Time between two lines about the progress of listing a large directory.
const SAY_GAP: Duration = Duration::from_secs(2);

/// A run of the demo.
pub(super) struct Run {
    /// The joining task.
    pub(super) report: TaskRef<Summary>,
    /// The tasks of the files, in the order of the files.
    pub(super) files: Vec<TaskId>,
    /// The outcomes of tasks that had ended before this process started.
    pub(super) before: Vec<Final>,
}

/// Finds the unfinished run of this directory or adds a new one.
///
/// # Errors
/// A failure with exit code 1 if the directory cannot be walked; otherwise the error of the database, by variant of
/// [`taskyard::Error`].
pub(super) async fn run(taskyard: &Taskyard, root: &Path, home: &Home) -> Result<Run, Failure> {
    let tag = format!("demo:{}", home.key);
    if let Some(run) = resumed(taskyard, &tag).await? {
        return Ok(run);
    }
    clear(taskyard.store().as_ref(), &tag).await?;
    added(taskyard, root, home, &tag).await
}

/// Returns the unfinished run. Tasks that were stopped by hand are retried, because the joining task waits for them.
async fn resumed(taskyard: &Taskyard, tag: &str) -> Result<Option<Run>, Failure> {
    let store = taskyard.store();
    let filter = TaskFilter {
        states: vec![TaskState::Waiting, TaskState::Enqueued, TaskState::Doing, TaskState::Stopped],
        kind: Some(REPORT_KIND.into()),
        tag: Some(tag.into()),
        limit: 1,
        ..TaskFilter::default()
    };
    let Some(report) = store.list(&filter).await?.pop() else { return Ok(None) };
    let mut before = Vec::new();
    let mut stopped = Vec::new();
    for page in report.parents.chunks(PAGE) {
        for found in store.finals(page).await? {
            if found.state == TaskState::Stopped { stopped.push(found.id) } else { before.push(found) }
        }
    }
    if report.state == TaskState::Stopped {
        stopped.push(report.id);
    }
    for page in stopped.chunks(PAGE) {
        store.retry(page).await?;
    }
    let (done, all) = (before.len() as u64, report.parents.len() as u64);
    remark(format_args!("resuming an unfinished run: {} of {} files are done", number(done), number(all)));
    Ok(Some(Run { report: taskyard.get(report.id), files: report.parents, before }))
}

/// Deletes the tasks of earlier runs on this directory.
async fn clear(store: &dyn Store, tag: &str) -> Result<(), Failure> {
    let filter = TaskFilter { tag: Some(tag.into()), ..TaskFilter::default() };
    let mut after = None;
    loop {
        let ids = store.select(&filter, after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(()) };
        if after.is_none() {
            remark("deleting the tasks of the last run");
        }
        after = Some(*last);
        if store.purge(&ids).await? < ids.len() {
            let replies = store.cancel(&ids).await?;
            if replies.iter().any(|reply| matches!(reply, ControlReply::Applied(_))) {
                store.purge(&ids).await?;
            }
        }
    }
}

/// Adds a task for each file, in groups while the directory is being walked, then the joining task.
async fn added(taskyard: &Taskyard, root: &Path, home: &Home, tag: &str) -> Result<Run, Failure> {
    let (sender, mut groups) = mpsc::channel(2);
    let walked = root.to_owned();
    let walking = tokio::task::spawn_blocking(move || walk::walk(&walked, &sender));
    let mut files = Vec::new();
    let mut said_at = Instant::now();
    while let Some(group) = groups.recv().await {
        let calls = group.iter().map(|path| call(root, path, tag));
        files.extend(taskyard.add_tasks(calls).await?.iter().map(TaskRef::id));
        if said_at.elapsed() >= SAY_GAP {
            said_at = Instant::now();
            remark(format_args!("{} files found so far", number(files.len() as u64)));
        }
    }
    let beside = walking.await.map_err(|error| Failure::work(format!("the directory cannot be walked: {error}")))?;
    remark(format_args!("{} files under {}", number(files.len() as u64), root.display()));
    let call = tasks::report(Exact::from(root), Exact(home.report_path()), beside)
        .name("report")
        .tag(tag)
        .priority(1)
        .retry(policy())
        .on_parent_failure(OnParentFailure::Run);
    let call = files.iter().copied().fold(call, Call::parent_id);
    let report = taskyard.add(call).await?;
    Ok(Run { report, files, before: Vec::new() })
}

fn call(root: &Path, path: &Path, tag: &str) -> Call<FileStats> {
    let call = tasks::file(Exact::from(root), Exact::from(path)).tag(tag).retry(policy());
    // The path is the task's label if it is a valid label.
    match path.to_str().filter(|name| name.len() <= 255 && !name.chars().any(char::is_control)) {
        Some(name) => call.name(name),
        None => call,
    }
}

/// Returns the retry policy: one quick retry, because a file that changes twice is in use.
fn policy() -> RetryPolicy {
    RetryPolicy { max_retries: 1, backoff_ms: 200, jitter: false, ..RetryPolicy::default() }
}
