//! `queue …`: servers, figures, and what is done to whole queues.

mod ageing;
mod clear;
mod drain;
mod figures;
mod lane;
mod purge;
mod retry;
mod start;
mod status;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// Servers and queues
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Run a server until SIGTERM or SIGINT
    Start(start::Start),
    /// Say whether the queue is healthy: a live server, nothing waiting for too long
    Status(status::Status),
    /// Show every queue's figures
    Stats,
    /// Show the servers
    Servers,
    /// Retry failed tasks: these, or every failed one
    Retry(retry::Retry),
    /// Cancel what is waiting and enqueued; delete nothing
    Clear(clear::Clear),
    /// Pause a queue: nothing of it starts any more
    Pause(lane::Lane),
    /// Resume a paused queue
    Resume(lane::Lane),
    /// Limit how many tasks of a queue run at once over all servers
    Limit(lane::Limit),
    /// Limit how many tasks of a queue start in some time over all servers
    Rate(lane::RateLimit),
    /// Let a queue's tasks move up with time, so that none waits for ever behind more urgent ones
    Ageing(ageing::Ageing),
    /// Pause a queue and wait until what runs of it has ended
    Drain(drain::Drain),
    /// Delete finished tasks
    Purge(purge::Purge),
}

impl Queue {
    /// Whether it keeps running and logs what it does.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Start(_))
    }

    /// Settings that its own flags say.
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
            Self::Stats => figures::stats(session).await,
            Self::Servers => figures::servers(session).await,
            Self::Retry(retry) => retry.run(session).await,
            Self::Clear(clear) => clear.run(session).await,
            Self::Pause(lane) => lane.pause(session, true).await,
            Self::Resume(lane) => lane.pause(session, false).await,
            Self::Limit(limit) => limit.run(session).await,
            Self::Rate(rate) => rate.run(session).await,
            Self::Ageing(ageing) => ageing.run(session).await,
            Self::Drain(drain) => drain.run(session).await,
            Self::Purge(purge) => purge.run(session).await,
        }
    }
}
