//! Parking: a task that no server knows waits with its reason until a server does.

use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Claimed, Outcome, ParkedReason, WriteReply};
use taskyard_core::{TaskState, WaitReason};

use super::{Harness, TestServer};
use crate::factory::{expiring, python, task, tasks};

async fn park(server: &TestServer, claimed: &Claimed, reason: &str) {
    let reply = server.finish(claimed, Outcome::Parked { reason: reason.into() }).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Waiting));
}

async fn unpark(harness: &Harness, reason: &str) -> usize {
    let mut sum = 0;
    for _ in 0..100 {
        let report = harness.store.unpark(Runtime::Rust, reason).await.unwrap();
        sum += report.tasks;
        if !report.more {
            return sum;
        }
    }
    panic!("unpark says `more` for ever");
}

pub(super) async fn a_parked_task_waits_with_its_reason(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    park(&server, &claimed, "kind `app::send`").await;
    harness.assert_waits(claimed.id, WaitReason::Parked).await;
    let record = harness.record(claimed.id).await;
    assert!(record.waiting_for.expect("it says what it waits for").contains("kind `app::send`"));
    assert_eq!((record.attempt, record.failures, record.started_at), (0, 0, None));
    assert!(server.claim(10).await.is_empty());
    harness.promote().await;
    harness.assert_waits(claimed.id, WaitReason::Parked).await;
}

pub(super) async fn reasons_are_counted(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(5)).await;
    for (at, claimed) in server.claim(5).await.iter().enumerate() {
        park(&server, claimed, if at < 3 { "kind `a`" } else { "kind `b`" }).await;
    }
    harness.add(python()).await;
    let snake = server.claim_python(1).await.remove(0);
    park(&server, &snake, "kind `a`").await;
    let mut reasons = harness.store.parked(Runtime::Rust).await.unwrap();
    reasons.sort_by(|left, right| left.reason.cmp(&right.reason));
    let expected =
        [("kind `a`", 3), ("kind `b`", 2)].map(|(reason, count)| ParkedReason { reason: reason.into(), count });
    assert_eq!(reasons, expected);
    let reasons = harness.store.parked(Runtime::Python).await.unwrap();
    assert_eq!(reasons, [ParkedReason { reason: "kind `a`".into(), count: 1 }]);
    assert_eq!(harness.store.status().await.unwrap().parked, 6);
}

pub(super) async fn unparking_frees_one_reason_of_one_runtime(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(2)).await;
    harness.add(python()).await;
    let rust = server.claim(2).await;
    let snake = server.claim_python(1).await.remove(0);
    park(&server, &rust[0], "kind `a`").await;
    park(&server, &rust[1], "kind `b`").await;
    park(&server, &snake, "kind `a`").await;
    assert_eq!(unpark(&harness, "kind `a`").await, 1);
    assert_eq!(unpark(&harness, "kind `a`").await, 0);
    assert_eq!(unpark(&harness, "kind `none`").await, 0);
    harness.assert_state(rust[0].id, TaskState::Enqueued).await;
    harness.assert_waits(rust[1].id, WaitReason::Parked).await;
    harness.assert_waits(snake.id, WaitReason::Parked).await;
    let again = server.claim_one().await;
    assert_eq!((again.id, again.attempt), (rust[0].id, 1));
}

pub(super) async fn thousands_are_unparked_in_bounded_steps(harness: Harness) {
    let server = harness.server().await;
    let added = harness.add_many(&tasks(2_300)).await;
    for _ in 0..3 {
        let batch: Vec<_> = server
            .claim(1_000)
            .await
            .iter()
            .map(|claimed| taskyard_core::store::Finish {
                id: claimed.id,
                token: claimed.token,
                outcome: Outcome::Parked { reason: "kind `a`".into() },
                context: None,
                logs: Vec::new(),
            })
            .collect();
        harness.store.finish(&batch, &[]).await.unwrap();
    }
    assert_eq!(harness.store.parked(Runtime::Rust).await.unwrap()[0].count, 2_300);
    let first = harness.store.unpark(Runtime::Rust, "kind `a`").await.unwrap();
    assert!(first.more && first.tasks <= 1_000, "{first:?}");
    assert_eq!(first.tasks + unpark(&harness, "kind `a`").await, 2_300);
    assert_eq!(harness.count(&added, TaskState::Enqueued).await, 2_300);
}

pub(super) async fn a_parked_task_can_be_cancelled(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    park(&server, &claimed, "kind `a`").await;
    harness.cancel(claimed.id).await;
    harness.assert_state(claimed.id, TaskState::Cancelled).await;
    assert_eq!(unpark(&harness, "kind `a`").await, 0);
    assert!(harness.store.parked(Runtime::Rust).await.unwrap().is_empty());
}

pub(super) async fn a_parked_task_may_expire(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, expiring(Duration::from_secs(60))).await;
    park(&server, &claimed, "kind `a`").await;
    harness.advance(Duration::from_secs(61)).await;
    assert_eq!(harness.promote().await.expired, 1);
    harness.assert_state(claimed.id, TaskState::Cancelled).await;
}

/// The reason is arbitrary text: it must not break out of anything.
pub(super) async fn any_text_is_a_reason(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let reason = "it's a \"kind\"; drop table task; -- % _ \\ ünïcode";
    park(&server, &claimed, reason).await;
    assert_eq!(harness.store.parked(Runtime::Rust).await.unwrap()[0].reason, reason);
    assert_eq!(unpark(&harness, reason).await, 1);
}
