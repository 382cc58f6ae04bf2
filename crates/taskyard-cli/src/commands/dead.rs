//! `dead …`: dead letters, the tasks whose retries are spent.

mod edit;
mod filter_args;
mod retry;

use clap::{Args, Subcommand};
use taskyard_core::store::TaskFilter;

use super::task;
use crate::commands::id::GivenId;
use crate::confirm::confirm;
use crate::session::{Access, Session};
use filter_args::DeadFilterArgs;
use taskyard_terminal::{Failure, humanize};

/// Dead letters
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, the newest first
    List(List),
    /// Count dead letters
    Count(Count),
    /// Show everything about a dead letter: arguments, every attempt, its log
    Show(task::show::Show),
    /// Change arguments, queue, priority or retries of a dead letter, which stays dead
    Edit(edit::Edit),
    /// Retry dead letters, by id or by filter; a single one can be edited at the same time
    Retry(retry::Retry),
    /// Delete dead letters
    Purge(Purge),
}

/// List dead letters
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    by: DeadFilterArgs,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Continue below this id
    #[arg(long, value_name = "ID")]
    before: Option<GivenId>,
}

/// Count dead letters
#[derive(Debug, Args)]
pub(crate) struct Count {
    #[command(flatten)]
    by: DeadFilterArgs,
}

/// Delete dead letters
#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    by: DeadFilterArgs,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Dead {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let out = session.out();
        match self {
            Self::List(list) => {
                let store = session.store(Access::Read).await?;
                let before = match &list.before {
                    Some(before) => Some(before.find(store.as_ref()).await?),
                    None => None,
                };
                let filter = list.by.filter(session.settings(), store.as_ref()).await?;
                let filter = TaskFilter { limit: usize::from(list.limit), before, ..filter };
                task::page(out, store.as_ref(), &filter).await
            }
            Self::Count(count) => {
                let store = session.store(Access::Read).await?;
                let found = store.count(&count.by.filter(session.settings(), store.as_ref()).await?).await?;
                if out.is_json() {
                    out.json(&serde_json::json!({"dead": found}))?;
                } else {
                    out.line(found)?;
                }
                Ok(0)
            }
            Self::Show(show) => show.run(session).await,
            Self::Edit(edit) => edit.run(session).await,
            Self::Retry(retry) => retry.run(session).await,
            Self::Purge(purge) => {
                let taskyard = session.taskyard(Access::Existing).await?;
                let question = format!(
                    "Delete all dead letters{} from {}?",
                    purge.by.words(session.settings()),
                    session.address()
                );
                confirm(purge.yes, &question)?;
                let filter = purge.by.filter(session.settings(), taskyard.store().as_ref()).await?;
                let deleted = taskyard.purge_dead(&filter).await?;
                if out.is_json() {
                    out.json(&serde_json::json!({"deleted": deleted}))?;
                } else {
                    out.line(format_args!("{} tasks deleted", humanize::number(deleted)))?;
                }
                Ok(0)
            }
        }
    }
}
