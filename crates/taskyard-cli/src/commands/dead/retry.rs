//! `dead retry [ID…]`: retries dead letters by id, or in bounded batches by filter; a single one can be edited first.

use clap::Args;
use taskyard::{TaskFilter, TaskState};
use taskyard_terminal::Failure;

use super::edit::Arguments;
use super::filter_args::DeadFilterArgs;
use crate::commands::bulk::{self, Verb};
use crate::commands::id::{self, GivenId};
use crate::confirm::confirm;
use crate::session::{Access, Session};

/// Retry dead letters
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The tasks' ids, or their first digits; without any, every dead letter that matches the filters
    ids: Vec<GivenId>,
    #[command(flatten)]
    by: DeadFilterArgs,
    #[command(flatten)]
    arguments: Arguments,
    /// Do not ask for confirmation before all dead letters are retried
    #[arg(short, long)]
    yes: bool,
}

impl Retry {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let edit = self.arguments.edit();
        let words = self.by.words(session.settings());
        if !self.ids.is_empty() && !words.is_empty() {
            return Err(Failure::usage("give ids or filters, not both"));
        }
        if !edit.is_empty() && self.ids.len() != 1 {
            return Err(Failure::usage("only a single task can be edited with its retry: give exactly one id"));
        }
        let taskyard = session.taskyard(Access::Existing).await?;
        let out = session.out();
        let ids = id::find_all(taskyard.store().as_ref(), &self.ids).await?;
        if let [id] = ids[..]
            && !edit.is_empty()
        {
            // If this process dies between edit and retry, the task is edited and still dead.
            taskyard.edit_dead(id, &edit).await?;
        }
        if !ids.is_empty() {
            return bulk::named(out, taskyard.store().as_ref(), Verb::Retry, &ids).await;
        }
        // With a filter the selection is explicit; without one, ask, because all dead letters may not be meant.
        if words.is_empty() {
            confirm(self.yes, &format!("Retry every failed task in {}?", session.address()))?;
        }
        let store = taskyard.store();
        let filter =
            TaskFilter { states: vec![TaskState::Failed], ..self.by.filter(session.settings(), store.as_ref()).await? };
        let count = bulk::over(store.as_ref(), Verb::Retry, &filter).await?;
        bulk::say_retried(out, count, &words)?;
        Ok(0)
    }
}
