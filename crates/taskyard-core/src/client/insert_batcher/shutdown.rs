//! The end of a writer: the rest is written within [`CLOSING`], and tasks that could not be written are logged.
//!
//! There are two cases. If the last handle is dropped while the runtime runs, the writer continues for that time. If
//! the runtime ends, it drops the writer; the rest is then written on a thread with a runtime of its own, and the end
//! of the runtime waits for it. A process that calls `exit`, or is killed, writes nothing more.

use std::fmt;

use tracing::Level;

use super::{Arc, CLOSING, ControlSender, Error, NewTask, Push, Shared, Store, TaskId, Ticket, Work, Writer};

/// Runs the writer. The guard exists from the call on, because a runtime may end before it has polled the future once.
pub(super) fn guarded(writer: Writer) -> impl Future<Output = ()> + Send {
    let shared = Arc::clone(&writer.shared);
    let mut guard = Guard(Some(writer));
    async move {
        let Some(writer) = &mut guard.0 else { return };
        tokio::select! {
            () = writer.run() => {}
            () = async { shared.left.notified().await; tokio::time::sleep(CLOSING).await } => {}
        }
        if let Some(writer) = guard.0.take() {
            lose_rest(writer);
        }
    }
}

/// Holds the writer. Only the end of the runtime drops it with the writer inside.
struct Guard(Option<Writer>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut writer) = self.0.take() else { return };
        let waits = {
            let mut waiting = writer.shared.lock();
            (waiting.closed, waiting.runtime_ended) = (true, true);
            !waiting.pushes.is_empty()
        };
        writer.shared.tell_room();
        let begun = writer.writing.is_some() || writer.calling.is_some();
        if !waits && !begun && writer.taken.is_empty() && writer.deferred.is_empty() {
            return;
        }
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            let rest = || tracing::dispatcher::with_default(&dispatch, || write_rest(&mut writer));
            // If no thread can be started, or if it panics, the rest is logged below.
            if let Ok(thread) = std::thread::Builder::new().name("taskyard-leaving".into()).spawn_scoped(scope, rest) {
                let _ = thread.join();
            }
        });
        lose_rest(writer);
    }
}

fn write_rest(writer: &mut Writer) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let own: Option<Arc<dyn Store>> = writer.store.detached();
        if let Some(store) = &own {
            writer.store = Arc::clone(store);
        }
        let rest = async {
            writer.run().await;
            if let Some(store) = own {
                store.close().await;
            }
        };
        let _ = tokio::time::timeout(CLOSING, rest).await;
    });
}

/// Gives up what is left.
fn lose_rest(mut writer: Writer) {
    writer.lose_aside();
    let Writer { shared, taken, writing, calling, .. } = writer;
    let (pushes, error, closed) = {
        let mut waiting = shared.lock();
        waiting.closed = true;
        let cause = waiting.away.clone().unwrap_or_else(|| format!("it was not written within {CLOSING:?}"));
        let error = Error::QueueUnavailable { waiting: waiting.tasks, bytes: waiting.bytes, cause };
        (std::mem::take(&mut waiting.pushes), error, waiting.shut_down())
    };
    let refuse = |reply: ControlSender| drop(reply.send(Err(closed.clone())));
    calling.into_iter().flat_map(|(_, calls)| calls).for_each(|(_, reply)| refuse(reply));
    if let Some(mut batch) = writing {
        for (tasks, ticket) in batch.parts().0.filter(|(_, ticket)| ticket.peek().is_none()) {
            name(tasks, "may be lost: whether it was written is not known at the end", &error);
            shared.settle(ticket, Err(error.clone()));
        }
    }
    for work in taken {
        match work {
            Work::Add(mut batch) => batch.parts().0.for_each(|(tasks, ticket)| lose(&shared, tasks, ticket, &error)),
            Work::Control { calls, .. } => calls.into_iter().for_each(|(_, reply)| refuse(reply)),
            Work::Flush(_) => {}
        }
    }
    for push in pushes {
        match push {
            Push::Add { tasks, ticket, .. } => lose(&shared, &tasks, &ticket, &error),
            Push::Control { reply, .. } => refuse(reply),
            Push::Flush(_) => {}
        }
    }
}

/// Gives up a group that was never tried.
pub(super) fn lose(shared: &Shared, tasks: &[NewTask], ticket: &Ticket, error: &Error) {
    name(tasks, "was not written before the end, and is lost", error);
    shared.settle(ticket, Err(error.clone()));
}

/// Logs each of these tasks with its outcome and the error.
pub(super) fn name(tasks: &[NewTask], what: &str, error: &Error) {
    for task in tasks {
        say(task.id, &task.kind, format_args!("{what}: {error}"));
    }
}

/// Logs an error that must be visible even if the program has no subscriber for `tracing`: it is then written to
/// stderr.
pub(super) fn say(id: TaskId, kind: &str, what: fmt::Arguments<'_>) {
    tracing::error!(task = %id, kind, "a task {what}");
    if !tracing::enabled!(Level::ERROR) {
        let gap = if kind.is_empty() { "" } else { " " };
        eprintln!("taskyard: task {id}{gap}{kind} {what}");
    }
}
