//! Renders a refresh as escaped lines of text, with tables that fit the terminal.

use taskyard::{Progress, TaskState};
use taskyard_terminal::{Style, Table, escape, humanize};

use super::look::Frame;
use super::order::Order;

/// Queues that are shown.
const QUEUES_MAX: usize = 10;

/// Returns the lines of the screen.
pub(super) fn lines(frame: &Frame, order: Order, style: Style) -> Vec<String> {
    let first = format!("{}  {}  {} servers", humanize::instant(frame.now), frame.address, frame.servers.len());
    let mut lines = vec![escape::line(&first).into_owned(), states(frame, style)];
    lines.extend(throughput(frame));
    section(&mut lines, "queues", queues(frame, order), style);
    section(&mut lines, "servers", servers(frame), style);
    section(&mut lines, "running", running(frame), style);
    section(&mut lines, "dead letters", dead(frame), style);
    section(&mut lines, "next", schedules(frame), style);
    lines
}

fn states(frame: &Frame, style: Style) -> String {
    let part =
        |state: &TaskState| format!("{} {}", style.state(state.as_str()), humanize::tasks(&frame.status, *state));
    let mut parts: Vec<String> = TaskState::ALL.iter().map(part).collect();
    if frame.status.parked > 0 {
        parts.push(format!("parked {}", humanize::number(frame.status.parked)));
    }
    parts.join("  ")
}

/// Returns the line of the throughput since the previous refresh.
fn throughput(frame: &Frame) -> Option<String> {
    let throughput = frame.throughput?;
    // No rate can be computed from counts that the database only estimates.
    let rate = |rate: Option<f64>, what: &str| {
        rate.map_or_else(|| format!("? {what}/s"), |rate| format!("{rate:.1} {what}/s"))
    };
    Some(format!(
        "throughput: {}  {}  {}",
        rate(throughput.added, "added"),
        rate(throughput.done, "done"),
        rate(throughput.failed, "failed")
    ))
}

fn section(lines: &mut Vec<String>, title: &str, table: Option<Table>, style: Style) {
    lines.push(String::new());
    match table {
        Some(table) => lines.extend(table.render(style).lines().map(str::to_owned)),
        None => lines.push(format!("{title}: none")),
    }
}

fn queues(frame: &Frame, order: Order) -> Option<Table> {
    let mut queues: Vec<_> = frame.queues.iter().collect();
    order.queues.sort(&mut queues);
    let mut table = Table::new(["QUEUE", "STATE", ">ENQUEUED", ">DOING", ">WAITING", ">OLDEST"]);
    for queue in queues.iter().take(QUEUES_MAX) {
        table.row([
            queue.name.as_str(),
            if queue.paused { "paused" } else { "running" },
            &humanize::number(queue.enqueued),
            &humanize::number(queue.doing),
            &humanize::number(queue.waiting),
            &queue.oldest_enqueued.map_or_else(|| "-".into(), humanize::span),
        ]);
    }
    (!queues.is_empty()).then_some(table)
}

fn servers(frame: &Frame) -> Option<Table> {
    let mut table = Table::new(["SERVER", "?>PID", ">WORKERS", ">ACTIVE", ">TASKS", "LAST BEAT"]);
    for server in &frame.servers {
        table.row([
            server.name.as_str(),
            &server.pid.to_string(),
            &server.workers_max.to_string(),
            &server.workers_active.to_string(),
            &server.tasks_running.to_string(),
            &humanize::ago(frame.now, server.last_heartbeat_at),
        ]);
    }
    (!frame.servers.is_empty()).then_some(table)
}

fn running(frame: &Frame) -> Option<Table> {
    let mut table = Table::new(["RUNNING", "NAME", "?QUEUE", "?>ATTEMPT", "STARTED", "PROGRESS"]);
    for (task, progress) in &frame.running {
        table.row([
            task.id.to_string(),
            task.name.clone(),
            task.queue.clone(),
            task.attempt.to_string(),
            task.started_at.map_or_else(|| "-".into(), |at| humanize::ago(frame.now, at)),
            progress.as_ref().map_or_else(String::new, words),
        ]);
    }
    (!frame.running.is_empty()).then_some(table)
}

fn words(progress: &Progress) -> String {
    let mut text = progress.percentage.map_or_else(String::new, |percentage| format!("{percentage:.0} %"));
    if let (Some(completed), Some(total)) = (progress.completed, progress.total) {
        text.push_str(&format!(" ({completed} of {total})"));
    }
    if let Some(message) = &progress.message {
        text.push_str(&format!(" {message}"));
    }
    text.trim().to_owned()
}

fn dead(frame: &Frame) -> Option<Table> {
    let mut table = Table::new(["DEAD LETTER", "NAME", "?QUEUE", "DIED", "WHY"]);
    for task in &frame.dead {
        let why = task.error.as_ref().map_or_else(String::new, |error| {
            format!("{}: {}", error.error_type, error.message).chars().take(80).collect()
        });
        table.row([
            task.id.to_string(),
            task.name.clone(),
            task.queue.clone(),
            task.finished_at.map_or_else(|| "-".into(), |at| humanize::ago(frame.now, at)),
            why,
        ]);
    }
    (!frame.dead.is_empty()).then_some(table)
}

fn schedules(frame: &Frame) -> Option<Table> {
    let mut table = Table::new(["NEXT", "SCHEDULE", "KIND"]);
    for (at, schedule) in &frame.schedules {
        let new = &schedule.definition;
        table.row([humanize::ago(frame.now, *at), new.name.clone(), new.task.kind.clone()]);
    }
    (!frame.schedules.is_empty()).then_some(table)
}
