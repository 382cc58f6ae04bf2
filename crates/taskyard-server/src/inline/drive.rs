//! One body from its beginning to its end, in the task that calls.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::attempt::{Attempt, End};
use crate::{AsyncBody, BlockingBody, Body, TaskContext, TaskDef, panics, task_context};

/// Runs a body under a time limit. An async one is dropped when it is asked to end.
pub(super) async fn drive(attempt: &Arc<Attempt>, def: &'static TaskDef, limit: Option<Duration>) -> End {
    let made = guard(attempt, || (def.run)(TaskContext(attempt.clone())));
    match made {
        Err(failure) => End::Panicked(failure),
        Ok(Body::Blocking(body)) => on_thread(attempt, body).await,
        Ok(Body::Async(body)) => poll_out(attempt, body, limit).await,
    }
}

fn guard<T>(attempt: &Arc<Attempt>, f: impl FnOnce() -> T) -> Result<T, taskyard_core::Failure> {
    let _entered = task_context::enter(&TaskContext(attempt.clone()));
    panics::catch(f)
}

async fn poll_out(attempt: &Arc<Attempt>, mut body: AsyncBody, limit: Option<Duration>) -> End {
    let time_limit = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let polled = poll_fn(|cx| match guard(attempt, || body.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
        Err(failure) => Poll::Ready(End::Panicked(failure)),
    });
    tokio::select! {
        biased;
        why = attempt.until_interrupted() => End::Interrupted(why),
        end = polled => end,
        () = time_limit => End::TimedOut,
    }
}

async fn on_thread(attempt: &Arc<Attempt>, body: BlockingBody) -> End {
    let (send, receive) = tokio::sync::oneshot::channel();
    let (inner, handle) = (attempt.clone(), tokio::runtime::Handle::try_current().ok());
    let thread = std::thread::Builder::new().name("taskyard-inline".into()).spawn(move || {
        let _runtime = handle.as_ref().map(tokio::runtime::Handle::enter);
        let ended = guard(&inner, body).map_or_else(End::Panicked, End::Returned);
        drop(inner);
        let _ = send.send(ended);
    });
    match thread {
        Ok(_) => receive.await.unwrap_or_else(|_| End::Returned(Err("the task's thread ended without a word".into()))),
        Err(error) => End::Returned(Err(error.into())),
    }
}
