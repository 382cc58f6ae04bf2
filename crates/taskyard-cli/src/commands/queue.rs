//! `queue …`: servers, statistics, and commands on whole queues.

mod ageing;
mod clear;
mod control;
mod drain;
mod purge;
mod retry;
mod start;
mod stats;
mod status;

use clap::Subcommand;
use taskyard_terminal::Failure;

use crate::session::Session;

/// Servers and queues
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Run a server until SIGTERM or SIGINT
    Start(start::Start),
    /// Check whether the queue is healthy: a live server, no task enqueued for too long; exit code 1 if not
    Status(status::Status),
    /// Show the statistics of every queue
    Stats,
    /// Show the servers
    Servers,
    /// Retry failed tasks, by id or all of them
    Retry(retry::Retry),
    /// Cancel waiting and enqueued tasks; nothing is deleted
    Clear(clear::Clear),
    /// Pause a queue: its tasks no longer start
    Pause(control::QueueName),
    /// Resume a paused queue
    Resume(control::QueueName),
    /// Limit how many tasks of a queue run at once over all servers
    Limit(control::Limit),
    /// Limit how many tasks of a queue start per period over all servers
    Rate(control::RateLimit),
    /// Raise the priority of a queue's tasks with time, so that none waits forever behind more urgent ones
    Ageing(ageing::Ageing),
    /// Pause a queue and wait until its running tasks have ended
    Drain(drain::Drain),
    /// Delete finished tasks
    Purge(purge::Purge),
}

impl Queue {
    /// Returns whether the command is a server: it runs until it is stopped, and logs.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Start(_))
    }

    /// Returns the settings given by the command's own flags.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        match self {
            Self::Start(start) => start.flags(),
            _ => Vec::new(),
        }
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Start(start) => start.run(session).await,
            Self::Status(status) => status.run(session).await,
            Self::Stats => stats::stats(session).await,
            Self::Servers => stats::servers(session).await,
            Self::Retry(retry) => retry.run(session).await,
            Self::Clear(clear) => clear.run(session).await,
            Self::Pause(queue) => queue.pause(session, true).await,
            Self::Resume(queue) => queue.pause(session, false).await,
            Self::Limit(limit) => limit.run(session).await,
            Self::Rate(rate) => rate.run(session).await,
            Self::Ageing(ageing) => ageing.run(session).await,
            Self::Drain(drain) => drain.run(session).await,
            Self::Purge(purge) => purge.run(session).await,
        }
    }
}
