//! `queue ageing NAME`: raises the priority of a queue's tasks with time, so that none waits forever behind more urgent ones.

use std::time::Duration;

use clap::Args;
use taskyard_terminal::{Failure, humanize};

use crate::commands::filter::span;
use crate::session::{Access, Session};

/// Raise the priority of a queue's tasks with time
#[derive(Debug, Args)]
pub(crate) struct Ageing {
    /// The queue's name
    queue: String,
    /// Raise a task's priority by one each time it has been runnable for this long (10m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = span, required_unless_present = "off")]
    every: Option<Duration>,
    /// Turn ageing off and restore the tasks' own priorities
    #[arg(long, conflicts_with = "every")]
    off: bool,
}

impl Ageing {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let every = self.every.filter(|_| !self.off);
        session.taskyard(Access::Create).await?.age_queue(&self.queue, every).await?;
        let out = session.out();
        if out.is_json() {
            let seconds = every.map(|every| every.as_secs_f64());
            out.json(&serde_json::json!({"queue": self.queue, "ageing_seconds": seconds}))?;
        } else if let Some(every) = every {
            let every = humanize::span(every);
            out.line(format_args!("queue `{}`: the priority of its tasks rises by one every {every}", self.queue))?;
        } else {
            out.line(format_args!("queue `{}`: ageing is off", self.queue))?;
        }
        Ok(0)
    }
}
