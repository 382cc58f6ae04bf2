//! `queue retry [ID…]`: retries failed tasks, by id or all of them; `dead retry` has more filters.

use clap::Args;
use taskyard::TaskState;
use taskyard_terminal::Failure;

use crate::commands::bulk::{self, Verb};
use crate::commands::filter::FilterArgs;
use crate::commands::id::{self, GivenId};
use crate::confirm::confirm;
use crate::session::{Access, Session};

/// Retry failed tasks
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The tasks' ids, or their first digits; without any, every failed task
    ids: Vec<GivenId>,
    #[command(flatten)]
    by: FilterArgs,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Retry {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let out = session.out();
        let words = self.by.words(session.settings());
        if !self.ids.is_empty() {
            if !words.is_empty() {
                return Err(Failure::usage("give ids or filters, not both"));
            }
            let ids = id::find_all(store.as_ref(), &self.ids).await?;
            return bulk::named(out, store.as_ref(), Verb::Retry, &ids).await;
        }
        confirm(self.yes, &format!("Retry every failed task{words} in {}?", session.address()))?;
        let count =
            bulk::over(store.as_ref(), Verb::Retry, &self.by.states(session.settings(), &[TaskState::Failed])).await?;
        bulk::say_retried(out, count, &words)?;
        Ok(0)
    }
}
