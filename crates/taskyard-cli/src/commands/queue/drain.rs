//! `queue drain`: nothing new of a queue starts, and the command returns when what runs of it has ended.

use std::time::Duration;

use clap::Args;

use crate::commands::filter::span;
use crate::failure::Failure;
use crate::session::{Access, Session};

/// Between two looks while nothing rings.
const POLL: Duration = Duration::from_millis(250);

/// Pause a queue and wait until what runs of it has ended
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The queue's name
    queue: String,
    /// Give up waiting after this long (the queue stays paused)
    #[arg(long, value_name = "DURATION", value_parser = span)]
    timeout: Option<Duration>,
}

impl Drain {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        if !store.queues().await?.iter().any(|queue| queue.name == self.queue) {
            return Err(taskyard::Error::UnknownQueue(self.queue.clone()).into());
        }
        store.set_paused(&self.queue, true).await?;
        let running = async {
            loop {
                let queues = store.queues().await?;
                if queues.iter().find(|queue| queue.name == self.queue).is_none_or(|queue| queue.doing == 0) {
                    return Ok::<(), Failure>(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match self.timeout {
            Some(bound) => tokio::time::timeout(bound, running).await.unwrap_or_else(|_| {
                Err(Failure::work(format!("tasks of queue `{}` still run; it stays paused", self.queue))
                    .with_hint("run it again to go on waiting, or `taskyard queue resume` to let it go on"))
            })?,
            None => running.await?,
        }
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"queue": self.queue, "paused": true, "doing": 0}))?;
        } else {
            out.line(format_args!("nothing of queue `{}` runs; it is paused until `queue resume`", self.queue))?;
        }
        Ok(0)
    }
}
