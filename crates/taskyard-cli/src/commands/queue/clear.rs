//! `queue clear`: cancels waiting and enqueued tasks, page by page; deletes nothing.

use clap::Args;
use taskyard::TaskState;
use taskyard_terminal::{Failure, humanize};

use crate::commands::bulk::{self, Verb};
use crate::commands::filter::FilterArgs;
use crate::confirm::confirm;
use crate::session::{Access, Session};

/// Cancel waiting and enqueued tasks
#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    by: FilterArgs,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Clear {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let address = session.address();
        confirm(
            self.yes,
            &format!("Cancel every waiting and enqueued task{} in {address}?", self.by.words(session.settings())),
        )?;
        let filter = self.by.states(session.settings(), &[TaskState::Waiting, TaskState::Enqueued]);
        let count = bulk::over(store.as_ref(), Verb::Cancel(None), &filter).await?;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"cancelled": count.applied, "requested": count.requested}))?;
        } else {
            let started = match count.requested {
                0 => String::new(),
                some => {
                    format!(
                        "; {} had just started, and their servers were asked to cancel them",
                        humanize::number(some)
                    )
                }
            };
            out.line(format_args!("{} tasks cancelled{started}", humanize::number(count.applied)))?;
        }
        Ok(0)
    }
}
