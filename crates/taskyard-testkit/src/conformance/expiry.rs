//! Expiry: a task that has not started in time is cancelled, with an error that says so.

use std::time::Duration;

use taskyard_core::store::{Outcome, WriteReply};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::Harness;
use crate::factory::{child_of, expiring, failure, task};

const LIMIT: Duration = Duration::from_secs(60);

async fn assert_expired(harness: &Harness, id: TaskId) {
    let record = harness.record(id).await;
    assert_eq!((record.state, record.attempt, record.fallen_from), (TaskState::Cancelled, 0, None));
    let error = record.error.expect("it says why");
    let expected = ("Expired", "the task expired before it started");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), expected);
    assert!(record.finished_at.is_some());
}

pub(super) async fn an_enqueued_task_expires(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let id = harness.add(expiring(LIMIT)).await;
    assert_eq!(harness.record(id).await.expires_at, Some(now + LIMIT));
    harness.advance(LIMIT - Duration::from_micros(1)).await;
    assert_eq!(harness.promote().await.expired, 0);
    harness.advance(Duration::from_micros(1)).await;
    assert_eq!(harness.promote().await.expired, 1);
    assert_expired(&harness, id).await;
    assert!(server.claim(1).await.is_empty());
}

pub(super) async fn a_waiting_task_expires(harness: Harness) {
    harness.freeze().await;
    let parent = harness.add(task()).await;
    let child = harness.add(NewTask { parents: vec![parent], ..expiring(LIMIT) }).await;
    let delayed = NewTask { expires: Some(LIMIT), ..crate::factory::delayed(10 * LIMIT) };
    let delayed = harness.add(delayed).await;
    harness.advance(LIMIT).await;
    assert_eq!(harness.promote().await.expired, 2);
    assert_expired(&harness, child).await;
    assert_expired(&harness, delayed).await;
    harness.assert_state(parent, TaskState::Enqueued).await;
}

pub(super) async fn the_next_expiry_is_told(harness: Harness) {
    harness.freeze().await;
    let ids = harness.add_all(&[expiring(2 * LIMIT), expiring(LIMIT), crate::factory::delayed(3 * LIMIT)]).await;
    assert_eq!(harness.promote().await.next_due, Some(LIMIT));
    harness.advance(LIMIT).await;
    let report = harness.promote().await;
    assert_eq!((report.expired, report.next_due), (1, Some(LIMIT)));
    harness.cancel(ids[0]).await;
    assert_eq!(harness.promote().await.next_due, Some(2 * LIMIT));
}

pub(super) async fn its_children_are_cancelled_with_it(harness: Harness) {
    harness.freeze().await;
    let parent = harness.add(expiring(LIMIT)).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.advance(LIMIT).await;
    harness.promote().await;
    harness.cascade().await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Cancelled, Some(parent)));
}

pub(super) async fn a_running_task_does_not_expire(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, expiring(LIMIT)).await;
    harness.advance(2 * LIMIT).await;
    assert_eq!(harness.promote().await.expired, 0);
    server.done(&claimed).await;
}

/// Neither the timer nor a claim ends a task that has started in time once and is to run again.
pub(super) async fn one_that_has_started_is_retried_all_the_same(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let failed = harness.start(&server, expiring(LIMIT)).await;
    server.finish(&failed, Outcome::Retry { after: 2 * LIMIT, error: failure("once") }).await;
    let released = harness.start(&server, expiring(LIMIT)).await;
    harness.advance(LIMIT).await;
    server.beat().await;
    assert_eq!(harness.promote().await.expired, 0);
    harness.advance(LIMIT).await;
    server.beat().await;
    assert_eq!(harness.promote().await.enqueued, 1);
    let again = server.claim_one().await;
    assert_eq!((again.id, again.attempt, again.expired), (failed.id, 2, false));
    server.done(&again).await;
    // A task whose only attempt was released has not started.
    server.finish(&released, Outcome::Released).await;
    let late = server.claim_one().await;
    assert_eq!((late.id, late.attempt, late.expired), (released.id, 1, true));
}

/// Claimed after its time, before any promotion: the server ends it.
pub(super) async fn a_claimed_one_is_ended_uncounted(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let id = harness.add(expiring(LIMIT)).await;
    let child = harness.add(child_of(&[id])).await;
    harness.advance(LIMIT).await;
    server.beat().await;
    let claimed = server.claim_one().await;
    assert!(claimed.expired);
    let reply = server.finish(&claimed, Outcome::Expired).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Cancelled));
    assert_expired(&harness, id).await;
    assert!(harness.attempts(id).await.is_empty(), "it never ran");
    harness.assert_state(child, TaskState::Cancelled).await;
}

pub(super) async fn a_finished_one_does_not_expire(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, expiring(LIMIT)).await;
    server.done(&claimed).await;
    let cancelled = harness.add(expiring(LIMIT)).await;
    harness.cancel(cancelled).await;
    harness.advance(2 * LIMIT).await;
    assert_eq!(harness.promote().await.expired, 0);
    harness.assert_state(claimed.id, TaskState::Done).await;
}

pub(super) async fn thousands_expire_in_bounded_steps(harness: Harness) {
    harness.freeze().await;
    let batch: Vec<NewTask> = (0..2_200).map(|_| expiring(LIMIT)).collect();
    let ids = harness.add_many(&batch).await;
    harness.advance(LIMIT).await;
    let first = harness.store.promote().await.unwrap();
    assert!(first.more && first.expired <= 1_000, "{first:?}");
    assert_eq!(first.expired + harness.promote().await.expired, 2_200);
    assert_eq!(harness.count(&ids, TaskState::Cancelled).await, 2_200);
}
