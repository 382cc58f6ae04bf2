//! `task show ID`: prints everything that is stored about a task.

use clap::Args;
use taskyard::store::Outcome;
use taskyard::{
    Attempt, Error, Failure as TaskFailure, Progress, Store, StoredLogLine, TaskId, TaskRecord, TaskState, shown,
};
use taskyard_terminal::{Failure, Out, Table, humanize};

use super::{logs, tree};
use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// Children that are listed; `--tree` shows more.
const CHILDREN_MAX: usize = 100;
/// First log lines that are shown; `task logs` shows all.
const LINES_MAX: usize = 100;

/// Show everything about a task
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The task's id, or its first digits
    id: GivenId,
    /// Show its descendants as a tree
    #[arg(long)]
    tree: bool,
}

impl Show {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Read).await?;
        let id = self.id.find(store.as_ref()).await?;
        let record = store.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))?;
        if self.tree {
            return tree::print(session.out(), store.as_ref(), record).await;
        }
        print(session.out(), store.as_ref(), &record).await
    }
}

async fn print(out: Out, store: &dyn Store, record: &TaskRecord) -> Result<u8, Failure> {
    let attempts = store.attempts(record.id).await?;
    let context = store.context(record.id).await?.unwrap_or_default();
    let children = store.children(record.id, CHILDREN_MAX).await?;
    let lines = store.logs(record.id, 0, LINES_MAX + 1).await?;
    let aside = store.ends_aside(Some(&[record.id]), None, 1).await?.pop();
    let aside = aside.filter(|_| record.state == TaskState::Doing);
    if out.is_json() {
        let context = if context.is_empty() { b"{}" } else { context.as_slice() };
        out.json(&shown::Object::from([
            ("task", shown::value(record)),
            ("attempts", shown::value(&attempts)),
            ("context", shown::stored(context)),
            ("children", shown::value(&children)),
            (
                "end_aside",
                shown::value(&aside.as_ref().map(|end| {
                    serde_json::json!({
                        "outcome": word(&end.finish.outcome), "reason": end.reason, "since": end.since,
                    })
                })),
            ),
            ("logs", shown::value(&lines.iter().take(LINES_MAX).map(StoredLogLine::to_json).collect::<Vec<_>>())),
        ]))?;
        return Ok(0);
    }
    let mut table = Table::new(["", ""]);
    for (name, value) in facts(record) {
        table.row([&name, &value]);
    }
    if let Some(end) = &aside {
        let (outcome, since) = (word(&end.finish.outcome), humanize::instant(end.since));
        table.row(["end set aside", &format!("{outcome}, since {since}; the database says: {}", end.reason)]);
    }
    if let Some(progress) = progress(&context) {
        table.row(["progress", &progress]);
    }
    out.table(table)?;
    section(out, "arguments", &text(&record.payload))?;
    if let Some(result) = &record.result {
        section(out, "result", &text(result))?;
    }
    if !context.is_empty() && context != b"{}" {
        section(out, "context", &text(&context))?;
    }
    if let Some(error) = &record.error {
        section(out, "error", &failure(error))?;
    }
    section(out, "logs", &of_lines(&lines))?;
    section(out, "parents", &ids(&record.parents, record.parents.len()))?;
    section(out, "children", &ids(&children, children.len()))?;
    for attempt in &attempts {
        section(out, &format!("attempt {}", attempt.number), &of_attempt(attempt))?;
    }
    Ok(0)
}

fn facts(record: &TaskRecord) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut put = |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_owned(), value)));
    put("id", Some(record.id.to_string()));
    put("name", Some(record.name.clone()));
    put("kind", Some(format!("{} ({})", record.kind, record.runtime.as_str())));
    put("state", Some(record.state.to_string()));
    put("waits", record.wait_reason.map(|reason| reason.as_str().to_owned()));
    put("waiting for", record.waiting_for.clone());
    put("cancelled because", record.cancel_reason.clone());
    put("asked", record.cancel_requested.then(|| "to cancel".to_owned()));
    put("asked", record.stop_requested.then(|| "to stop".to_owned()));
    put("fell with", record.fallen_from.map(|id| id.to_string()));
    put("queue", Some(record.queue.clone()));
    put("priority", Some(record.priority.to_string()));
    put(
        "counters",
        Some(format!(
            "attempt {}, failures {}, retries left {} of {}, lost {}, crashes {}",
            record.attempt,
            record.failures,
            record.retry.max_retries.saturating_sub(record.failures),
            record.retry.max_retries,
            record.lost,
            record.crashes
        )),
    );
    put("next runs alone", record.alone.then(|| "yes".to_owned()));
    put("time limit", record.timeout_ms.map(|millis| humanize::span(std::time::Duration::from_millis(millis))));
    put("unique key", record.unique_key.clone());
    put("tags", (!record.tags.is_empty()).then(|| record.tags.join(", ")));
    put("added", Some(humanize::instant(record.created_at)));
    put("starts at", record.run_at.map(humanize::instant));
    put("expires", record.expires_at.map(humanize::instant));
    put("started", record.started_at.map(humanize::instant));
    put("finished", record.finished_at.map(humanize::instant));
    put("server", record.server.map(|id| id.to_string()));
    for (name, value) in record.extra.shown() {
        put(&name, Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    facts
}

/// Returns the outcome of an attempt whose end is set aside.
const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Retry { .. } => "failed, to be retried",
        Outcome::Snooze { .. } => "snoozed",
        Outcome::Released => "released",
        Outcome::Parked { .. } | Outcome::Refused { .. } => "parked",
        Outcome::Crashed(_) | Outcome::Beside => "its worker died",
        Outcome::Interrupted => "cancelled or stopped",
        Outcome::Expired => "expired",
        Outcome::CutShort => "cut short",
        Outcome::Lost(_) => "lost",
    }
}

/// Returns the progress that the task has reported.
fn progress(context: &[u8]) -> Option<String> {
    let progress = Progress::from_context(serde_json::from_slice(context).ok().as_ref()?)?;
    let mut text = progress.percentage.map_or_else(String::new, |percentage| format!("{percentage:.0} %"));
    if let (Some(completed), Some(total)) = (progress.completed, progress.total) {
        text.push_str(&format!(" ({completed} of {total})"));
    }
    if let Some(message) = progress.message {
        text.push_str(&format!(" {message}"));
    }
    Some(text.trim().to_owned())
}

fn of_attempt(attempt: &Attempt) -> String {
    let server = attempt.server.map_or_else(String::new, |server| format!(" on server {server}"));
    let mut text = format!(
        "{}{server}, {} to {}",
        attempt.outcome.as_str(),
        humanize::maybe(attempt.started_at),
        humanize::maybe(attempt.ended_at)
    );
    if let Some(error) = &attempt.error {
        text.push('\n');
        text.push_str(&failure(error));
    }
    text
}

fn of_lines(lines: &[StoredLogLine]) -> String {
    let mut shown: Vec<String> = lines.iter().take(LINES_MAX).map(logs::for_people).collect();
    if lines.len() > LINES_MAX {
        shown.push("… `taskyard task logs` shows all lines".into());
    }
    shown.join("\n")
}

fn failure(error: &TaskFailure) -> String {
    let traceback = error.traceback.as_deref().map_or_else(String::new, |traceback| format!("\n{traceback}"));
    format!("{}: {}{traceback}", error.error_type, error.message)
}

fn ids(ids: &[TaskId], count: usize) -> String {
    let mut lines: Vec<String> = ids.iter().take(CHILDREN_MAX).map(ToString::to_string).collect();
    if count > CHILDREN_MAX {
        lines.push(format!("and {} more", humanize::number((count - CHILDREN_MAX) as u64)));
    } else if count == CHILDREN_MAX {
        lines.push("and perhaps more".into());
    }
    lines.join("\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn section(out: Out, title: &str, text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    out.line(title)?;
    out.text("  ", text)
}
