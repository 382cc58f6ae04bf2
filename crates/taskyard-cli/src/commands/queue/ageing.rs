//! `queue ageing NAME`: what has stood long in a queue moves up, so that nothing waits for ever behind what is more urgent.

use std::time::Duration;

use clap::Args;

use crate::commands::filter::span;
use crate::failure::Failure;
use crate::moment;
use crate::session::{Access, Session};

/// Let a queue's tasks move up with time
#[derive(Debug, Args)]
pub(crate) struct Ageing {
    /// The queue's name
    queue: String,
    /// Move a task up by one priority each time that it has been runnable for so long (10m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = span, required_unless_present = "off")]
    every: Option<Duration>,
    /// Not any more: what had moved up goes back
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
            let every = moment::span(every);
            out.line(format_args!("tasks of queue `{}` move up by one priority every {every}", self.queue))?;
        } else {
            out.line(format_args!("tasks of queue `{}` stay at their priority", self.queue))?;
        }
        Ok(0)
    }
}
