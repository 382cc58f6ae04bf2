//! Measures a drain: from the start of a server until the last result is durable.

use std::time::{Duration, Instant};

use taskyard::{Result, TaskState, Taskyard};

use super::postgres::Observer;
use super::report::{Drain, Rate};

/// The tasks to drain and the server that drains them.
pub(super) struct Load {
    /// Number of no-op tasks.
    pub tasks: usize,
    /// Workers of the server; the CPU count if `None`.
    pub workers: Option<usize>,
    /// Queues that the server serves; all if `None`.
    pub queues: Option<Vec<String>>,
}

/// Drains no-op tasks that are already enqueued.
pub(super) async fn measure(queue: &Taskyard, observer: Option<&Observer>, load: &Load) -> Result<Drain> {
    let tasks = load.tasks;
    let before = done(queue).await?;
    let bill = match observer {
        Some(observer) => Some(observer.bill().await?),
        None => None,
    };
    let mut config = queue.server_config();
    config.queues.clone_from(&load.queues);
    config.max_workers = load.workers.unwrap_or(config.max_workers);
    let started = Instant::now();
    let server = queue.serve_with(config).await?;
    while (server.status().ended(TaskState::Done) as usize) < tasks {
        if started.elapsed() > Duration::from_secs(600) {
            return Err(taskyard::Error::Database(format!(
                "only {} of {tasks} tasks were done after 600 s",
                server.status().ended(TaskState::Done)
            )));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rate = Rate::new(tasks as u64, started.elapsed());
    let connections = match observer {
        Some(observer) => Some(observer.connections().await?),
        None => None,
    };
    let spent = match (observer, bill) {
        (Some(observer), Some(bill)) => Some(observer.bill().await?.since(&bill, tasks)),
        _ => None,
    };
    server.stop();
    server.wait().await;
    let now = done(queue).await?;
    if now - before < tasks as u64 {
        return Err(taskyard::Error::Database(format!("{} of {tasks} tasks are done in the database", now - before)));
    }
    Ok(Drain { rate, bill: spent, connections, peak_memory_mib: peak_memory_mib() })
}

/// Returns the exact number of tasks that are done; the status of a large table is an estimate.
async fn done(queue: &Taskyard) -> Result<u64> {
    let counted = queue.store().query("select count(*) from queued_tasks where state = 'done'", 1).await?;
    let count = counted.rows.first().and_then(|row| row.first()).and_then(|value| value.get().parse().ok());
    count.ok_or_else(|| super::failed("cannot count the tasks that are done", "the database returned no number"))
}

/// Returns the peak memory of this process in MiB.
pub(super) fn peak_memory_mib() -> f64 {
    status_field(std::process::id(), "VmHWM:").unwrap_or(0.0) / 1024.0
}

/// Returns a field in kB of `/proc/PID/status`.
pub(super) fn status_field(process: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find(|line| line.starts_with(field))?.split_whitespace().nth(1)?.parse().ok()
}
