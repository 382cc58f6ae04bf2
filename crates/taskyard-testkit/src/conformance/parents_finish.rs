//! Parents when they end: the effect on the children that wait for them.

use std::time::Duration;

use taskyard_core::state::OnParentFailure::{Run, Wait};
use taskyard_core::store::Outcome;
use taskyard_core::{TaskState, WaitReason};

use super::Harness;
use crate::factory::{child_of, child_with, failure, task, tasks};

pub(super) async fn all_parents_must_be_done(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(5)).await;
    let child = harness.add(child_of(&parents)).await;
    for claimed in server.claim(5).await {
        harness.assert_waits(child, WaitReason::Parents).await;
        server.done(&claimed).await;
    }
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn all_at_once_in_one_batch(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(50)).await;
    let child = harness.add(child_of(&parents)).await;
    server.done_all(&server.claim(50).await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
    assert_eq!(server.claim(10).await.len(), 1, "it is claimable once");
}

/// Two servers finish the last two parents at the same moment.
pub(super) async fn the_last_two_at_the_same_moment(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..25 {
        let parents = harness.add_all(&tasks(2)).await;
        let child = harness.add(child_of(&parents)).await;
        let claimed = server.claim(2).await;
        tokio::join!(server.done(&claimed[0]), server.done(&claimed[1]));
        harness.assert_state(child, TaskState::Enqueued).await;
        server.done(&server.claim_one().await).await;
    }
}

pub(super) async fn a_retry_of_the_parent_is_not_a_failure_yet(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let child = harness.add(child_of(&[parent.id])).await;
    server.fail_and_retry(&parent, Duration::ZERO, failure("once")).await;
    harness.assert_waits(child, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn a_failure_takes_every_generation(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let mut line = vec![parent.id];
    for _ in 0..5 {
        let child = harness.add(child_of(&[line[line.len() - 1]])).await;
        line.push(child);
    }
    server.fail(&parent).await;
    harness.cascade().await;
    for id in &line[1..] {
        let record = harness.record(*id).await;
        assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parent.id)));
        assert_eq!(record.finished_at, Some(now));
        assert_eq!((record.attempt, record.failures), (0, 0), "it never ran");
        let error = record.error.expect("it says why");
        let expected = ("ParentTaskFailed".into(), format!("parent task {} failed", parent.id));
        assert_eq!((error.error_type, error.message), expected);
    }
}

pub(super) async fn each_policy_under_a_failure(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let fail = harness.add(child_of(&[parent.id])).await;
    let run = harness.add(child_with(Run, &[parent.id])).await;
    let wait = harness.add(child_with(Wait, &[parent.id])).await;
    let after_run = harness.add(child_of(&[run])).await;
    let after_wait = harness.add(child_of(&[wait])).await;
    server.fail(&parent).await;
    harness.cascade().await;
    harness.assert_state(fail, TaskState::Failed).await;
    harness.assert_state(run, TaskState::Enqueued).await;
    for id in [wait, after_run, after_wait] {
        harness.assert_waits(id, WaitReason::Parents).await;
    }
    let waits_for = harness.record(wait).await.waiting_for.expect("it says what it waits for");
    assert!(waits_for.contains("failed"), "{waits_for}");
}

pub(super) async fn a_clean_up_waits_for_all_parents_to_end(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(3)).await;
    let clean_up = harness.add(child_with(Run, &parents)).await;
    let claimed = server.claim(3).await;
    server.fail(&claimed[0]).await;
    harness.assert_waits(clean_up, WaitReason::Parents).await;
    server.done(&claimed[1]).await;
    harness.assert_waits(clean_up, WaitReason::Parents).await;
    server.finish(&claimed[2], Outcome::Interrupted).await;
    harness.assert_state(clean_up, TaskState::Enqueued).await;
}

pub(super) async fn a_clean_up_in_the_middle_stops_the_fall(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let doomed = harness.add(child_of(&[parent.id])).await;
    let clean_up = harness.add(child_with(Run, &[doomed])).await;
    let after = harness.add(child_of(&[clean_up])).await;
    server.fail(&parent).await;
    harness.cascade().await;
    harness.assert_state(doomed, TaskState::Failed).await;
    harness.assert_state(clean_up, TaskState::Enqueued).await;
    harness.assert_waits(after, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(after, TaskState::Enqueued).await;
}

pub(super) async fn a_patient_child_runs_after_the_retry(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let patient = harness.add(child_with(Wait, &[parent])).await;
    for _ in 0..2 {
        server.fail(&server.claim_one().await).await;
        harness.assert_waits(patient, WaitReason::Parents).await;
        harness.retry(parent).await;
    }
    server.done(&server.claim_one().await).await;
    harness.assert_state(patient, TaskState::Enqueued).await;
}

pub(super) async fn a_diamond_joins_once(harness: Harness) {
    let server = harness.server().await;
    let top = task();
    let (left, right) = (child_of(&[top.id]), child_of(&[top.id]));
    let bottom = child_of(&[left.id, right.id]);
    harness.add_all(&[bottom.clone(), left.clone(), right.clone(), top.clone()]).await;
    server.done(&server.claim_one().await).await;
    let middle = server.claim(10).await;
    assert_eq!(middle.len(), 2);
    server.done(&middle[0]).await;
    harness.assert_waits(bottom.id, WaitReason::Parents).await;
    server.done(&middle[1]).await;
    assert_eq!(server.claim(10).await.len(), 1);
}

pub(super) async fn a_diamond_falls_once(harness: Harness) {
    let server = harness.server().await;
    let top = task();
    let (left, right) = (child_of(&[top.id]), child_of(&[top.id]));
    let bottom = child_of(&[left.id, right.id]);
    let below = child_of(&[bottom.id]);
    harness.add_all(&[top.clone(), left.clone(), right.clone(), bottom.clone(), below.clone()]).await;
    server.fail(&server.claim_one().await).await;
    harness.cascade().await;
    for id in [left.id, right.id, bottom.id, below.id] {
        let record = harness.record(id).await;
        assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(top.id)));
    }
    harness.retry(top.id).await;
    harness.cascade().await;
    for id in [left.id, right.id, bottom.id, below.id] {
        harness.assert_waits(id, WaitReason::Parents).await;
    }
}

pub(super) async fn the_first_of_two_failures_is_named(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(2)).await;
    let child = harness.add(child_of(&parents)).await;
    let claimed = server.claim(2).await;
    server.finish(&claimed[1], Outcome::Interrupted).await;
    let first = harness.record(child).await;
    assert_eq!((first.state, first.fallen_from), (TaskState::Cancelled, Some(parents[1])));
    server.fail(&claimed[0]).await;
    assert_eq!(harness.record(child).await, first, "a child falls once");
}

pub(super) async fn children_are_told_of_a_cancelled_wait(harness: Harness) {
    let server = harness.server().await;
    let parents = harness.add_all(&tasks(2)).await;
    let child = harness.add(child_of(&parents)).await;
    server.done(&server.claim_one().await).await;
    harness.cancel(parents[1]).await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Cancelled, Some(parents[1])));
}

pub(super) async fn children_follow_their_own_priority(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let mut low = child_of(&[parent.id]);
    low.priority = -1;
    let mut high = child_of(&[parent.id]);
    high.priority = 9;
    harness.add_all(&[low.clone(), high.clone(), task()]).await;
    server.done(&parent).await;
    let order: Vec<i32> = {
        let claimed = server.claim(10).await;
        let records = harness.store.get(&claimed.iter().map(|task| task.id).collect::<Vec<_>>()).await.unwrap();
        records.into_iter().flatten().map(|record| record.priority).collect()
    };
    assert_eq!(order, [9, 0, -1]);
}
