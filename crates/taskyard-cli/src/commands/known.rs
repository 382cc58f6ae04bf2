//! Says whether anything that runs now could run a function that is added by its name.
//!
//! Servers tell the database what they refused, not all that they know (a Python server finds functions when it meets their
//! names). So of a name that no server has met yet, the task itself tells: a server parks what it does not know at once. Of a
//! task that runs later nothing tells but the functions of this program, or of the project's Python application: servers run the same.

use std::time::Duration;

use taskyard::{Runtime, Store, TaskId, TaskState, Taskyard, WaitReason};
use taskyard_server::kind_of_reason;

use crate::failure::Failure;
use crate::out::remark;
use crate::python;
use crate::session::Session;

/// How long an idle server is given to claim a new task.
const CLAIM_MAX: Duration = Duration::from_secs(1);
/// Between two looks at it.
const POLL: Duration = Duration::from_millis(25);

/// Says so if no server is alive, or if every one has refused this kind; answers whether it did.
///
/// # Errors
/// The database's.
async fn warn_of_kind(store: &dyn Store, runtime: Runtime, kind: &str) -> Result<bool, Failure> {
    let servers: Vec<_> = store.servers().await?.into_iter().filter(|server| server.is_running).collect();
    if servers.is_empty() {
        remark(format_args!(
            "warning: no server is running: `{kind}` is run once one that knows it starts (`taskyard queue start`)"
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

/// The same for a function that is called later, at a schedule's times.
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
            "warning: {whose} has no function `{kind}`, and no server has met that name yet: it waits for one that knows it (is its name right?)"
        ));
    }
    Ok(())
}

/// Whether this program, or the project's application, has the function; `None` if there is none of that language here, or the
/// application cannot be loaded.
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

/// The same for a task that was added just now.
///
/// # Errors
/// The database's.
pub(crate) async fn warn_of_task(session: &Session, queue: &Taskyard, id: TaskId) -> Result<(), Failure> {
    let store = queue.store().as_ref();
    let find = async || Ok::<_, Failure>(store.get(&[id]).await?.pop().flatten());
    let Some(mut task) = find().await? else { return Ok(()) };
    // Nothing claims it now.
    if task.state == TaskState::Waiting {
        return warn_of_later(session, queue, task.runtime, &task.kind).await;
    }
    if warn_of_kind(store, task.runtime, &task.kind).await? {
        return Ok(());
    }
    // A claim takes the task from `enqueued`; if it does not come in time, the servers are busy, and nothing is wrong.
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
                    remark(format_args!("warning: no server that is running can run this task: it waits for {reason}"));
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
        "warning: no server that is running knows `{kind}`: it waits until one that knows it starts (is its name right?)"
    ));
}
