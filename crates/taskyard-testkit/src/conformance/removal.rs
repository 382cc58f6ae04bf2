//! Deletion: auto_remove, retention, purge, and the tasks that are never deleted.

use std::time::Duration;

use taskyard_core::store::{AUTO_REMOVE_AFTER, Finish, Outcome, Record, Retention};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::Harness;
use crate::factory::{child_of, failure, line, task, tasks};

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn passing() -> NewTask {
    NewTask { auto_remove: true, ..task() }
}

/// Prunes until a whole round has deleted nothing.
async fn prune(harness: &Harness) -> usize {
    let (mut sum, mut idle) = (0, 0);
    for _ in 0..1_000 {
        let report = harness.store.prune(&Retention::default()).await.unwrap();
        assert!(report.tasks <= taskyard_core::store::STEP_ROWS_MAX, "{report:?}");
        sum += report.tasks;
        idle = if report.tasks == 0 && !report.more { idle + 1 } else { 0 };
        if idle == 3 {
            return sum;
        }
    }
    panic!("prune never ends");
}

pub(super) async fn auto_remove_keeps_it_for_a_minute(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, passing()).await;
    server.finish(&claimed, Outcome::Done { result: b"7".to_vec() }).await;
    harness.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(harness.promote().await.removed, 0);
    let finals = harness.store.finals(&[claimed.id]).await.unwrap();
    assert_eq!(finals[0].result.as_deref(), Some(&b"7"[..]), "a late waiter still gets the result");
    let other = harness.add(task()).await;
    assert_eq!(harness.store.present(&[TaskId::generate(), claimed.id, other]).await.unwrap(), [false, true, true]);
    harness.advance(SECOND).await;
    assert_eq!(harness.promote().await.removed, 1);
    assert!(!harness.exists(claimed.id).await);
    assert_eq!(harness.store.present(&[other, claimed.id]).await.unwrap(), [true, false]);
}

pub(super) async fn auto_remove_waits_for_the_children(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.start(&server, passing()).await;
    let child = harness.add(child_of(&[parent.id])).await;
    server.finish(&parent, Outcome::Done { result: b"7".to_vec() }).await;
    harness.advance(3 * AUTO_REMOVE_AFTER).await;
    assert_eq!(harness.promote().await.removed, 0);
    assert_eq!(harness.store.parent_results(child).await.unwrap()[0].result.as_deref(), Some(&b"7"[..]));
    // More than the lease has passed, so another server runs the child.
    let server = harness.server().await;
    server.done(&server.claim_one().await).await;
    harness.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(harness.promote().await.removed, 1);
    assert!(!harness.exists(parent.id).await);
    harness.assert_state(child, TaskState::Done).await;
}

pub(super) async fn a_retry_takes_the_removal_back(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, passing()).await;
    server.fail(&claimed).await;
    harness.retry(claimed.id).await;
    harness.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(harness.promote().await.removed, 0, "it is to run again");
    let server = harness.server().await;
    server.done(&server.claim_one().await).await;
    harness.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(harness.promote().await.removed, 0, "the minute begins with its end");
    harness.advance(SECOND).await;
    assert_eq!(harness.promote().await.removed, 1);
}

pub(super) async fn an_unfinished_one_is_never_removed(harness: Harness) {
    harness.freeze().await;
    harness.add_all(&[passing(), passing()]).await;
    let server = harness.server().await;
    server.claim_one().await;
    harness.advance(10 * DAY).await;
    assert_eq!(harness.promote().await.removed, 0);
    assert_eq!(harness.store.status().await.unwrap().by_state[1..3], [1, 1]);
}

pub(super) async fn retention_differs_by_state(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let done = harness.ended(&server, TaskState::Done).await;
    let failed = harness.ended(&server, TaskState::Failed).await;
    let cancelled = harness.ended(&server, TaskState::Cancelled).await;
    let stopped = harness.ended(&server, TaskState::Stopped).await;
    harness.advance(7 * DAY - SECOND).await;
    assert_eq!(prune(&harness).await, 0);
    harness.advance(2 * SECOND).await;
    assert_eq!(prune(&harness).await, 1);
    assert!(!harness.exists(done).await);
    harness.advance(23 * DAY - 3 * SECOND).await;
    assert_eq!(prune(&harness).await, 0);
    harness.advance(3 * SECOND).await;
    assert_eq!(prune(&harness).await, 3);
    for id in [failed, cancelled, stopped] {
        assert!(!harness.exists(id).await);
    }
}

pub(super) async fn retention_spares_what_is_unfinished(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.ended(&server, TaskState::Done).await;
    let running = harness.start(&server, task()).await.id;
    let waiting = harness.add(child_of(&[running])).await;
    let enqueued = harness.add(child_of(&[parent])).await;
    harness.advance(365 * DAY).await;
    assert_eq!(prune(&harness).await, 0, "the parent's child is unfinished");
    for id in [parent, running, waiting, enqueued] {
        assert!(harness.exists(id).await);
    }
}

pub(super) async fn retention_goes_in_bounded_steps(harness: Harness) {
    harness.freeze().await;
    let ids = harness.add_many(&tasks(2_500)).await;
    harness.store.cancel(&ids).await.unwrap();
    harness.advance(31 * DAY).await;
    assert_eq!(prune(&harness).await, 2_500);
    assert_eq!(harness.store.status().await.unwrap().by_state, [0; 7]);
}

/// Tasks before the position where pruning stopped must be found by a later round.
pub(super) async fn retention_comes_back_for_what_it_passed(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.ended(&server, TaskState::Done).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.advance(31 * DAY).await;
    assert_eq!(prune(&harness).await, 0);
    harness.cancel(child).await;
    harness.advance(31 * DAY).await;
    assert_eq!(prune(&harness).await, 2);
}

pub(super) async fn purge_takes_final_tasks_only(harness: Harness) {
    let server = harness.server().await;
    let mut gone = Vec::new();
    for state in [TaskState::Done, TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        gone.push(harness.ended(&server, state).await);
    }
    let running = harness.start(&server, task()).await.id;
    let kept = [running, harness.add(child_of(&[running])).await, harness.add(task()).await];
    let asked = [&gone[..], &kept[..], &[TaskId::generate()]].concat();
    assert_eq!(harness.store.purge(&asked).await.unwrap(), 4);
    for id in gone {
        assert!(!harness.exists(id).await);
    }
    for id in kept {
        assert!(harness.exists(id).await);
    }
    assert_eq!(harness.store.purge(&[]).await.unwrap(), 0);
}

pub(super) async fn purge_spares_a_parent_of_the_unfinished(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.ended(&server, TaskState::Done).await;
    let child = harness.add(child_of(&[parent])).await;
    assert_eq!(harness.store.purge(&[parent]).await.unwrap(), 0);
    harness.cancel(child).await;
    assert_eq!(harness.store.purge(&[parent]).await.unwrap(), 1);
    harness.assert_state(child, TaskState::Cancelled).await;
}

pub(super) async fn purge_leaves_nothing_of_a_task(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, NewTask { tags: vec!["x".into()], ..task() }).await;
    let record =
        Record { id: claimed.id, token: claimed.token, context: Some(b"{\"a\":1}".to_vec()), logs: vec![line("one")] };
    server.record(record).await;
    server.fail_and_retry(&claimed, Duration::ZERO, failure("once")).await;
    let again = server.claim_one().await;
    let finish = Finish {
        id: again.id,
        token: again.token,
        outcome: Outcome::Failed(failure("twice")),
        context: None,
        logs: vec![line("two")],
    };
    harness.store.finish(&[finish], &[]).await.unwrap();
    assert_eq!(harness.store.purge(&[claimed.id]).await.unwrap(), 1);
    assert_eq!(harness.store.context(claimed.id).await.unwrap(), None);
    assert!(harness.store.logs(claimed.id, 0, 10).await.unwrap().is_empty());
    assert!(harness.attempts(claimed.id).await.is_empty());
    // The id is free again: nothing of the old task may show.
    let id = harness.add(NewTask { id: claimed.id, ..task() }).await;
    assert!(harness.attempts(id).await.is_empty());
    assert_eq!(harness.store.context(id).await.unwrap(), Some(b"{}".to_vec()));
}

async fn prune_surplus(harness: &Harness, done_count: u64, failed_count: u64) -> usize {
    let retention = Retention { done_count, failed_count, ..Retention::default() };
    let mut sum = 0;
    for _ in 0..100 {
        let report = harness.store.prune_surplus(&retention).await.unwrap();
        assert!(report.tasks <= taskyard_core::store::STEP_ROWS_MAX, "{report:?}");
        sum += report.tasks;
        if !report.more {
            return sum;
        }
    }
    panic!("it never ends");
}

pub(super) async fn retention_by_number_takes_the_oldest(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let (mut failed, mut done) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        failed.push(harness.ended(&server, TaskState::Failed).await);
        done.push(harness.ended(&server, TaskState::Done).await);
        harness.advance(SECOND).await;
    }
    // Added first, died last.
    harness.retry(failed[0]).await;
    server.fail(&server.claim_one().await).await;
    failed.rotate_left(1);
    let others = [harness.ended(&server, TaskState::Cancelled).await, harness.ended(&server, TaskState::Stopped).await];
    harness.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(prune_surplus(&harness, 0, 0).await, 0, "any number");
    assert_eq!(prune_surplus(&harness, 5, 5).await, 0);
    assert_eq!(prune_surplus(&harness, 3, 2).await, 2 + 3);
    for id in failed[..3].iter().chain(&done[..2]) {
        assert!(!harness.exists(*id).await);
    }
    for id in failed[3..].iter().chain(&done[2..]).chain(&others) {
        assert!(harness.exists(*id).await);
    }
    // One store counts by ids, the other by order numbers: ids of one millisecond are not ordered.
    let mut many = tasks(2_500);
    many.sort_by_key(|task| task.id);
    let many = harness.add_many(&many).await;
    let server = harness.server().await;
    server.done_all(&server.claim(2_500).await).await;
    harness.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(prune_surplus(&harness, 10, 0).await, 2_493, "in bounded steps");
    assert!(harness.exists(*many.last().unwrap()).await);
}

pub(super) async fn retention_by_number_spares_parents_and_the_young(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.ended(&server, TaskState::Done).await;
    let child = harness.add(NewTask { queue: "held".into(), ..child_of(&[parent]) }).await;
    let old = harness.add(NewTask { queue: "free".into(), ..task() }).await;
    server.done(&server.claim_queue("free", 1).await[0]).await;
    harness.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(prune_surplus(&harness, 1, 0).await, 0, "a client may be waiting for it");
    harness.advance(SECOND).await;
    let newest = harness.add(NewTask { queue: "free".into(), ..task() }).await;
    let server = harness.server().await;
    server.done(&server.claim_queue("free", 1).await[0]).await;
    // Two are too many; one of the two oldest has an unfinished child.
    assert_eq!(prune_surplus(&harness, 1, 0).await, 1);
    assert!(!harness.exists(old).await);
    harness.cancel(child).await;
    assert_eq!(prune_surplus(&harness, 1, 0).await, 1);
    assert!(!harness.exists(parent).await);
    assert!(harness.exists(newest).await);
}
