//! `dead retry [ID…]`: these dead letters, or all that the filters mean, in bounded batches; one may be edited with it.

use clap::Args;
use taskyard::{TaskFilter, TaskId, TaskState};

use super::by::DeadBy;
use super::edit::Arguments;
use crate::commands::bulk::{self, Verb};
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Retry dead letters
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// These tasks; every dead letter that the filters mean without an id
    ids: Vec<TaskId>,
    #[command(flatten)]
    by: DeadBy,
    #[command(flatten)]
    arguments: Arguments,
}

impl Retry {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let edit = self.arguments.edit();
        if !self.ids.is_empty() && !self.by.words(session.settings()).is_empty() {
            return Err(Failure::usage("give ids or filters, not both"));
        }
        if !edit.is_empty() && self.ids.len() != 1 {
            return Err(Failure::usage("one task at a time can be edited: give its id"));
        }
        let taskyard = session.taskyard(Access::Existing).await?;
        let out = session.out();
        if let [id] = self.ids[..]
            && !edit.is_empty()
        {
            // Should this process die in between, the task is edited and still dead.
            taskyard.edit_dead(id, &edit).await?;
        }
        if !self.ids.is_empty() {
            return bulk::named(out, taskyard.store().as_ref(), Verb::Retry, &self.ids).await;
        }
        let store = taskyard.store();
        let filter =
            TaskFilter { states: vec![TaskState::Failed], ..self.by.filter(session.settings(), store.as_ref()).await? };
        let count = bulk::over(store.as_ref(), Verb::Retry, &filter).await?;
        bulk::say_retried(out, count, &self.by.words(session.settings()))?;
        Ok(0)
    }
}
