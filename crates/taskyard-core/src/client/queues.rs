//! Queues for applications: pause, resume, limit, rate, ageing, drain, purge, and their statistics. The methods have
//! the names of the command's subcommands.

use std::time::Duration;

use super::Client;
use crate::store::{QueueStatus, TaskFilter};
use crate::{Error, Rate, Result, TaskState};

/// Polling interval for a queue that drains, without notifications.
const DRAIN_POLL: Duration = Duration::from_millis(250);
/// Number of tasks per statement.
const PAGE: usize = 1_000;
/// Shortest ageing interval: a shorter one is a mistake in the unit.
const AGEING_MIN: Duration = Duration::from_secs(1);

impl QueueStatus {
    /// Returns the status as the command's JSON; times in seconds.
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
    /// Returns all queues that are configured or have open tasks, with their statistics.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// queue.add(send("ada@example.org".into()).queue("mail")).await?;
    /// let queues = queue.queues().await?;
    /// assert_eq!((queues[0].name.as_str(), queues[0].enqueued), ("mail", 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.open_store()?.queues().await
    }

    /// Pauses a queue: running tasks continue, and no other task of it starts.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// queue.add(send("ada@example.org".into()).queue("mail")).await?;
    /// queue.pause_queue("mail").await?;
    /// assert_eq!(queue.drain().await?, 0);
    /// queue.resume_queue("mail").await?;
    /// assert_eq!(queue.drain().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] or [`Error::OverLimit`] for an invalid name, and [database
    /// errors](Client#database-errors).
    pub async fn pause_queue(&self, queue: &str) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_paused(queue, true).await
    }

    /// Resumes a paused queue.
    ///
    /// # Errors
    /// Those of [`Client::pause_queue`].
    pub async fn resume_queue(&self, queue: &str) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_paused(queue, false).await
    }

    /// Limits how many tasks of a queue run at once over all servers; `None` removes the limit.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// queue.limit_queue("reports", Some(2)).await?;
    /// assert_eq!(queue.queues().await?[0].running_max, Some(2));
    /// queue.limit_queue("reports", None).await?; // no limit
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::pause_queue`], and [`Error::InvalidArgument`] for a limit of zero, which would be a pause.
    pub async fn limit_queue(&self, queue: &str, running_max: Option<u32>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        if running_max == Some(0) {
            return Err(Error::InvalidArgument {
                what: "limit",
                why: "0 would stop the queue: pause the queue instead".into(),
            });
        }
        self.open_store()?.set_limit(queue, running_max).await
    }

    /// Limits how many tasks of a queue start per period over all servers ([`Rate`]); `None` removes the limit. Setting
    /// the current rate again changes nothing.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    /// use taskyard::Rate;
    ///
    /// queue.rate_queue("mail", Some(Rate::new(100, Duration::from_secs(60))?)).await?;
    /// assert_eq!(queue.queues().await?[0].rate, Some("100/m".parse()?));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::pause_queue`].
    pub async fn rate_queue(&self, queue: &str, rate: Option<Rate>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        self.open_store()?.set_rate(queue, rate).await
    }

    /// Promotes a queue's tasks by one priority each time that they have been runnable for `every`, so that none is
    /// starved; `None` disables this. Their records keep their original priority.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    ///
    /// queue.age_queue("mail", Some(Duration::from_secs(300))).await?;
    /// assert_eq!(queue.queues().await?[0].ageing, Some(Duration::from_secs(300)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::pause_queue`], and [`Error::InvalidArgument`] for an interval under one second or over a
    /// hundred years.
    pub async fn age_queue(&self, queue: &str, every: Option<Duration>) -> Result<()> {
        self.config().limits.check_name("queue", queue)?;
        if let Some(every) = every {
            if every < AGEING_MIN {
                return Err(Error::InvalidArgument { what: "ageing", why: format!("{every:?} is under a second") });
            }
            crate::time::check_duration("ageing", Some(every))?;
        }
        self.open_store()?.set_ageing(queue, every).await
    }

    /// Pauses a queue and waits until its running tasks have ended, for at most `timeout`. Returns whether no task is
    /// running any more; the queue stays paused in either case.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    ///
    /// queue.add(send("ada@example.org".into()).queue("mail")).await?;
    /// let is_drained = queue.drain_queue("mail", Some(Duration::from_secs(30))).await?; // none was running
    /// assert!(is_drained && queue.queues().await?[0].paused);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownQueue`], and [database errors](Client#database-errors).
    pub async fn drain_queue(&self, queue: &str, timeout: Option<Duration>) -> Result<bool> {
        if !self.open_store()?.queues().await?.iter().any(|found| found.name == queue) {
            return Err(Error::UnknownQueue(queue.to_owned()));
        }
        self.open_store()?.set_paused(queue, true).await?;
        let drained = async {
            let mut finished = self.open_store()?.notifications().finished.listen();
            loop {
                finished.take();
                let begun = tokio::time::Instant::now();
                let queues = self.open_store()?.queues().await?;
                if queues.iter().find(|found| found.name == queue).is_none_or(|found| found.doing == 0) {
                    return Ok(true);
                }
                // Thousands of tasks may finish in a second: polling uses at most a fifth of a connection's time.
                tokio::time::sleep(begun.elapsed() * 4).await;
                let _ = tokio::time::timeout(DRAIN_POLL, finished.notified()).await;
            }
        };
        match timeout {
            None => drained.await,
            Some(bound) => tokio::time::timeout(bound, drained).await.unwrap_or(Ok(false)),
        }
    }

    /// Deletes the finished tasks that match a filter, in bounded batches, parents only after their children are final.
    /// Returns how many. A filter without states matches done and cancelled tasks.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Error, TaskFilter};
    ///
    /// let task = queue.add(send("ada@example.org".into()).queue("mail")).await?;
    /// queue.drain().await?;
    /// let filter = TaskFilter { queue: Some("mail".into()), ..TaskFilter::default() };
    /// assert_eq!(queue.purge(&filter).await?, 1);
    /// assert!(matches!(task.record().await, Err(Error::NotFound(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a state that is not final, and [database errors](Client#database-errors); tasks
    /// deleted until then stay deleted.
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
