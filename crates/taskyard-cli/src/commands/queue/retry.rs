//! `queue retry [ID…]`: these tasks, or every failed one; `dead retry` has more filters.

use clap::Args;
use taskyard::{TaskId, TaskState};

use crate::commands::bulk::{self, Verb};
use crate::commands::filter::By;
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Retry failed tasks
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// These tasks; every failed one without an id
    ids: Vec<TaskId>,
    #[command(flatten)]
    by: By,
}

impl Retry {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let out = session.out();
        if !self.ids.is_empty() {
            if !self.by.words(session.settings()).is_empty() {
                return Err(Failure::usage("give ids or filters, not both"));
            }
            return bulk::named(out, store.as_ref(), Verb::Retry, &self.ids).await;
        }
        let count =
            bulk::over(store.as_ref(), Verb::Retry, &self.by.states(session.settings(), &[TaskState::Failed])).await?;
        bulk::say_retried(out, count, &self.by.words(session.settings()))?;
        Ok(0)
    }
}
