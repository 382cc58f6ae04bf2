//! Notifications: waiters are woken by the commit, not by polling.

use std::time::Duration;

use taskyard_core::WaitReason;
use taskyard_core::state::Runtime;
use taskyard_core::store::Outcome;
use taskyard_core::wake::Listener;

use super::Yard;
use crate::factory::{child_of, delayed, task};

/// Generous: a notification that arrives at all arrives within milliseconds.
async fn assert_rings(listener: &mut Listener, why: &str) {
    assert!(tokio::time::timeout(Duration::from_secs(5), listener.heard()).await.is_ok(), "no bell: {why}");
    // Later notifications of the same commit, from this connection or as an echo, belong to it.
    listener.take();
}

pub(super) async fn work_rings_when_something_can_be_claimed(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let mut work = yard.store.bells().work.listen();
    yard.add(task()).await;
    assert_rings(&mut work, "a task was added").await;
    let claimed = server.claim_one().await;
    let mut work = yard.store.bells().work.listen();
    server.finish(&claimed, Outcome::Released).await;
    assert_rings(&mut work, "a task was released").await;
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Parked { reason: "kind `x`".into() }).await;
    let mut work = yard.store.bells().work.listen();
    yard.store.unpark(Runtime::Rust, "kind `x`").await.unwrap();
    assert_rings(&mut work, "a task was unparked").await;
    let claimed = server.claim_one().await;
    server.fail(&claimed).await;
    let mut work = yard.store.bells().work.listen();
    yard.retry(claimed.id).await;
    assert_rings(&mut work, "a task was retried").await;
}

pub(super) async fn work_rings_for_children_timers_and_queues(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    let child = yard.add(child_of(&[claimed.id])).await;
    let mut work = yard.store.bells().work.listen();
    server.done(&claimed).await;
    assert_rings(&mut work, "a child became runnable").await;
    yard.store.set_paused("default", true).await.unwrap();
    let mut work = yard.store.bells().work.listen();
    yard.store.set_paused("default", false).await.unwrap();
    assert_rings(&mut work, "a queue was resumed").await;
    assert_eq!(server.claim_one().await.id, child);
    let timed = yard.add(delayed(Duration::from_secs(5))).await;
    yard.advance(Duration::from_secs(5)).await;
    yard.assert_waits(timed, WaitReason::Time).await;
    let mut work = yard.store.bells().work.listen();
    yard.promote().await;
    assert_rings(&mut work, "a timer came due").await;
}

/// A server sleeps until the next due time it knows of; an earlier one must wake it.
pub(super) async fn work_rings_when_a_timer_came_nearer(yard: Yard) {
    let mut work = yard.store.bells().work.listen();
    yard.add(delayed(Duration::from_secs(60))).await;
    assert_rings(&mut work, "a nearer due time was added").await;
}

pub(super) async fn finished_rings_for_waiters(yard: Yard) {
    let server = yard.server().await;
    let mut finished = yard.store.bells().finished.listen();
    let claimed = yard.start(&server, task()).await;
    server.done(&claimed).await;
    assert_rings(&mut finished, "a task is done").await;
    let id = yard.add(task()).await;
    let mut finished = yard.store.bells().finished.listen();
    yard.cancel(id).await;
    assert_rings(&mut finished, "a task was cancelled").await;
    let claimed = yard.start(&server, task()).await;
    let mut finished = yard.store.bells().finished.listen();
    server.fail(&claimed).await;
    assert_rings(&mut finished, "a task failed").await;
}

pub(super) async fn signal_rings_for_servers(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    let mut signal = yard.store.bells().signal.listen();
    yard.stop(claimed.id).await;
    assert_rings(&mut signal, "a stop was asked for").await;
    let mut signal = yard.store.bells().signal.listen();
    yard.cancel(claimed.id).await;
    assert_rings(&mut signal, "a cancel was asked for").await;
}
