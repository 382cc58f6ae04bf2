//! Queues from an application: pause, resume, limit, rate, ageing, drain, purge, and their figures. The same words as the command's.

use std::time::Duration;

use super::Client;
use crate::store::{QueueStatus, TaskFilter};
use crate::{Error, Rate, Result, TaskState};

/// Between two looks at a queue that drains, while nothing rings.
const DRAIN_POLL: Duration = Duration::from_millis(250);
/// Tasks of one statement.
const PAGE: usize = 1_000;
/// The shortest time after which a task may move up: what is shorter is a mistake in the unit.
const AGEING_MIN: Duration = Duration::from_secs(1);

impl QueueStatus {
    /// As the command shows it to programs; times in seconds.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "paused": self.paused,
            "running_max": self.running_max,
            "rate": self.rate,
            "ageing_seconds": self.ageing.map(|every| every.as_secs_f64()),
            "enqueued": self.enqueued,
            "waiting": self.waiting,
            "doing": self.doing,
            "oldest_enqueued_seconds": self.oldest_enqueued.map(|age| age.as_secs_f64()),
        })
    }
}

impl Client {
    /// All queues that are configured or have open tasks, with their figures.
    ///
    /// # Errors
    /// The database's.
    pub async fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.open_store()?.queues().await
    }

    /// Pauses a queue: what runs goes on, nothing else of it starts.
    ///
    /// # Errors
    /// A name that cannot be one, or the database's.
    pub async fn pause_queue(&self, queue: &str) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_paused(queue, true).await
    }

    /// Lets a paused queue go on.
    ///
    /// # Errors
    /// As [`Client::pause_queue`].
    pub async fn resume_queue(&self, queue: &str) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_paused(queue, false).await
    }

    /// Limits how many tasks of a queue run at once over all servers; `None` lifts it.
    ///
    /// # Errors
    /// As [`Client::pause_queue`], and a limit of zero: that is a pause.
    pub async fn limit_queue(&self, queue: &str, running_max: Option<u32>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        if running_max == Some(0) {
            return Err(Error::InvalidArgument {
                what: "limit",
                why: "0 would stop the queue: pause the queue instead".into(),
            });
        }
        self.open_store()?.set_concurrency(queue, running_max).await
    }

    /// Lets so many tasks of a queue start in some time over all servers ([`Rate`]); `None` lifts it. Setting the rate that it
    /// has changes nothing.
    ///
    /// # Errors
    /// As [`Client::pause_queue`].
    pub async fn rate_queue(&self, queue: &str, rate: Option<Rate>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_rate(queue, rate).await
    }

    /// Moves a queue's tasks up by one priority each time that they have been runnable for so long, so that none is
    /// starved; `None` ends that. Their records keep the priority that they were given.
    ///
    /// # Errors
    /// As [`Client::pause_queue`], and a time under a second.
    pub async fn age_queue(&self, queue: &str, every: Option<Duration>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        if let Some(every) = every {
            if every < AGEING_MIN {
                return Err(Error::InvalidArgument { what: "ageing", why: format!("{every:?} is under a second") });
            }
            super::call::check_range("ageing", Some(every))?;
        }
        self.open_store()?.set_ageing(queue, every).await
    }

    /// Pauses a queue and waits until what runs of it has ended, for at most so long. Whether nothing runs any more; the
    /// queue stays paused either way.
    ///
    /// # Errors
    /// [`Error::UnknownQueue`], or the database's.
    pub async fn drain_queue(&self, queue: &str, timeout: Option<Duration>) -> Result<bool> {
        if !self.open_store()?.queues().await?.iter().any(|found| found.name == queue) {
            return Err(Error::UnknownQueue(queue.to_owned()));
        }
        self.open_store()?.set_paused(queue, true).await?;
        let drained = async {
            let mut finished = self.open_store()?.bells().finished.listen();
            loop {
                finished.take();
                let begun = tokio::time::Instant::now();
                let queues = self.open_store()?.queues().await?;
                if queues.iter().find(|found| found.name == queue).is_none_or(|found| found.doing == 0) {
                    return Ok(true);
                }
                // Thousands may finish in a second: looking takes a fifth of a connection's time at most.
                tokio::time::sleep(begun.elapsed() * 4).await;
                let _ = tokio::time::timeout(DRAIN_POLL, finished.heard()).await;
            }
        };
        match timeout {
            None => drained.await,
            Some(bound) => tokio::time::timeout(bound, drained).await.unwrap_or(Ok(false)),
        }
    }

    /// Deletes the finished tasks that a filter means, in bounded batches, parents only once their children are final; how
    /// many. Without states it means done and cancelled ones.
    ///
    /// # Errors
    /// A state that is not final, or the database's; what was deleted until then stays deleted.
    pub async fn purge(&self, filter: &TaskFilter) -> Result<u64> {
        let mut filter = filter.clone();
        if filter.states.is_empty() {
            filter.states = vec![TaskState::Done, TaskState::Cancelled];
        }
        if let Some(state) = filter.states.iter().find(|state| !state.is_final()) {
            return Err(Error::InvalidArgument {
                what: "state",
                why: format!("a task that is {state} has not finished and is never deleted"),
            });
        }
        let mut deleted = 0;
        let mut after = None;
        loop {
            let ids = self.open_store()?.select(&filter, after, PAGE).await?;
            let Some(last) = ids.last() else { return Ok(deleted) };
            after = Some(*last);
            deleted += self.open_store()?.purge(&ids).await? as u64;
        }
    }
}
