//! `task cancel`, `task stop`, `task retry`.

use clap::Args;
use taskyard::TaskId;

use crate::commands::bulk::{self, Verb};
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Which tasks
#[derive(Debug, Args)]
pub(crate) struct Ids {
    /// The tasks' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskId>,
}

impl Ids {
    pub(super) async fn run(&self, session: &Session, verb: Verb) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        bulk::named(session.out(), store.as_ref(), verb, &self.ids).await
    }
}

/// Which tasks, and why
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    ids: Ids,
    /// Why: it is kept in the tasks' records
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Cancel {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        if let Some(reason) = &self.reason {
            session.settings().limits.check_reason(reason)?;
        }
        self.ids.run(session, Verb::Cancel(self.reason.clone())).await
    }
}
