//! Renders a refresh as escaped lines of text, with tables that fit the terminal.

use taskyard::{Progress, TaskState};

use super::look::Frame;
use super::order::Order;
use crate::escape;
use crate::grid::Grid;
use crate::moment;
use crate::style::Style;

/// Queues that are shown.
const QUEUES_MAX: usize = 10;

/// Returns the lines of the screen.
pub(super) fn lines(frame: &Frame, order: Order, style: Style) -> Vec<String> {
    let first = format!("{}  {}  {} servers", moment::instant(frame.now), frame.address, frame.servers.len());
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
    let part = |state: &TaskState| format!("{} {}", style.state(state.as_str()), moment::tasks(&frame.status, *state));
    let mut parts: Vec<String> = TaskState::ALL.iter().map(part).collect();
    if frame.status.parked > 0 {
        parts.push(format!("parked {}", moment::number(frame.status.parked)));
    }
    parts.join("  ")
}

/// Returns the line of the throughput since the previous refresh.
fn throughput(frame: &Frame) -> Option<String> {
    let pace = frame.pace?;
    // No rate can be computed from counts that the database only estimates.
    let rate = |rate: Option<f64>, what: &str| {
        rate.map_or_else(|| format!("? {what}/s"), |rate| format!("{rate:.1} {what}/s"))
    };
    Some(format!(
        "throughput: {}  {}  {}",
        rate(pace.added, "added"),
        rate(pace.done, "done"),
        rate(pace.failed, "failed")
    ))
}

fn section(lines: &mut Vec<String>, title: &str, grid: Option<Grid>, style: Style) {
    lines.push(String::new());
    match grid {
        Some(grid) => lines.extend(grid.render(style).lines().map(str::to_owned)),
        None => lines.push(format!("{title}: none")),
    }
}

fn queues(frame: &Frame, order: Order) -> Option<Grid> {
    let mut queues: Vec<_> = frame.queues.iter().collect();
    order.queues.sort(&mut queues);
    let mut grid = Grid::new(["QUEUE", "STATE", ">ENQUEUED", ">DOING", ">WAITING", ">OLDEST"]);
    for queue in queues.iter().take(QUEUES_MAX) {
        grid.row([
            queue.name.as_str(),
            if queue.paused { "paused" } else { "running" },
            &moment::number(queue.enqueued),
            &moment::number(queue.doing),
            &moment::number(queue.waiting),
            &queue.oldest_enqueued.map_or_else(|| "-".into(), moment::span),
        ]);
    }
    (!queues.is_empty()).then_some(grid)
}

fn servers(frame: &Frame) -> Option<Grid> {
    let mut grid = Grid::new(["SERVER", "?>PID", ">WORKERS", ">ACTIVE", ">TASKS", "LAST BEAT"]);
    for server in &frame.servers {
        grid.row([
            server.name.as_str(),
            &server.pid.to_string(),
            &server.workers_max.to_string(),
            &server.workers_active.to_string(),
            &server.tasks_running.to_string(),
            &moment::ago(frame.now, server.last_heartbeat_at),
        ]);
    }
    (!frame.servers.is_empty()).then_some(grid)
}

fn running(frame: &Frame) -> Option<Grid> {
    let mut grid = Grid::new(["RUNNING", "NAME", "?QUEUE", "?>ATTEMPT", "STARTED", "PROGRESS"]);
    for (task, progress) in &frame.running {
        grid.row([
            task.id.to_string(),
            task.name.clone(),
            task.queue.clone(),
            task.attempt.to_string(),
            task.started_at.map_or_else(|| "-".into(), |at| moment::ago(frame.now, at)),
            progress.as_ref().map_or_else(String::new, words),
        ]);
    }
    (!frame.running.is_empty()).then_some(grid)
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

fn dead(frame: &Frame) -> Option<Grid> {
    let mut grid = Grid::new(["DEAD LETTER", "NAME", "?QUEUE", "DIED", "WHY"]);
    for task in &frame.dead {
        let why = task.error.as_ref().map_or_else(String::new, |error| {
            format!("{}: {}", error.error_type, error.message).chars().take(80).collect()
        });
        grid.row([
            task.id.to_string(),
            task.name.clone(),
            task.queue.clone(),
            task.finished_at.map_or_else(|| "-".into(), |at| moment::ago(frame.now, at)),
            why,
        ]);
    }
    (!frame.dead.is_empty()).then_some(grid)
}

fn schedules(frame: &Frame) -> Option<Grid> {
    let mut grid = Grid::new(["NEXT", "SCHEDULE", "KIND"]);
    for (at, schedule) in &frame.schedules {
        let new = &schedule.definition;
        grid.row([moment::ago(frame.now, *at), new.name.clone(), new.task.kind.clone()]);
    }
    (!frame.schedules.is_empty()).then_some(grid)
}
