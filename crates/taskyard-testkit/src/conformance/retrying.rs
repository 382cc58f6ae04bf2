//! Retry by an operator: the same row starts again, and the tasks that fell with it are revived.

use std::time::Duration;

use taskyard_core::state::OnParentFailure;
use taskyard_core::store::{ControlReply, Outcome};
use taskyard_core::task::{NewTask, Start};
use taskyard_core::{TaskId, TaskState, WaitReason};

use super::{Harness, TestServer};
use crate::factory::{child_of, child_with, delayed, failure, ids, task, tasks};

const ENQUEUED: ControlReply = ControlReply::Applied(TaskState::Enqueued);

async fn fail_next(server: &TestServer) -> TaskId {
    let claimed = server.claim_one().await;
    server.fail(&claimed).await;
    claimed.id
}

pub(super) async fn it_starts_afresh(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Crashed(failure("signal 11"))).await;
    let claimed = server.claim_alone().await.expect("alone after a crash");
    server.fail(&claimed).await;
    assert_eq!(harness.retry(claimed.id).await, ENQUEUED);
    let record = harness.record(claimed.id).await;
    assert_eq!((record.failures, record.lost, record.crashes, record.alone), (0, 0, 0, false));
    assert_eq!((record.error, record.result, record.finished_at), (None, None, None));
    assert_eq!(record.attempt, 2, "the attempts stay");
    let again = server.claim_one().await;
    assert_eq!((again.attempt, again.failures), (3, 0));
    server.done(&again).await;
}

pub(super) async fn it_comes_before_younger_ones(harness: Harness) {
    let server = harness.server().await;
    let old = harness.ended(&server, TaskState::Failed).await;
    harness.add_all(&tasks(3)).await;
    harness.retry(old).await;
    assert_eq!(server.claim_one().await.id, old);
}

pub(super) async fn the_context_stays(harness: Harness) {
    let server = harness.server().await;
    let new = NewTask { context: Some(br#"{"step": 3}"#.to_vec()), ..task() };
    let claimed = harness.start(&server, new).await;
    server.fail(&claimed).await;
    harness.retry(claimed.id).await;
    assert_eq!(server.claim_one().await.context, Some(br#"{"step": 3}"#.to_vec()));
}

pub(super) async fn times_do_not_apply_again(harness: Harness) {
    let now = harness.freeze().await;
    let new =
        NewTask { start: Start::At(now + Duration::from_secs(60)), expires: Some(Duration::from_secs(30)), ..task() };
    let id = harness.add(new).await;
    harness.cancel(id).await;
    assert_eq!(harness.retry(id).await, ENQUEUED);
    assert_eq!(harness.record(id).await.expires_at, None);
    harness.advance(Duration::from_secs(3_600)).await;
    assert_eq!(harness.promote().await.expired, 0);
    let claimed = harness.server().await.claim_one().await;
    assert!(!claimed.expired);
}

pub(super) async fn fallen_descendants_wait_again(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    let grandchild = harness.add(child_of(&[child])).await;
    fail_next(&server).await;
    harness.cascade().await;
    assert_eq!(harness.retry(parent).await, ENQUEUED);
    harness.cascade().await;
    for id in [child, grandchild] {
        harness.assert_waits(id, WaitReason::Parents).await;
        let record = harness.record(id).await;
        assert_eq!((record.fallen_from, record.error, record.finished_at), (None, None, None));
    }
    for expected in [parent, child, grandchild] {
        let claimed = server.claim_one().await;
        assert_eq!(claimed.id, expected);
        server.done(&claimed).await;
    }
}

pub(super) async fn cancelled_descendants_wait_again(harness: Harness) {
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.cancel(parent).await;
    harness.assert_state(child, TaskState::Cancelled).await;
    assert_eq!(harness.retry(parent).await, ENQUEUED);
    harness.cascade().await;
    harness.assert_waits(child, WaitReason::Parents).await;
}

pub(super) async fn they_fall_again_with_a_second_failure(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    for _ in 0..3 {
        assert_eq!(fail_next(&server).await, parent);
        harness.cascade().await;
        harness.assert_state(child, TaskState::Failed).await;
        assert_eq!(harness.record(child).await.fallen_from, Some(parent));
        harness.retry(parent).await;
        harness.cascade().await;
        harness.assert_state(child, TaskState::Waiting).await;
    }
}

/// A task cancelled by an operator did not fall; a retry of its parent does not run it.
pub(super) async fn one_cancelled_by_a_person_stays_down(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.cancel(child).await;
    fail_next(&server).await;
    harness.retry(parent).await;
    harness.cascade().await;
    harness.assert_state(child, TaskState::Cancelled).await;
}

pub(super) async fn a_fallen_child_falls_again_while_its_parent_is_down(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    fail_next(&server).await;
    assert_eq!(harness.retry(child).await, ControlReply::Applied(TaskState::Failed));
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parent)));
    assert_eq!(record.error.expect("it says why").error_type, "ParentTaskFailed");
    // The child fell with the parent, so it is revived with it.
    harness.retry(parent).await;
    harness.cascade().await;
    harness.assert_waits(child, WaitReason::Parents).await;
}

pub(super) async fn a_child_waits_for_an_unfinished_parent_again(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.cancel(child).await;
    assert_eq!(harness.retry(child).await, ControlReply::Applied(TaskState::Waiting));
    harness.assert_waits(child, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

/// The parent ended while the child was down: the edge must not stay open forever.
pub(super) async fn a_parent_done_meanwhile_is_no_longer_waited_for(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.cancel(child).await;
    server.done(&server.claim_one().await).await;
    assert_eq!(harness.retry(child).await, ENQUEUED);
}

pub(super) async fn a_parent_failed_meanwhile_lets_a_clean_up_run(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let run = harness.add(child_with(OnParentFailure::Run, &[parent])).await;
    let wait = harness.add(child_with(OnParentFailure::Wait, &[parent])).await;
    harness.store.cancel(&[run, wait]).await.unwrap();
    fail_next(&server).await;
    assert_eq!(harness.retry(run).await, ENQUEUED);
    assert_eq!(harness.retry(wait).await, ControlReply::Applied(TaskState::Waiting));
}

pub(super) async fn a_second_parent_still_down_takes_it_again(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(2)).await;
    let child = harness.add(child_of(&parents)).await;
    let grandchild = harness.add(child_of(&[child])).await;
    fail_next(&server).await;
    fail_next(&server).await;
    harness.cascade().await;
    assert_eq!(harness.record(child).await.fallen_from, Some(parents[0]));
    harness.retry(parents[0]).await;
    harness.cascade().await;
    for id in [child, grandchild] {
        let record = harness.record(id).await;
        assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parents[1])));
    }
    harness.retry(parents[1]).await;
    harness.cascade().await;
    for id in [child, grandchild] {
        harness.assert_waits(id, WaitReason::Parents).await;
    }
    server.done_all(&server.claim(2).await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn a_done_parent_stays_done_for_those_that_get_up(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(2)).await;
    let child = harness.add(child_of(&parents)).await;
    let claimed = server.claim(2).await;
    server.done(&claimed[0]).await;
    server.fail(&claimed[1]).await;
    harness.assert_state(child, TaskState::Failed).await;
    harness.retry(parents[1]).await;
    harness.cascade().await;
    harness.assert_state(child, TaskState::Waiting).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn a_child_with_a_delay_waits_for_its_parent_only(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(NewTask { parents: vec![parent], ..delayed(Duration::from_secs(10)) }).await;
    fail_next(&server).await;
    harness.advance(Duration::from_secs(60)).await;
    server.beat().await;
    harness.retry(parent).await;
    harness.cascade().await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn a_wide_fall_gets_up_as_a_whole(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let children: Vec<NewTask> = (0..3_000).map(|_| child_of(&[parent])).collect();
    harness.add_many(&children).await;
    fail_next(&server).await;
    // The retry comes while most of the cascade is still pending.
    assert_eq!(harness.retry(parent).await, ENQUEUED);
    harness.cascade().await;
    assert_eq!(harness.count(&ids(&children), TaskState::Waiting).await, 3_000);
    server.done(&server.claim_one().await).await;
    harness.cascade().await;
    assert_eq!(harness.count(&ids(&children), TaskState::Enqueued).await, 3_000);
}

pub(super) async fn a_retried_dead_letter_is_no_longer_listed_as_one(harness: Harness) {
    let server = harness.server().await;
    let failed = harness.ended(&server, TaskState::Failed).await;
    let filter = taskyard_core::store::TaskFilter { states: vec![TaskState::Failed], ..Default::default() };
    assert_eq!(harness.store.list(&filter).await.unwrap().len(), 1);
    harness.retry(failed).await;
    assert!(harness.store.list(&filter).await.unwrap().is_empty());
}
