//! Unique keys: while one is held, adding another task with it returns the existing one.

use std::time::Duration;

use taskyard_core::payload::references;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Added, ControlReply, Outcome};
use taskyard_core::task::{NewTask, UniqueHold};
use taskyard_core::{TaskId, TaskState, WaitReason};

use super::{Harness, TestServer};
use crate::factory::{child_of, failure, task, unique};

const APPLIED: ControlReply = ControlReply::Applied(TaskState::Enqueued);
const FINISHED: UniqueHold = UniqueHold::UntilFinished;
const STARTED: UniqueHold = UniqueHold::UntilStarted;

async fn add(harness: &Harness, hold: UniqueHold) -> Added {
    harness.store.add(&[unique("key", hold)]).await.unwrap()[0]
}

async fn assert_held_by(harness: &Harness, hold: UniqueHold, holder: TaskId) {
    let twin = unique("key", hold);
    let added = harness.store.add(std::slice::from_ref(&twin)).await.unwrap();
    assert_eq!(added, [Added { id: holder, existing: true }]);
    assert!(!harness.exists(twin.id).await, "the twin was not stored");
}

async fn assert_free(harness: &Harness, hold: UniqueHold) {
    assert!(!add(harness, hold).await.existing, "the key is free");
}

pub(super) async fn a_held_key_gives_the_existing_task(harness: Harness) {
    let first = add(&harness, FINISHED).await;
    assert!(!first.existing);
    assert_held_by(&harness, FINISHED, first.id).await;
    assert!(!harness.store.add(&[unique("other", FINISHED)]).await.unwrap()[0].existing, "another key is free");
    assert_eq!(harness.store.status().await.unwrap().by_state[1], 2);
}

pub(super) async fn twins_in_one_batch_are_one_task(harness: Harness) {
    let (first, second, plain) = (unique("key", FINISHED), unique("key", FINISHED), task());
    let added = harness.store.add(&[first.clone(), plain.clone(), second.clone()]).await.unwrap();
    let expected =
        [(first.id, false), (plain.id, false), (first.id, true)].map(|(id, existing)| Added { id, existing });
    assert_eq!(added, expected);
    assert!(!harness.exists(second.id).await);
}

pub(super) async fn until_finished_holds_through_run_and_retry(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", FINISHED)).await;
    assert_held_by(&harness, FINISHED, claimed.id).await;
    server.fail_and_retry(&claimed, Duration::from_secs(5), failure("once")).await;
    assert_held_by(&harness, FINISHED, claimed.id).await;
    harness.advance(Duration::from_secs(5)).await;
    harness.promote().await;
    assert_held_by(&harness, FINISHED, claimed.id).await;
    server.done(&server.claim_one().await).await;
    assert_free(&harness, FINISHED).await;
}

async fn end(harness: &Harness, server: &TestServer, state: TaskState) {
    let claimed = server.claim_one().await;
    match state {
        TaskState::Failed => server.fail(&claimed).await,
        TaskState::Cancelled => {
            server.finish(&claimed, Outcome::Interrupted).await;
        }
        _ => {
            harness.stop(claimed.id).await;
            server.finish(&claimed, Outcome::Interrupted).await;
        }
    }
    harness.assert_state(claimed.id, state).await;
}

pub(super) async fn every_final_state_frees_it(harness: Harness) {
    let server = harness.server().await;
    for state in [TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        assert_free(&harness, FINISHED).await;
        end(&harness, &server, state).await;
    }
    let waiting = add(&harness, FINISHED).await;
    assert!(!waiting.existing);
    harness.cancel(waiting.id).await;
    assert_free(&harness, FINISHED).await;
}

pub(super) async fn a_fall_with_the_parent_frees_it(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = taskyard_core::NewTask { parents: vec![parent], ..unique("key", FINISHED) };
    let child = harness.add(child).await;
    assert_held_by(&harness, FINISHED, child).await;
    server.fail(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Failed).await;
    assert_free(&harness, FINISHED).await;
}

pub(super) async fn until_started_is_free_once_it_runs(harness: Harness) {
    let server = harness.server().await;
    let first = add(&harness, STARTED).await;
    assert_held_by(&harness, STARTED, first.id).await;
    let claimed = server.claim_one().await;
    let second = add(&harness, STARTED).await;
    assert!(!second.existing, "the first one runs");
    // The end of the first task must not free the key of the second.
    server.done(&claimed).await;
    assert_held_by(&harness, STARTED, second.id).await;
}

pub(super) async fn until_started_is_free_once_it_is_cancelled(harness: Harness) {
    let first = add(&harness, STARTED).await;
    harness.cancel(first.id).await;
    assert_free(&harness, STARTED).await;
}

pub(super) async fn for_a_time_holds_whatever_becomes_of_it(harness: Harness) {
    harness.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(60));
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", hold)).await;
    server.done(&claimed).await;
    harness.advance(Duration::from_secs(59)).await;
    assert_held_by(&harness, hold, claimed.id).await;
    harness.advance(Duration::from_secs(1)).await;
    let second = add(&harness, hold).await;
    assert!(!second.existing, "free at its very end");
    harness.advance(Duration::from_secs(59)).await;
    assert_held_by(&harness, hold, second.id).await;
}

pub(super) async fn the_existing_one_stands_in_as_a_parent(harness: Harness) {
    let server = harness.server().await;
    let existing = add(&harness, FINISHED).await.id;
    let twin = unique("key", FINISHED);
    let child = child_of(&[twin.id]);
    let added = harness.store.add(&[twin.clone(), child.clone()]).await.unwrap();
    assert_eq!(added[0], Added { id: existing, existing: true });
    assert_eq!(added[1], Added { id: child.id, existing: false });
    assert_eq!(harness.record(child.id).await.parents, [existing]);
    harness.assert_waits(child.id, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child.id, TaskState::Enqueued).await;
}

pub(super) async fn the_existing_one_gives_the_result_that_is_an_argument(harness: Harness) {
    let [first, twin] = [unique("key", FINISHED), unique("key", FINISHED)];
    let refer = |id| format!("{{\"args\":[{}],\"kwargs\":{{}}}}", references::reference(id)).into_bytes();
    let child = NewTask { parents: vec![twin.id], payload: refer(twin.id), ..task() };
    harness.store.add(&[first.clone(), twin, child.clone()]).await.unwrap();
    let record = harness.record(child.id).await;
    assert_eq!((record.parents, record.payload), (vec![first.id], refer(first.id)));
}

pub(super) async fn a_retry_takes_the_key_again(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", FINISHED)).await;
    server.fail(&claimed).await;
    harness.retry(claimed.id).await;
    assert_held_by(&harness, FINISHED, claimed.id).await;
}

pub(super) async fn a_retry_is_refused_while_another_task_holds_the_key(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", FINISHED)).await;
    server.fail(&claimed).await;
    let other = harness.start(&server, unique("other", FINISHED)).await;
    server.fail(&other).await;
    let second = harness.start(&server, unique("key", FINISHED)).await;
    let before = harness.record(claimed.id).await;
    // Of several tasks the others are retried all the same.
    let replies = harness.store.retry(&[claimed.id, other.id]).await.unwrap();
    assert_eq!(replies, [ControlReply::KeyHeld(second.id), APPLIED]);
    assert_eq!(harness.record(claimed.id).await, before, "nothing was changed");
    // Once the holder has ended, the task is retried and holds the key again.
    server.done(&second).await;
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    assert_held_by(&harness, FINISHED, claimed.id).await;
}

pub(super) async fn a_retry_is_refused_while_another_task_is_to_start_with_the_key(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", STARTED)).await;
    server.fail(&claimed).await;
    let second = add(&harness, STARTED).await;
    assert!(!second.existing);
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [ControlReply::KeyHeld(second.id)]);
    assert_eq!(server.claim_one().await.id, second.id);
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    assert_held_by(&harness, STARTED, claimed.id).await;
}

pub(super) async fn a_retry_minds_a_key_that_is_held_for_a_time(harness: Harness) {
    harness.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(10));
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", hold)).await;
    server.fail(&claimed).await;
    // The task holds the key itself.
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    server.fail(&server.claim_one().await).await;
    harness.advance(Duration::from_secs(10)).await;
    let second = add(&harness, hold).await;
    assert!(!second.existing);
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [ControlReply::KeyHeld(second.id)]);
    harness.advance(Duration::from_secs(10)).await;
    assert_eq!(harness.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
}

pub(super) async fn a_retry_is_refused_however_either_task_holds_the_key(harness: Harness) {
    harness.freeze().await;
    let timed = UniqueHold::For(Duration::from_secs(10));
    for hold in [FINISHED, STARTED, timed] {
        for other_hold in [FINISHED, STARTED, timed] {
            let server = harness.server().await;
            let first = harness.start(&server, unique("key", hold)).await;
            server.fail(&first).await;
            harness.advance(Duration::from_secs(10)).await;
            let holder = add(&harness, other_hold).await;
            assert!(!holder.existing, "{hold:?}, then {other_hold:?}: free");
            let replies = harness.store.retry(&[first.id]).await.unwrap();
            assert_eq!(replies, [ControlReply::KeyHeld(holder.id)], "{hold:?}, then {other_hold:?}");
            server.done(&server.claim_one().await).await;
            harness.advance(Duration::from_secs(10)).await;
            assert_eq!(harness.store.retry(&[first.id]).await.unwrap(), [APPLIED], "{hold:?}, then {other_hold:?}");
            server.done(&server.claim_one().await).await;
        }
    }
}

pub(super) async fn a_child_whose_key_is_taken_is_not_retried_with_its_parent(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(NewTask { parents: vec![parent], ..unique("key", FINISHED) }).await;
    let grandchild = harness.add(child_of(&[child])).await;
    let sibling = harness.add(child_of(&[parent])).await;
    server.fail(&server.claim_one().await).await;
    harness.assert_state(grandchild, TaskState::Failed).await;
    let second = add(&harness, FINISHED).await;
    assert!(!second.existing);
    assert_eq!(harness.store.retry(&[parent]).await.unwrap(), [APPLIED]);
    harness.assert_state(sibling, TaskState::Waiting).await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, None));
    let error = record.error.unwrap();
    assert_eq!(error.error_type, "UniqueKeyHeld");
    assert!(error.message.contains(&second.id.to_string()), "{}", error.message);
    // Tasks that fell with it record it as their ancestor now.
    let record = harness.record(grandchild).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(child)));
    // Once the key is free, the task can be retried on its own, and tasks that fell with it are revived.
    for _ in 0..3 {
        server.done(&server.claim_one().await).await;
    }
    assert_eq!(harness.store.retry(&[child]).await.unwrap(), [APPLIED]);
    harness.assert_state(grandchild, TaskState::Waiting).await;
}

pub(super) async fn a_parked_task_whose_key_is_taken_stays_parked(harness: Harness) {
    let server = harness.server().await;
    let first = harness.start(&server, unique("key", STARTED)).await;
    server.finish(&first, Outcome::Parked { reason: "unknown".into() }).await;
    let second = add(&harness, STARTED).await;
    assert!(!second.existing, "its claim freed the key");
    assert_eq!(harness.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 0);
    harness.assert_waits(first.id, WaitReason::Parked).await;
    let claimed = server.claim_one().await;
    assert_eq!(claimed.id, second.id);
    // Free again: of two tasks that want it, one is released.
    server.finish(&claimed, Outcome::Parked { reason: "unknown".into() }).await;
    assert_eq!(harness.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 1);
    let released = server.claim_one().await;
    assert_eq!(harness.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 1);
    server.done(&released).await;
    server.done(&server.claim_one().await).await;
}

pub(super) async fn of_concurrent_adders_one_wins(harness: Harness) {
    let mut adders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let harness = harness.clone();
        adders.spawn(async move {
            // A batch around it, in both orders, so that two batches may wait for each other's keys.
            let (mut left, mut right) = (unique("left", FINISHED), unique("right", FINISHED));
            if left.id.0.as_u128().is_multiple_of(2) {
                std::mem::swap(&mut left, &mut right);
            }
            harness.store.add(&[left, task(), right]).await.unwrap()
        });
    }
    let answers = adders.join_all().await;
    let added = answers.iter().flatten().filter(|answer| !answer.existing).count();
    assert_eq!(added, 16 + 2, "each plain task, and one for each key");
    assert_eq!(harness.store.status().await.unwrap().by_state[1], 18);
}

pub(super) async fn a_purged_holder_frees_a_timed_key(harness: Harness) {
    harness.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(3_600));
    let server = harness.server().await;
    let claimed = harness.start(&server, unique("key", hold)).await;
    server.done(&claimed).await;
    harness.advance(Duration::from_secs(1)).await;
    assert_eq!(harness.store.purge(&[claimed.id]).await.unwrap(), 1);
    let added = add(&harness, hold).await;
    // Whether the key is held or free, the reply must name a task that exists.
    assert!(harness.exists(added.id).await);
}
