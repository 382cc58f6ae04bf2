//! Warns if no running server can run a function that was added by name.
//!
//! The database stores the kinds that servers have refused, not all kinds that they have (a Python server looks functions up when
//! it first claims them). For a kind that no server has claimed yet, a task that is due shows it: a server parks a task of an
//! unknown kind at once. For a task that runs later, only the functions of this program or of the project's Python application
//! can be checked, on the assumption that servers run the same.

use std::time::Duration;

use taskyard::{Runtime, Store, TaskId, TaskState, Taskyard, WaitReason};
use taskyard_server::kind_of_reason;
use taskyard_terminal::{Failure, remark};

use crate::python;
use crate::session::Session;

/// Longest time to wait for an idle server to claim a new task.
const CLAIM_MAX: Duration = Duration::from_secs(1);
/// Time between two reads of the task.
const POLL: Duration = Duration::from_millis(25);

/// Warns if no server is alive or if every live server has refused this kind; returns whether it warned.
///
/// # Errors
/// [`taskyard::Error`] if the database cannot be read.
async fn warn_of_kind(store: &dyn Store, runtime: Runtime, kind: &str) -> Result<bool, Failure> {
    let servers: Vec<_> = store.servers().await?.into_iter().filter(|server| server.is_running).collect();
    if servers.is_empty() {
        remark(format_args!(
            "warning: no server is running; `{kind}` runs once a server that has it starts (`taskyard queue start`)"
        ));
        return Ok(true);
    }
    for server in &servers {
        if !store.has_refused(server.id, runtime, kind).await? {
            return Ok(false);
        }
    }
    unknown(kind);
    Ok(true)
}

/// Warns as [`warn_of_kind`] does for a function that is called later, at a schedule's times; also if this program, or the
/// project's application, does not have the function.
///
/// # Errors
/// [`taskyard::Error`] if the database cannot be read.
pub(crate) async fn warn_of_later(
    session: &Session,
    queue: &Taskyard,
    runtime: Runtime,
    kind: &str,
) -> Result<(), Failure> {
    if !warn_of_kind(queue.store().as_ref(), runtime, kind).await?
        && is_ours(session, queue, runtime, kind).await == Some(false)
    {
        let whose = if runtime == Runtime::Python { "the project's application" } else { "this program" };
        remark(format_args!(
            "warning: {whose} has no function `{kind}`, and no server has run it yet; it waits for a server that has it (check the name)"
        ));
    }
    Ok(())
}

/// Returns whether this program, or the project's application, has the function; `None` if this program runs no functions of that
/// language or the application cannot be loaded.
async fn is_ours(session: &Session, queue: &Taskyard, runtime: Runtime, kind: &str) -> Option<bool> {
    match (runtime, session.python()) {
        (Runtime::Rust, None) => {
            let registry = queue.registry();
            (!registry.kinds().is_empty()).then(|| registry.get(kind).is_some())
        }
        (Runtime::Python, Some(python)) => {
            let name = match &session.settings().namespace {
                Some(namespace) => namespace.name_of(kind)?,
                None => kind,
            };
            let application = python::application(None, session).ok()?;
            if application.is_none() && session.settings().include.is_empty() {
                return None;
            }
            python.knows(&python.worker(application.as_deref(), session), name).await
        }
        _ => None,
    }
}

/// Warns if no running server can run a task that was just added. Waits up to a second for a server to claim it.
///
/// # Errors
/// [`taskyard::Error`] if the database cannot be read.
pub(crate) async fn warn_of_task(session: &Session, queue: &Taskyard, id: TaskId) -> Result<(), Failure> {
    let store = queue.store().as_ref();
    let find = async || Ok::<_, Failure>(store.get(&[id]).await?.pop().flatten());
    let Some(mut task) = find().await? else { return Ok(()) };
    // A waiting task is not claimed now, so servers cannot be observed.
    if task.state == TaskState::Waiting {
        return warn_of_later(session, queue, task.runtime, &task.kind).await;
    }
    if warn_of_kind(store, task.runtime, &task.kind).await? {
        return Ok(());
    }
    // If no server claims the task in time, the servers are busy, which is not a reason for a warning.
    let claimed = tokio::time::timeout(CLAIM_MAX, async {
        while task.state == TaskState::Enqueued {
            tokio::time::sleep(POLL).await;
            match find().await? {
                Some(now) => task = now,
                None => return Ok(()),
            }
        }
        if task.wait_reason == Some(WaitReason::Parked) {
            match task.waiting_for.as_deref() {
                Some(reason) if kind_of_reason(reason).is_none() => {
                    remark(format_args!("warning: no running server can run this task; it waits for {reason}"));
                }
                _ => unknown(&task.kind),
            }
        }
        Ok(())
    });
    claimed.await.unwrap_or(Ok(()))
}

fn unknown(kind: &str) {
    remark(format_args!(
        "warning: no running server has `{kind}`; the task waits until a server that has it starts (check the name)"
    ));
}
