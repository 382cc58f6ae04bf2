//! Applies a command to many tasks: to named ones, or page by page to all that match a filter.

use taskyard::{ControlReply, Store, TaskId};
use taskyard_core::store::TaskFilter;
use taskyard_terminal::{Failure, Out, humanize};

/// Tasks per statement.
pub(crate) const PAGE: usize = 1_000;

/// The command that is applied to each task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Cancel, with an optional reason.
    Cancel(Option<String>),
    Stop,
    Retry,
    Priority(i32),
}

impl Verb {
    async fn call(&self, store: &dyn Store, ids: &[TaskId]) -> Result<Vec<ControlReply>, Failure> {
        Ok(match self {
            Self::Cancel(reason) => store.cancel_because(ids, reason.as_deref()).await?,
            Self::Stop => store.stop(ids).await?,
            Self::Retry => store.retry(ids).await?,
            Self::Priority(priority) => store.set_priority(ids, *priority).await?,
        })
    }

    const fn done(&self) -> &'static str {
        match self {
            Self::Cancel(_) => "cancelled",
            Self::Stop => "stopped",
            Self::Retry => "retried",
            Self::Priority(_) => "has its new priority",
        }
    }

    const fn asked(&self) -> &'static str {
        match self {
            Self::Cancel(_) => "its server was asked to cancel it",
            Self::Stop => "its server was asked to stop it",
            Self::Retry => "its retry was requested",
            Self::Priority(_) => "its priority is unchanged",
        }
    }

    const fn needed(&self) -> &'static str {
        match self {
            Self::Cancel(_) => "only a task that has not ended can be cancelled",
            Self::Stop => "only a running task can be stopped",
            Self::Retry => "only a failed, cancelled or stopped task can be retried",
            Self::Priority(_) => "only a task that has not started can be given another priority",
        }
    }
}

/// The number of tasks by reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Changed.
    pub(crate) applied: u64,
    /// Running; the request was passed to their servers.
    pub(crate) requested: u64,
    /// Not changed, because their state had changed in the meantime.
    pub(crate) refused: u64,
    /// Not retried because another task holds the unique key.
    pub(crate) held: u64,
}

/// Applies the command to all tasks that match the filter, in pages in the order of their ids.
///
/// # Errors
/// [`taskyard::Error`] if a statement fails; earlier pages stay changed.
pub(crate) async fn over(store: &dyn Store, verb: Verb, filter: &TaskFilter) -> Result<Count, Failure> {
    let mut count = Count::default();
    let mut after = None;
    loop {
        let ids = store.select(filter, after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(count) };
        after = Some(*last);
        for reply in verb.call(store, &ids).await? {
            match reply {
                ControlReply::Applied(_) => count.applied += 1,
                ControlReply::Requested => count.requested += 1,
                ControlReply::Refused(_) | ControlReply::NotFound => count.refused += 1,
                ControlReply::KeyHeld(_) => count.held += 1,
            }
        }
    }
}

/// Prints how many failed tasks a bulk retry has retried, and how many it has not because of their unique keys.
///
/// # Errors
/// A failure if stdout cannot be written.
pub(crate) fn say_retried(out: Out, count: Count, words: &str) -> Result<(), Failure> {
    if out.is_json() {
        out.json(&serde_json::json!({"retried": count.applied, "key_held": count.held}))?;
        return Ok(());
    }
    out.line(format_args!("{} failed tasks{words} are retried", humanize::number(count.applied)))?;
    if count.held > 0 {
        out.line(format_args!(
            "{} failed tasks are not retried, because other tasks hold their unique keys",
            humanize::number(count.held)
        ))?;
    }
    Ok(())
}

/// Deletes all finished tasks that match the filter, except parents whose children have not finished. Returns how many.
///
/// # Errors
/// [`taskyard::Error`] if a statement fails; earlier pages stay deleted.
pub(crate) async fn purge(store: &dyn Store, filter: &TaskFilter) -> Result<u64, Failure> {
    let mut deleted = 0;
    let mut after = None;
    loop {
        let ids = store.select(filter, after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(deleted) };
        after = Some(*last);
        deleted += store.purge(&ids).await? as u64;
    }
}

/// Applies the command to named tasks and prints the reply for each; returns exit code 4 if any was refused.
///
/// # Errors
/// [`taskyard::Error`] if a statement fails; a failure if stdout cannot be written.
pub(crate) async fn named(out: Out, store: &dyn Store, verb: Verb, ids: &[TaskId]) -> Result<u8, Failure> {
    let mut replies = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        replies.extend(verb.call(store, page).await?);
    }
    if out.is_json() {
        let rows: Vec<_> =
            ids.iter().zip(&replies).map(|(id, reply)| serde_json::json!({"id": id, "reply": reply})).collect();
        out.json(&rows)?;
    }
    let mut exit = 0;
    for (id, reply) in ids.iter().zip(&replies) {
        match reply {
            ControlReply::Applied(_) if out.is_json() => {}
            ControlReply::Requested if out.is_json() => {}
            ControlReply::Applied(state) => out.line(format_args!("{id} {}; it is {state} now", verb.done()))?,
            ControlReply::Requested => out.line(format_args!("{id} is running: {}", verb.asked()))?,
            ControlReply::Refused(state) => {
                let error = taskyard::Error::WrongState { id: *id, state: *state, why: verb.needed() };
                Failure::from(error).print();
                exit = 4;
            }
            ControlReply::KeyHeld(holder) => {
                Failure::from(taskyard::Error::UniqueKeyHeld { id: *id, holder: *holder }).print();
                exit = 4;
            }
            ControlReply::NotFound => {
                Failure::from(taskyard::Error::NotFound(*id)).print();
                exit = 4;
            }
        }
    }
    Ok(exit)
}
