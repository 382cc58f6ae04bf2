//! `queue stats` and `queue servers`.

use taskyard::TaskState;
use taskyard_terminal::{Failure, Table, humanize};

use crate::session::{Access, Session};

pub(super) async fn stats(session: &Session) -> Result<u8, Failure> {
    let store = session.store(Access::Read).await?;
    let queues = store.queues().await?;
    let out = session.out();
    if out.is_json() {
        let rows: Vec<_> = queues.iter().map(taskyard::QueueStatus::to_json).collect();
        out.json(&rows)?;
        return Ok(0);
    }
    let mut table =
        Table::new(["QUEUE", "STATE", ">LIMIT", ">RATE", ">AGEING", ">ENQUEUED", ">WAITING", ">DOING", ">OLDEST"]);
    for queue in &queues {
        table.row([
            queue.name.as_str(),
            if queue.paused { "paused" } else { "running" },
            &queue.running_max.map_or_else(|| "-".into(), |max| max.to_string()),
            &queue.rate.map_or_else(|| "-".into(), |rate| rate.to_string()),
            &queue.ageing.map_or_else(|| "-".into(), humanize::span),
            &humanize::number(queue.enqueued),
            &humanize::number(queue.waiting),
            &humanize::number(queue.doing),
            &queue.oldest_enqueued.map_or_else(|| "-".into(), humanize::span),
        ]);
    }
    if queues.is_empty() {
        out.line("no queue has open tasks, a limit or a pause")?;
    } else {
        out.table(table)?;
    }
    // Finished tasks are counted over all queues only, because counting them by queue would read all of them.
    let status = store.status().await?;
    let count = |state: TaskState| format!("{} {state}", humanize::tasks(&status, state));
    let all = TaskState::ALL.map(count).join(", ");
    out.line(format_args!("all queues: {all}"))?;
    Ok(0)
}

pub(super) async fn servers(session: &Session) -> Result<u8, Failure> {
    let store = session.store(Access::Read).await?;
    let servers = store.servers().await?;
    let out = session.out();
    if out.is_json() {
        out.json(&servers)?;
        return Ok(0);
    }
    let now = store.now().await?;
    let mut table = Table::new([
        "SERVER",
        "NAME",
        "?>PID",
        "?VERSION",
        "STATE",
        "?>WORKERS",
        "?>ACTIVE",
        "?>IDLE",
        ">TASKS",
        "LAST BEAT",
    ]);
    for server in &servers {
        table.row([
            server.id.to_string(),
            server.name.clone(),
            server.pid.to_string(),
            server.version.clone(),
            if server.is_running { "alive" } else { "gone" }.to_owned(),
            server.workers_max.to_string(),
            server.workers_active.to_string(),
            server.workers_idle.to_string(),
            server.tasks_running.to_string(),
            humanize::ago(now, server.last_heartbeat_at),
        ]);
    }
    out.table(table)?;
    Ok(0)
}
