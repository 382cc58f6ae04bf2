//! Deletion: auto_remove, retention, purge, and the tasks that are never deleted.

use std::time::Duration;

use taskyard_core::store::{AUTO_REMOVE_AFTER, Finish, Outcome, Record, Retention};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::Yard;
use crate::factory::{child_of, failure, line, task, tasks};

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn passing() -> NewTask {
    NewTask { auto_remove: true, ..task() }
}

/// Prunes until a whole round has deleted nothing.
async fn prune(yard: &Yard) -> usize {
    let (mut sum, mut idle) = (0, 0);
    for _ in 0..1_000 {
        let report = yard.store.prune(&Retention::default()).await.unwrap();
        assert!(report.tasks <= taskyard_core::store::STEP_ROWS_MAX, "{report:?}");
        sum += report.tasks;
        idle = if report.tasks == 0 && !report.more { idle + 1 } else { 0 };
        if idle == 3 {
            return sum;
        }
    }
    panic!("prune never ends");
}

pub(super) async fn auto_remove_keeps_it_for_a_minute(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, passing()).await;
    server.finish(&claimed, Outcome::Done { result: b"7".to_vec() }).await;
    yard.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(yard.promote().await.removed, 0);
    let finals = yard.store.finals(&[claimed.id]).await.unwrap();
    assert_eq!(finals[0].result.as_deref(), Some(&b"7"[..]), "a late waiter still gets the result");
    let other = yard.add(task()).await;
    assert_eq!(yard.store.present(&[TaskId::generate(), claimed.id, other]).await.unwrap(), [false, true, true]);
    yard.advance(SECOND).await;
    assert_eq!(yard.promote().await.removed, 1);
    assert!(!yard.exists(claimed.id).await);
    assert_eq!(yard.store.present(&[other, claimed.id]).await.unwrap(), [true, false]);
}

pub(super) async fn auto_remove_waits_for_the_children(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let parent = yard.start(&server, passing()).await;
    let child = yard.add(child_of(&[parent.id])).await;
    server.finish(&parent, Outcome::Done { result: b"7".to_vec() }).await;
    yard.advance(3 * AUTO_REMOVE_AFTER).await;
    assert_eq!(yard.promote().await.removed, 0);
    assert_eq!(yard.store.parent_results(child).await.unwrap()[0].result.as_deref(), Some(&b"7"[..]));
    // More than the lease has passed, so another server runs the child.
    let server = yard.server().await;
    server.done(&server.claim_one().await).await;
    yard.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(yard.promote().await.removed, 1);
    assert!(!yard.exists(parent.id).await);
    yard.assert_state(child, TaskState::Done).await;
}

pub(super) async fn a_retry_takes_the_removal_back(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, passing()).await;
    server.fail(&claimed).await;
    yard.retry(claimed.id).await;
    yard.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(yard.promote().await.removed, 0, "it is to run again");
    let server = yard.server().await;
    server.done(&server.claim_one().await).await;
    yard.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(yard.promote().await.removed, 0, "the minute begins with its end");
    yard.advance(SECOND).await;
    assert_eq!(yard.promote().await.removed, 1);
}

pub(super) async fn an_unfinished_one_is_never_removed(yard: Yard) {
    yard.freeze().await;
    yard.add_all(&[passing(), passing()]).await;
    let server = yard.server().await;
    server.claim_one().await;
    yard.advance(10 * DAY).await;
    assert_eq!(yard.promote().await.removed, 0);
    assert_eq!(yard.store.status().await.unwrap().by_state[1..3], [1, 1]);
}

pub(super) async fn retention_differs_by_state(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let done = yard.ended(&server, TaskState::Done).await;
    let failed = yard.ended(&server, TaskState::Failed).await;
    let cancelled = yard.ended(&server, TaskState::Cancelled).await;
    let stopped = yard.ended(&server, TaskState::Stopped).await;
    yard.advance(7 * DAY - SECOND).await;
    assert_eq!(prune(&yard).await, 0);
    yard.advance(2 * SECOND).await;
    assert_eq!(prune(&yard).await, 1);
    assert!(!yard.exists(done).await);
    yard.advance(23 * DAY - 3 * SECOND).await;
    assert_eq!(prune(&yard).await, 0);
    yard.advance(3 * SECOND).await;
    assert_eq!(prune(&yard).await, 3);
    for id in [failed, cancelled, stopped] {
        assert!(!yard.exists(id).await);
    }
}

pub(super) async fn retention_spares_what_is_unfinished(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let parent = yard.ended(&server, TaskState::Done).await;
    let running = yard.start(&server, task()).await.id;
    let waiting = yard.add(child_of(&[running])).await;
    let enqueued = yard.add(child_of(&[parent])).await;
    yard.advance(365 * DAY).await;
    assert_eq!(prune(&yard).await, 0, "the parent's child is unfinished");
    for id in [parent, running, waiting, enqueued] {
        assert!(yard.exists(id).await);
    }
}

pub(super) async fn retention_goes_in_bounded_steps(yard: Yard) {
    yard.freeze().await;
    let ids = yard.add_many(&tasks(2_500)).await;
    yard.store.cancel(&ids).await.unwrap();
    yard.advance(31 * DAY).await;
    assert_eq!(prune(&yard).await, 2_500);
    assert_eq!(yard.store.status().await.unwrap().by_state, [0; 7]);
}

/// Tasks before the position where pruning stopped must be found by a later round.
pub(super) async fn retention_comes_back_for_what_it_passed(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let parent = yard.ended(&server, TaskState::Done).await;
    let child = yard.add(child_of(&[parent])).await;
    yard.advance(31 * DAY).await;
    assert_eq!(prune(&yard).await, 0);
    yard.cancel(child).await;
    yard.advance(31 * DAY).await;
    assert_eq!(prune(&yard).await, 2);
}

pub(super) async fn purge_takes_final_tasks_only(yard: Yard) {
    let server = yard.server().await;
    let mut gone = Vec::new();
    for state in [TaskState::Done, TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        gone.push(yard.ended(&server, state).await);
    }
    let running = yard.start(&server, task()).await.id;
    let kept = [running, yard.add(child_of(&[running])).await, yard.add(task()).await];
    let asked = [&gone[..], &kept[..], &[TaskId::generate()]].concat();
    assert_eq!(yard.store.purge(&asked).await.unwrap(), 4);
    for id in gone {
        assert!(!yard.exists(id).await);
    }
    for id in kept {
        assert!(yard.exists(id).await);
    }
    assert_eq!(yard.store.purge(&[]).await.unwrap(), 0);
}

pub(super) async fn purge_spares_a_parent_of_the_unfinished(yard: Yard) {
    let server = yard.server().await;
    let parent = yard.ended(&server, TaskState::Done).await;
    let child = yard.add(child_of(&[parent])).await;
    assert_eq!(yard.store.purge(&[parent]).await.unwrap(), 0);
    yard.cancel(child).await;
    assert_eq!(yard.store.purge(&[parent]).await.unwrap(), 1);
    yard.assert_state(child, TaskState::Cancelled).await;
}

pub(super) async fn purge_leaves_nothing_of_a_task(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, NewTask { tags: vec!["x".into()], ..task() }).await;
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
    yard.store.finish(&[finish], &[]).await.unwrap();
    assert_eq!(yard.store.purge(&[claimed.id]).await.unwrap(), 1);
    assert_eq!(yard.store.context(claimed.id).await.unwrap(), None);
    assert!(yard.store.logs(claimed.id, 0, 10).await.unwrap().is_empty());
    assert!(yard.attempts(claimed.id).await.is_empty());
    // The id is free again: nothing of the old task may show.
    let id = yard.add(NewTask { id: claimed.id, ..task() }).await;
    assert!(yard.attempts(id).await.is_empty());
    assert_eq!(yard.store.context(id).await.unwrap(), Some(b"{}".to_vec()));
}

async fn prune_surplus(yard: &Yard, done_count: u64, failed_count: u64) -> usize {
    let retention = Retention { done_count, failed_count, ..Retention::default() };
    let mut sum = 0;
    for _ in 0..100 {
        let report = yard.store.prune_surplus(&retention).await.unwrap();
        assert!(report.tasks <= taskyard_core::store::STEP_ROWS_MAX, "{report:?}");
        sum += report.tasks;
        if !report.more {
            return sum;
        }
    }
    panic!("it never ends");
}

pub(super) async fn retention_by_number_takes_the_oldest(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let (mut failed, mut done) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        failed.push(yard.ended(&server, TaskState::Failed).await);
        done.push(yard.ended(&server, TaskState::Done).await);
        yard.advance(SECOND).await;
    }
    // Added first, died last.
    yard.retry(failed[0]).await;
    server.fail(&server.claim_one().await).await;
    failed.rotate_left(1);
    let others = [yard.ended(&server, TaskState::Cancelled).await, yard.ended(&server, TaskState::Stopped).await];
    yard.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(prune_surplus(&yard, 0, 0).await, 0, "any number");
    assert_eq!(prune_surplus(&yard, 5, 5).await, 0);
    assert_eq!(prune_surplus(&yard, 3, 2).await, 2 + 3);
    for id in failed[..3].iter().chain(&done[..2]) {
        assert!(!yard.exists(*id).await);
    }
    for id in failed[3..].iter().chain(&done[2..]).chain(&others) {
        assert!(yard.exists(*id).await);
    }
    // One store counts by ids, the other by order numbers: ids of one millisecond are not ordered.
    let mut many = tasks(2_500);
    many.sort_by_key(|task| task.id);
    let many = yard.add_many(&many).await;
    let server = yard.server().await;
    server.done_all(&server.claim(2_500).await).await;
    yard.advance(2 * AUTO_REMOVE_AFTER).await;
    assert_eq!(prune_surplus(&yard, 10, 0).await, 2_493, "in bounded steps");
    assert!(yard.exists(*many.last().unwrap()).await);
}

pub(super) async fn retention_by_number_spares_parents_and_the_young(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let parent = yard.ended(&server, TaskState::Done).await;
    let child = yard.add(NewTask { queue: "held".into(), ..child_of(&[parent]) }).await;
    let old = yard.add(NewTask { queue: "free".into(), ..task() }).await;
    server.done(&server.claim_queue("free", 1).await[0]).await;
    yard.advance(AUTO_REMOVE_AFTER - SECOND).await;
    assert_eq!(prune_surplus(&yard, 1, 0).await, 0, "a client may be waiting for it");
    yard.advance(SECOND).await;
    let newest = yard.add(NewTask { queue: "free".into(), ..task() }).await;
    let server = yard.server().await;
    server.done(&server.claim_queue("free", 1).await[0]).await;
    // Two are too many; one of the two oldest has an unfinished child.
    assert_eq!(prune_surplus(&yard, 1, 0).await, 1);
    assert!(!yard.exists(old).await);
    yard.cancel(child).await;
    assert_eq!(prune_surplus(&yard, 1, 0).await, 1);
    assert!(!yard.exists(parent).await);
    assert!(yard.exists(newest).await);
}
