//! Drives one body from start to end within the calling async task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::attempt::{Attempt, End};
use crate::layer::settled_on_thread;
use crate::{BodyResult, LocalBody, Registry, Run, TaskContext};

/// Returns after `limit`; never without a limit.
pub(super) async fn passed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::task::unconstrained(tokio::time::sleep(limit)).await,
        None => std::future::pending().await,
    }
}

/// Runs a body under a time limit. An async body is dropped when it is interrupted.
pub(super) async fn drive(registry: &Arc<Registry>, attempt: &Arc<Attempt>, run: Run, limit: Option<Duration>) -> End {
    match run {
        Run::Async(make) => match attempt.run(|| registry.layers().async_body(make, TaskContext(attempt.clone()))) {
            Ok(body) => poll_out(attempt, body, limit).await,
            Err(failure) => End::Panicked(failure),
        },
        Run::Local(make) => {
            let (registry, inner) = (registry.clone(), attempt.clone());
            on_thread("taskyard-local", move || drive_local(&registry, &inner, make, limit)).await
        }
        Run::Blocking(call) => {
            let (registry, inner) = (registry.clone(), attempt.clone());
            let handle = tokio::runtime::Handle::try_current().ok();
            on_thread("taskyard-inline", move || {
                let _runtime = handle.as_ref().map(tokio::runtime::Handle::enter);
                let ended = inner.run(|| registry.layers().blocking_body(call, TaskContext(inner.clone())));
                settled_on_thread(&inner, ended.map_or_else(End::Panicked, End::Returned))
            })
            .await
        }
    }
}

/// Runs a body that cannot move between threads, on a runtime of its own on this thread.
fn drive_local(
    registry: &Registry,
    attempt: &Arc<Attempt>,
    make: fn(TaskContext) -> LocalBody,
    limit: Option<Duration>,
) -> End {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return End::Returned(Err(error.into())),
    };
    let local = tokio::task::LocalSet::new();
    let end = local.block_on(&runtime, async {
        match attempt.run(|| registry.layers().local_body(make, TaskContext(attempt.clone()))) {
            Ok(body) => poll_out(attempt, body, limit).await,
            Err(failure) => End::Panicked(failure),
        }
    });
    drop(local);
    runtime.shutdown_background();
    end
}

async fn poll_out<B>(attempt: &Arc<Attempt>, mut body: B, limit: Option<Duration>) -> End
where
    B: Future<Output = BodyResult> + Unpin,
{
    let polled = poll_fn(|cx| match attempt.run(|| Pin::new(&mut body).poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(End::Returned(result)),
        Err(failure) => Poll::Ready(End::Panicked(failure)),
    });
    tokio::select! {
        biased;
        why = attempt.until_interrupted() => End::Interrupted(why),
        end = async {
            match attempt.after_body(polled.await) {
                Ok(end) => end,
                Err(settling) => End::Returned(settling.await),
            }
        } => end,
        () = passed(limit) => End::TimedOut,
    }
}

async fn on_thread(name: &str, run: impl FnOnce() -> End + Send + 'static) -> End {
    let (send, receive) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ = send.send(run());
    });
    match thread {
        Ok(_) => {
            receive.await.unwrap_or_else(|_| End::Returned(Err("the task's thread ended without an outcome".into())))
        }
        Err(error) => End::Returned(Err(error.into())),
    }
}
