//! `task priority ID N`.

use clap::Args;
use taskyard_terminal::Failure;

use crate::commands::bulk::{self, Verb};
use crate::commands::filter::priority;
use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// Give a task that has not started another priority
#[derive(Debug, Args)]
pub(crate) struct Priority {
    /// The task's id, or its first digits
    id: GivenId,
    /// The priority; higher ones run first, negative ones are allowed
    #[arg(value_name = "N", value_parser = priority, allow_hyphen_values = true)]
    priority: i32,
}

impl Priority {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let id = self.id.find(store.as_ref()).await?;
        bulk::named(session.out(), store.as_ref(), Verb::Priority(self.priority), &[id]).await
    }
}
