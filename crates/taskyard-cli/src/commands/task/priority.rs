//! `task priority ID N`.

use clap::Args;
use taskyard::TaskId;

use crate::commands::bulk::{self, Verb};
use crate::commands::filter::priority;
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Give a task that has not started another priority
#[derive(Debug, Args)]
pub(crate) struct Priority {
    /// The task's id
    id: TaskId,
    /// The priority: higher first, negative ones are legal
    #[arg(value_name = "N", value_parser = priority, allow_hyphen_values = true)]
    priority: i32,
}

impl Priority {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        bulk::named(session.out(), store.as_ref(), Verb::Priority(self.priority), &[self.id]).await
    }
}
