//! `task cancel`, `task stop`, `task retry`.

use clap::Args;
use taskyard_terminal::Failure;

use crate::commands::bulk::{self, Verb};
use crate::commands::id::{self, GivenId};
use crate::session::{Access, Session};

/// Tasks by id
#[derive(Debug, Args)]
pub(crate) struct Ids {
    /// The tasks' ids, or their first digits
    #[arg(required = true, value_name = "ID")]
    ids: Vec<GivenId>,
}

impl Ids {
    pub(super) async fn run(&self, session: &Session, verb: Verb) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let ids = id::find_all(store.as_ref(), &self.ids).await?;
        bulk::named(session.out(), store.as_ref(), verb, &ids).await
    }
}

/// Cancel tasks; a running one is interrupted
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    ids: Ids,
    /// The reason, stored in the tasks' records
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
