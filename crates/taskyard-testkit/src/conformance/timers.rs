//! Start times and backoffs: nothing starts early, everything becomes due, and the next due time is known.

use std::time::Duration;

use taskyard_core::store::Outcome;
use taskyard_core::task::{NewTask, Start};
use taskyard_core::{TaskState, WaitReason};

use super::Harness;
use crate::factory::{delayed, failure, of_priority, task};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

pub(super) async fn a_delayed_task_waits_for_its_time(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let id = harness.add(delayed(10 * SECOND)).await;
    harness.assert_waits(id, WaitReason::Time).await;
    assert_eq!(harness.record(id).await.run_at, Some(now + 10 * SECOND));
    harness.advance(10 * SECOND - MICROSECOND).await;
    assert_eq!(harness.promote().await.enqueued, 0);
    assert!(server.claim(1).await.is_empty());
    harness.advance(MICROSECOND).await;
    assert_eq!(harness.promote().await.enqueued, 1);
    assert_eq!(server.claim_one().await.id, id);
}

pub(super) async fn an_instant_is_as_good_as_a_delay(harness: Harness) {
    let now = harness.freeze().await;
    let id = harness.add(NewTask { start: Start::At(now + 5 * SECOND), ..task() }).await;
    harness.assert_waits(id, WaitReason::Time).await;
    harness.advance(5 * SECOND).await;
    harness.promote().await;
    harness.assert_state(id, TaskState::Enqueued).await;
}

pub(super) async fn a_time_that_is_past_starts_at_once(harness: Harness) {
    let now = harness.freeze().await;
    for start in [
        Start::At(now - Duration::from_secs(3_600)),
        Start::At(now),
        Start::At(taskyard_core::Timestamp::UNIX_EPOCH),
        Start::After(Duration::ZERO),
    ] {
        let id = harness.add(NewTask { start, ..task() }).await;
        harness.assert_state(id, TaskState::Enqueued).await;
    }
}

pub(super) async fn the_next_due_time_is_told(harness: Harness) {
    harness.freeze().await;
    assert_eq!(harness.promote().await.next_due, None);
    harness.add_all(&[delayed(30 * SECOND), delayed(10 * SECOND), delayed(20 * SECOND)]).await;
    assert_eq!(harness.promote().await.next_due, Some(10 * SECOND));
    harness.advance(4 * SECOND).await;
    assert_eq!(harness.promote().await.next_due, Some(6 * SECOND));
    harness.advance(6 * SECOND).await;
    let report = harness.promote().await;
    assert_eq!((report.enqueued, report.next_due), (1, Some(10 * SECOND)));
    harness.advance(20 * SECOND).await;
    let report = harness.promote().await;
    assert_eq!((report.enqueued, report.next_due), (2, None));
}

pub(super) async fn a_backoff_is_a_due_time(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail_and_retry(&claimed, 2 * SECOND, failure("once")).await;
    assert_eq!(harness.promote().await.next_due, Some(2 * SECOND));
    harness.advance(2 * SECOND).await;
    assert_eq!(harness.promote().await.enqueued, 1);
    let again = server.claim_one().await;
    server.finish(&again, Outcome::Snooze { after: 3 * SECOND }).await;
    assert_eq!(harness.promote().await.next_due, Some(3 * SECOND));
}

pub(super) async fn thousands_become_due_in_bounded_steps(harness: Harness) {
    harness.freeze().await;
    let batch: Vec<NewTask> = (0..2_500).map(|_| delayed(SECOND)).collect();
    let ids = harness.add_many(&batch).await;
    harness.advance(SECOND).await;
    let first = harness.store.promote().await.unwrap();
    assert!(first.more && first.enqueued <= 1_000, "{first:?}");
    assert_eq!(first.enqueued + harness.promote().await.enqueued, 2_500);
    assert_eq!(harness.count(&ids, TaskState::Enqueued).await, 2_500);
}

pub(super) async fn a_promoted_task_goes_where_it_belongs(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let late = NewTask { priority: 5, ..delayed(SECOND) };
    let first = NewTask { queue: "other".into(), ..delayed(SECOND) };
    harness.add_all(&[first.clone(), late.clone(), of_priority(1)]).await;
    harness.advance(SECOND).await;
    harness.promote().await;
    let claimed = server.claim(10).await;
    assert_eq!(claimed[0].id, late.id);
    assert_eq!((claimed[2].id, claimed[2].queue.as_str()), (first.id, "other"));
}

pub(super) async fn concurrent_promoters_move_each_once(harness: Harness) {
    harness.freeze().await;
    let batch: Vec<NewTask> = (0..900).map(|_| delayed(SECOND)).collect();
    harness.add_all(&batch).await;
    harness.advance(SECOND).await;
    let mut promoters = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let harness = harness.clone();
        promoters.spawn(async move { harness.promote().await.enqueued });
    }
    let moved: usize = promoters.join_all().await.iter().sum();
    assert_eq!(moved + harness.promote().await.enqueued, 900);
}

pub(super) async fn times_far_in_the_future_are_accepted(harness: Harness) {
    harness.freeze().await;
    let year = Duration::from_secs(365 * 86_400);
    let id = harness.add(delayed(100 * year)).await;
    harness.assert_waits(id, WaitReason::Time).await;
    assert_eq!(harness.promote().await.next_due, Some(100 * year));
}
