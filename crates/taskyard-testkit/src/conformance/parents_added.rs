//! Children when they are added: how the states of their parents determine theirs.

use std::time::Duration;

use taskyard_core::state::OnParentFailure::{Fail, Run, Wait};
use taskyard_core::store::Outcome;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskState, WaitReason};

use super::Harness;
use crate::factory::{child_of, child_with, delayed, task, tasks};

pub(super) async fn a_child_waits_for_its_parent(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.assert_waits(child, WaitReason::Parents).await;
    assert_eq!(harness.record(child).await.parents, [parent]);
    assert_eq!(harness.store.children(parent, 10).await.unwrap(), [child]);
    let claimed = server.claim(10).await;
    assert_eq!(claimed.len(), 1);
    harness.assert_waits(child, WaitReason::Parents).await;
    server.done(&claimed[0]).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

pub(super) async fn parents_of_the_same_batch(harness: Harness) {
    let server = harness.server().await;
    let parent = task();
    let child = child_of(&[parent.id]);
    harness.add_all(&[parent.clone(), child.clone()]).await;
    harness.assert_state(parent.id, TaskState::Enqueued).await;
    harness.assert_waits(child.id, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child.id, TaskState::Enqueued).await;
}

/// A batch's edges may point both ways: the child may come before its parent.
pub(super) async fn a_child_before_its_parent_in_the_batch(harness: Harness) {
    let server = harness.server().await;
    let parent = task();
    let child = child_of(&[parent.id]);
    let grandchild = child_of(&[child.id]);
    harness.add_all(&[grandchild.clone(), child.clone(), parent.clone()]).await;
    for expected in [parent.id, child.id, grandchild.id] {
        let claimed = server.claim(10).await;
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [expected]);
        server.done(&claimed[0]).await;
    }
}

pub(super) async fn a_batch_and_the_store_at_once(harness: Harness) {
    let server = harness.server().await;
    let stored = harness.add(task()).await;
    let inner = task();
    let child = child_of(&[stored, inner.id]);
    harness.add_all(&[child.clone(), inner.clone()]).await;
    let claimed = server.claim(10).await;
    assert_eq!(claimed.len(), 2);
    server.done(&claimed[1]).await;
    harness.assert_waits(child.id, WaitReason::Parents).await;
    server.done(&claimed[0]).await;
    harness.assert_state(child.id, TaskState::Enqueued).await;
}

pub(super) async fn a_done_parent_is_not_waited_for(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.ended(&server, TaskState::Done).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.assert_state(child, TaskState::Enqueued).await;
    let claimed = server.claim_one().await;
    assert!(claimed.has_parents, "its result can be asked for");
}

pub(super) async fn a_fallen_parent_takes_it_at_once(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    for (state, error_type, words) in [
        (TaskState::Failed, "ParentTaskFailed", "failed"),
        (TaskState::Cancelled, "ParentTaskCancelled", "was cancelled"),
    ] {
        let parent = harness.ended(&server, state).await;
        let child = harness.add(child_of(&[parent])).await;
        let record = harness.record(child).await;
        assert_eq!((record.state, record.fallen_from), (state, Some(parent)));
        assert_eq!(record.finished_at, Some(now));
        let error = record.error.expect("it says why");
        assert_eq!((error.error_type.as_str(), error.message), (error_type, format!("parent task {parent} {words}")));
    }
}

pub(super) async fn the_policies_under_a_fallen_parent(harness: Harness) {
    let server = harness.server().await;
    for state in [TaskState::Failed, TaskState::Cancelled] {
        let parent = harness.ended(&server, state).await;
        let fail = harness.add(child_with(Fail, &[parent])).await;
        let run = harness.add(child_with(Run, &[parent])).await;
        let wait = harness.add(child_with(Wait, &[parent])).await;
        harness.assert_state(fail, state).await;
        harness.assert_state(run, TaskState::Enqueued).await;
        harness.assert_waits(wait, WaitReason::Parents).await;
        let waits_for = harness.record(wait).await.waiting_for.expect("it says what it waits for");
        assert!(waits_for.contains(state.as_str()), "{waits_for}");
        server.done(&server.claim_one().await).await;
    }
}

/// Each records the first ancestor, also when it is added under a task that fell itself.
pub(super) async fn a_child_of_a_fallen_one_names_the_first_ancestor(harness: Harness) {
    let server = harness.server().await;
    let ancestor = harness.ended(&server, TaskState::Failed).await;
    let fallen = harness.add(child_of(&[ancestor])).await;
    let child = harness.add(child_of(&[fallen])).await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(ancestor)));
    let message = record.error.expect("it says why").message;
    assert_eq!(message, format!("parent task {ancestor} failed"));
}

pub(super) async fn a_whole_batch_under_a_fallen_parent_falls(harness: Harness) {
    let server = harness.server().await;
    let ancestor = harness.ended(&server, TaskState::Failed).await;
    let child = child_of(&[ancestor]);
    let grandchild = child_of(&[child.id]);
    let clean_up = child_with(Run, &[grandchild.id]);
    // Children before their parents: the fall must not depend on the order.
    harness.add_all(&[clean_up.clone(), grandchild.clone(), child.clone()]).await;
    harness.cascade().await;
    for id in [child.id, grandchild.id] {
        let record = harness.record(id).await;
        assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(ancestor)));
    }
    harness.assert_state(clean_up.id, TaskState::Enqueued).await;
}

pub(super) async fn unfinished_and_stopped_parents_are_waited_for(harness: Harness) {
    let server = harness.server().await;
    let stopped = harness.ended(&server, TaskState::Stopped).await;
    let doing = harness.start(&server, task()).await.id;
    let waiting = harness.add(delayed(Duration::from_secs(60))).await;
    let parked = harness.start(&server, task()).await;
    server.finish(&parked, Outcome::Parked { reason: "kind `x`".into() }).await;
    let enqueued = harness.add(task()).await;
    for policy in [Fail, Run, Wait] {
        for parent in [stopped, doing, waiting, parked.id, enqueued] {
            let child = harness.add(child_with(policy, &[parent])).await;
            harness.assert_waits(child, WaitReason::Parents).await;
        }
    }
}

pub(super) async fn a_delay_counts_from_the_addition(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let long = NewTask { parents: vec![parent.id], ..delayed(Duration::from_secs(60)) };
    let short = NewTask { parents: vec![parent.id], ..delayed(Duration::from_secs(10)) };
    harness.add_all(&[long.clone(), short.clone()]).await;
    harness.assert_waits(long.id, WaitReason::Parents).await;
    harness.advance(Duration::from_secs(20)).await;
    server.done(&parent).await;
    harness.assert_waits(long.id, WaitReason::Time).await;
    harness.assert_state(short.id, TaskState::Enqueued).await;
    harness.advance(Duration::from_secs(40)).await;
    assert_eq!(harness.promote().await.enqueued, 1);
    harness.assert_state(long.id, TaskState::Enqueued).await;
}

/// A start time that came while a parent was unfinished must not start the task.
pub(super) async fn a_due_time_does_not_overrule_a_parent(harness: Harness) {
    harness.freeze().await;
    let parent = harness.add(task()).await;
    let child = harness.add(NewTask { parents: vec![parent], ..delayed(Duration::from_secs(10)) }).await;
    harness.advance(Duration::from_secs(11)).await;
    let report = harness.promote().await;
    assert_eq!((report.enqueued, report.next_due), (0, None));
    harness.assert_waits(child, WaitReason::Parents).await;
}

pub(super) async fn results_come_in_the_order_given(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(4)).await;
    let parents = server.claim(4).await;
    let order = [parents[2].id, parents[0].id, parents[3].id, parents[1].id];
    let child = harness.add(child_with(Run, &order)).await;
    assert_eq!(harness.record(child).await.parents, order);
    server.fail(&parents[3]).await;
    for at in [1, 0, 2] {
        let result = vec![b'0' + u8::try_from(at).expect("small")];
        server.finish(&parents[at], Outcome::Done { result }).await;
    }
    let results = harness.store.parent_results(child).await.unwrap();
    assert_eq!(results.iter().map(|result| result.id).collect::<Vec<_>>(), order);
    let values: Vec<Option<&[u8]>> = results.iter().map(|result| result.result.as_deref()).collect();
    assert_eq!(values, [Some(&b"2"[..]), Some(b"0"), None, Some(b"1")]);
    assert_eq!(results[2].state, TaskState::Failed);
    assert_eq!(results[2].error, Some(crate::factory::failure("it broke")));
    assert!(results[0].error.is_none());
}

/// No child is lost in the race between "child added" and "parent finishes".
pub(super) async fn added_while_the_parent_finishes(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..40 {
        let claimed = server.claim(1).await;
        assert!(claimed.is_empty());
        let parent = harness.start(&server, task()).await;
        let child = child_of(&[parent.id]);
        let adding = harness.add(child.clone());
        tokio::join!(adding, server.done(&parent));
        harness.assert_state(child.id, TaskState::Enqueued).await;
        server.done(&server.claim_one().await).await;
    }
}

/// Like the case above, while the parent fails and is retried: in the end the child follows the parent's last state.
pub(super) async fn added_while_the_parent_fails(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..40 {
        let parent = harness.start(&server, task()).await;
        let child = child_of(&[parent.id]);
        let adding = harness.add(child.clone());
        tokio::join!(adding, server.fail(&parent));
        harness.cascade().await;
        let record = harness.record(child.id).await;
        assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parent.id)));
    }
}
