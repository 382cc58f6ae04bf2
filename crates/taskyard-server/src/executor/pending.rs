//! A body that did not end at its first poll: a task of its lane's runtime, under its time limit, dropped when it is
//! asked to end.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::lane::{Lane, poll_guarded};
use super::running::{Place, Running};
use crate::AsyncBody;
use crate::attempt::{Attempt, End, judge};

/// Carries on with a body on this lane.
pub(super) fn adopt(lane: &Rc<Lane>, attempt: Arc<Attempt>, body: AsyncBody) {
    let running = Running::new(attempt, Instant::now(), Place::Lane(lane.face.number));
    lane.pool.table.insert(running.clone());
    tokio::task::spawn_local(carry_on(lane.clone(), running, body));
}

async fn carry_on(lane: Rc<Lane>, running: Arc<Running>, body: AsyncBody) {
    let attempt = &running.attempt;
    let mut body = Some(body);
    let end = {
        let time_limit = async {
            match running.deadline() {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let polled = poll_fn(|cx| match &mut body {
            Some(body) => poll_guarded(&lane, attempt, body, cx),
            None => std::task::Poll::Pending,
        });
        tokio::select! {
            biased;
            why = attempt.until_interrupted() => End::Interrupted(why),
            end = polled => end,
            () = time_limit => End::TimedOut,
        }
    };
    // A body's destructors are its own code: watched, and a panic in them is nobody else's.
    let gone = lane.guard(attempt, || drop(body.take()));
    if let Err(failure) = gone {
        tracing::warn!(task = %attempt.id(), message = failure.message, "a task panicked while it was dropped");
    }
    let took = running.started.elapsed();
    let concurrency = u32::try_from(lane.pool.config().concurrency.max(1)).unwrap_or(u32::MAX);
    lane.pool.pace.note(took / concurrency, 1);
    // Out of the table before the end is written: the same task may be claimed again right after.
    lane.pool.table.remove(&running);
    attempt.end(judge(attempt, end));
    lane.task_ended();
    lane.freed();
    lane.pool.changed.notify_one();
}
