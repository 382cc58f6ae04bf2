//! `task wait ID`: prints the result; exit code 1 if the task failed, was cancelled or stopped, or took too long.

use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;
use taskyard_terminal::Failure;

use crate::commands::filter::span;
use crate::commands::id::GivenId;
use crate::session::{Access, Session};

/// Wait for a task
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The task's id, or its first digits
    id: GivenId,
    /// Give up after this long; the task goes on
    #[arg(long, value_name = "DURATION", value_parser = span)]
    timeout: Option<Duration>,
}

impl Wait {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let taskyard = session.taskyard(Access::Read).await?;
        let id = self.id.find(taskyard.store().as_ref()).await?;
        result(session, &taskyard.get(id), self.timeout).await
    }
}

/// Waits for a task and prints what it returned, as the exact JSON that it stored.
pub(super) async fn result(
    session: &Session,
    task: &taskyard::TaskRef<Box<RawValue>>,
    timeout: Option<Duration>,
) -> Result<u8, Failure> {
    let value = match timeout {
        Some(bound) => task.wait_timeout(bound).await?,
        None => task.wait().await?,
    };
    session.out().stored_json(&value)?;
    Ok(0)
}
