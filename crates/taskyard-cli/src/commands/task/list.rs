//! `task list`: one page of tasks, the newest first.

use clap::Args;
use taskyard::{Store, TaskRecord, TaskState};
use taskyard_core::store::TaskFilter;
use taskyard_terminal::{Failure, Out, Table, humanize, remark};

use crate::commands::filter::{FilterArgs, state};
use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// List tasks
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    by: FilterArgs,
    /// In these states, separated by commas
    #[arg(long, value_name = "STATE", value_parser = state, value_delimiter = ',')]
    state: Vec<TaskState>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Continue below this id
    #[arg(long, value_name = "ID")]
    before: Option<GivenId>,
}

impl List {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Read).await?;
        let before = match &self.before {
            Some(before) => Some(before.find(store.as_ref()).await?),
            None => None,
        };
        let filter =
            TaskFilter { limit: usize::from(self.limit), before, ..self.by.states(session.settings(), &self.state) };
        page(session.out(), store.as_ref(), &filter).await
    }
}

/// Prints one page of tasks; shared with `dead list`.
///
/// # Errors
/// [`taskyard::Error`] if the database cannot be read; a failure if stdout cannot be written.
pub(crate) async fn page(out: Out, store: &dyn Store, filter: &TaskFilter) -> Result<u8, Failure> {
    let records = store.list(filter).await?;
    if out.is_json() {
        out.json(&records)?;
        return Ok(0);
    }
    let now = store.now().await?;
    let mut table = Table::new(["ID", "STATE", "NAME", "?QUEUE", "?>ATTEMPT", "ADDED", "WHY"]);
    for record in &records {
        table.row([
            record.id.to_string(),
            record.state.to_string(),
            record.name.clone(),
            record.queue.clone(),
            record.attempt.to_string(),
            humanize::ago(now, record.created_at),
            why(record),
        ]);
    }
    out.table(table)?;
    if records.len() == filter.limit
        && let Some(last) = records.last()
    {
        remark(format_args!("more tasks: --before {}", last.id));
    }
    Ok(0)
}

/// Returns a short text for the column WHY: what the task waits for, or its error.
fn why(record: &TaskRecord) -> String {
    let text = match (&record.wait_reason, &record.waiting_for, &record.error) {
        (_, Some(waiting_for), _) => waiting_for.clone(),
        (Some(reason), None, _) => reason.as_str().to_owned(),
        (None, None, Some(error)) if record.state != TaskState::Done => {
            format!("{}: {}", error.error_type, error.message)
        }
        _ => String::new(),
    };
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
