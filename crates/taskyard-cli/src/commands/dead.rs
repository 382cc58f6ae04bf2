//! `dead …`: dead letters, the tasks whose retries are spent.

use std::time::Duration;

use clap::{Args, Subcommand};
use taskyard::{TaskId, TaskState};
use taskyard_core::store::TaskFilter;

use super::filter::{By, span};
use super::{queue, task};
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Dead letters
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, the newest first
    List(List),
    /// Show everything about one
    Show(task::show::Show),
    /// Retry dead letters: these, or every one
    Retry(queue::retry::Retry),
    /// Delete dead letters
    Purge(Purge),
}

/// List dead letters
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    by: By,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Continue below this id
    #[arg(long, value_name = "ID")]
    before: Option<TaskId>,
}

/// Delete dead letters
#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    by: By,
    /// Failed at least this long ago (30, 5m, 2h, 7d)
    #[arg(long, value_name = "AGE", value_parser = span)]
    older_than: Option<Duration>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Dead {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::List(list) => {
                let store = session.store(Access::Existing).await?;
                let filter = TaskFilter {
                    limit: usize::from(list.limit),
                    before: list.before,
                    ..list.by.states(&[TaskState::Failed])
                };
                task::page(session.out(), store.as_ref(), &filter).await
            }
            Self::Show(show) => show.run(session).await,
            Self::Retry(retry) => retry.run(session).await,
            Self::Purge(purge) => {
                queue::purge::run(session, &purge.by, &[TaskState::Failed], purge.older_than, purge.yes).await
            }
        }
    }
}
