//! `task …`: commands on single tasks.

mod add;
mod control;
mod list;
mod logs;
mod priority;
pub(crate) mod show;
mod tree;
mod wait;

use clap::Subcommand;
use taskyard_terminal::Failure;

use crate::commands::bulk::Verb;
use crate::session::Session;

pub(crate) use list::page;

/// Single tasks
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List tasks, the newest first
    List(list::List),
    /// Show everything about a task: record, attempts, context, children
    Show(show::Show),
    /// Show a task's log
    Logs(logs::Logs),
    /// Cancel tasks; a running one is interrupted
    Cancel(control::Cancel),
    /// Stop running tasks and keep them for a retry
    Stop(control::Ids),
    /// Retry failed, cancelled or stopped tasks
    Retry(control::Ids),
    /// Give a task that has not started another priority
    Priority(priority::Priority),
    /// Wait for a task and print its result
    Wait(wait::Wait),
    /// Add a task by its kind
    Add(add::Add),
}

impl Task {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Logs(logs) => logs.run(session).await,
            Self::Cancel(cancel) => cancel.run(session).await,
            Self::Stop(ids) => ids.run(session, Verb::Stop).await,
            Self::Retry(ids) => ids.run(session, Verb::Retry).await,
            Self::Priority(priority) => priority.run(session).await,
            Self::Wait(wait) => wait.run(session).await,
            Self::Add(add) => add.run(session).await,
        }
    }
}
