//! `task logs ID [-f]`: prints a task's log, and with `-f` follows it until the task ends.

use std::time::Duration;

use clap::Args;
use taskyard::{Error, Store, StoredLogLine, TaskId};
use taskyard_terminal::{Failure, Out, humanize};

use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// Lines per read.
const PAGE: usize = 1_000;
/// Time between two reads while following.
const POLL: Duration = Duration::from_millis(300);

/// Show a task's log
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task's id, or its first digits
    id: GivenId,
    /// Follow the log until the task ends
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Read).await?;
        let store = store.as_ref();
        let id = self.id.find(store).await?;
        let mut after = 0;
        loop {
            // The state is read before the lines, because a task's last lines are stored together with its end.
            let state = state(store, id).await?;
            loop {
                let lines = store.logs(id, after, PAGE).await?;
                let Some(last) = lines.last() else { break };
                after = last.sequence;
                for line in &lines {
                    print(session.out(), line)?;
                }
            }
            if !self.follow || state.is_final() {
                return Ok(0);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn state(store: &dyn Store, id: TaskId) -> Result<taskyard::TaskState, Failure> {
    let record = store.get(&[id]).await?.pop().flatten().ok_or(Error::NotFound(id))?;
    Ok(record.state)
}

/// Prints one line as text, or as one JSON object per line, so that a program can read the output while it is followed.
fn print(out: Out, stored: &StoredLogLine) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(&stored.to_json());
    }
    out.line(for_people(stored))?;
    stored.line.traceback.as_deref().map_or(Ok(()), |traceback| out.text("    ", traceback))
}

/// Formats a line as text, without its traceback.
pub(super) fn for_people(stored: &StoredLogLine) -> String {
    let fields = stored.line.fields.as_deref().map(String::from_utf8_lossy);
    let fields = fields.map_or_else(String::new, |fields| format!(" {fields}"));
    format!(
        "{} {:<8} [{}] {}: {}{fields}",
        humanize::instant(stored.created_at),
        level(stored.line.level),
        stored.attempt,
        stored.line.logger,
        stored.line.message
    )
}

const fn level(number: i16) -> &'static str {
    match number {
        i16::MIN..10 => "TRACE",
        10..20 => "DEBUG",
        20..30 => "INFO",
        30..40 => "WARNING",
        40..50 => "ERROR",
        _ => "CRITICAL",
    }
}
