//! `queue drain`: pauses a queue and returns when its running tasks have ended.

use std::time::Duration;

use clap::Args;
use taskyard_terminal::Failure;

use crate::commands::filter::span;
use crate::session::{Access, Session};

/// Pause a queue and wait until its running tasks have ended
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The queue's name
    queue: String,
    /// Give up waiting after this long: exit code 1, and the queue stays paused
    #[arg(long, value_name = "DURATION", value_parser = span)]
    timeout: Option<Duration>,
}

impl Drain {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let taskyard = session.taskyard(Access::Existing).await?;
        if !taskyard.drain_queue(&self.queue, self.timeout).await? {
            return Err(Failure::work(format!(
                "queue `{}`: tasks are still running; the queue stays paused",
                self.queue
            ))
            .with_hint("run the command again to continue waiting, or `taskyard queue resume` to resume the queue"));
        }
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"queue": self.queue, "paused": true, "doing": 0}))?;
        } else {
            out.line(format_args!("queue `{}`: no task is running; paused until `taskyard queue resume`", self.queue))?;
        }
        Ok(0)
    }
}
