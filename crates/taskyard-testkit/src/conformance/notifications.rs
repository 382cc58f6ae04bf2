//! Notifications: waiters are woken by the commit, not by polling.

use std::time::Duration;

use taskyard_core::WaitReason;
use taskyard_core::notifications::Listener;
use taskyard_core::state::Runtime;
use taskyard_core::store::Outcome;

use super::Harness;
use crate::factory::{child_of, delayed, task};

/// Generous: a notification that arrives at all arrives within milliseconds.
async fn assert_rings(listener: &mut Listener, why: &str) {
    assert!(tokio::time::timeout(Duration::from_secs(5), listener.notified()).await.is_ok(), "no bell: {why}");
    // Later notifications of the same commit, from this connection or as an echo, belong to it.
    listener.take();
}

pub(super) async fn work_rings_when_something_can_be_claimed(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let mut work = harness.store.notifications().work.listen();
    harness.add(task()).await;
    assert_rings(&mut work, "a task was added").await;
    let claimed = server.claim_one().await;
    let mut work = harness.store.notifications().work.listen();
    server.finish(&claimed, Outcome::Released).await;
    assert_rings(&mut work, "a task was released").await;
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Parked { reason: "kind `x`".into() }).await;
    let mut work = harness.store.notifications().work.listen();
    harness.store.unpark(Runtime::Rust, "kind `x`").await.unwrap();
    assert_rings(&mut work, "a task was unparked").await;
    let claimed = server.claim_one().await;
    server.fail(&claimed).await;
    let mut work = harness.store.notifications().work.listen();
    harness.retry(claimed.id).await;
    assert_rings(&mut work, "a task was retried").await;
}

pub(super) async fn work_rings_for_children_timers_and_queues(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let child = harness.add(child_of(&[claimed.id])).await;
    let mut work = harness.store.notifications().work.listen();
    server.done(&claimed).await;
    assert_rings(&mut work, "a child became runnable").await;
    harness.store.set_paused("default", true).await.unwrap();
    let mut work = harness.store.notifications().work.listen();
    harness.store.set_paused("default", false).await.unwrap();
    assert_rings(&mut work, "a queue was resumed").await;
    assert_eq!(server.claim_one().await.id, child);
    let timed = harness.add(delayed(Duration::from_secs(5))).await;
    harness.advance(Duration::from_secs(5)).await;
    harness.assert_waits(timed, WaitReason::Time).await;
    let mut work = harness.store.notifications().work.listen();
    harness.promote().await;
    assert_rings(&mut work, "a timer came due").await;
}

/// A server sleeps until the next due time it knows of; an earlier one must wake it.
pub(super) async fn work_rings_when_a_timer_came_nearer(harness: Harness) {
    let mut work = harness.store.notifications().work.listen();
    harness.add(delayed(Duration::from_secs(60))).await;
    assert_rings(&mut work, "a nearer due time was added").await;
}

pub(super) async fn finished_rings_for_waiters(harness: Harness) {
    let server = harness.server().await;
    let mut finished = harness.store.notifications().finished.listen();
    let claimed = harness.start(&server, task()).await;
    server.done(&claimed).await;
    assert_rings(&mut finished, "a task is done").await;
    let id = harness.add(task()).await;
    let mut finished = harness.store.notifications().finished.listen();
    harness.cancel(id).await;
    assert_rings(&mut finished, "a task was cancelled").await;
    let claimed = harness.start(&server, task()).await;
    let mut finished = harness.store.notifications().finished.listen();
    server.fail(&claimed).await;
    assert_rings(&mut finished, "a task failed").await;
}

pub(super) async fn signal_rings_for_servers(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let mut signal = harness.store.notifications().signal.listen();
    harness.stop(claimed.id).await;
    assert_rings(&mut signal, "a stop was asked for").await;
    let mut signal = harness.store.notifications().signal.listen();
    harness.cancel(claimed.id).await;
    assert_rings(&mut signal, "a cancel was asked for").await;
}
