//! Unique keys: while one is held, adding another task with it returns the existing one.

use std::time::Duration;

use taskyard_core::payload::references;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Added, ControlReply, Outcome};
use taskyard_core::task::{NewTask, UniqueHold};
use taskyard_core::{TaskId, TaskState, WaitReason};

use super::{TestServer, Yard};
use crate::factory::{child_of, failure, task, unique};

const APPLIED: ControlReply = ControlReply::Applied(TaskState::Enqueued);
const FINISHED: UniqueHold = UniqueHold::UntilFinished;
const STARTED: UniqueHold = UniqueHold::UntilStarted;

async fn add(yard: &Yard, hold: UniqueHold) -> Added {
    yard.store.add(&[unique("key", hold)]).await.unwrap()[0]
}

async fn assert_held_by(yard: &Yard, hold: UniqueHold, holder: TaskId) {
    let twin = unique("key", hold);
    let added = yard.store.add(std::slice::from_ref(&twin)).await.unwrap();
    assert_eq!(added, [Added { id: holder, existing: true }]);
    assert!(!yard.exists(twin.id).await, "the twin was not stored");
}

async fn assert_free(yard: &Yard, hold: UniqueHold) {
    assert!(!add(yard, hold).await.existing, "the key is free");
}

pub(super) async fn a_held_key_gives_the_existing_task(yard: Yard) {
    let first = add(&yard, FINISHED).await;
    assert!(!first.existing);
    assert_held_by(&yard, FINISHED, first.id).await;
    assert!(!yard.store.add(&[unique("other", FINISHED)]).await.unwrap()[0].existing, "another key is free");
    assert_eq!(yard.store.status().await.unwrap().by_state[1], 2);
}

pub(super) async fn twins_in_one_batch_are_one_task(yard: Yard) {
    let (first, second, plain) = (unique("key", FINISHED), unique("key", FINISHED), task());
    let added = yard.store.add(&[first.clone(), plain.clone(), second.clone()]).await.unwrap();
    let expected =
        [(first.id, false), (plain.id, false), (first.id, true)].map(|(id, existing)| Added { id, existing });
    assert_eq!(added, expected);
    assert!(!yard.exists(second.id).await);
}

pub(super) async fn until_finished_holds_through_run_and_retry(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", FINISHED)).await;
    assert_held_by(&yard, FINISHED, claimed.id).await;
    server.fail_and_retry(&claimed, Duration::from_secs(5), failure("once")).await;
    assert_held_by(&yard, FINISHED, claimed.id).await;
    yard.advance(Duration::from_secs(5)).await;
    yard.promote().await;
    assert_held_by(&yard, FINISHED, claimed.id).await;
    server.done(&server.claim_one().await).await;
    assert_free(&yard, FINISHED).await;
}

async fn end(yard: &Yard, server: &TestServer, state: TaskState) {
    let claimed = server.claim_one().await;
    match state {
        TaskState::Failed => server.fail(&claimed).await,
        TaskState::Cancelled => {
            server.finish(&claimed, Outcome::Interrupted).await;
        }
        _ => {
            yard.stop(claimed.id).await;
            server.finish(&claimed, Outcome::Interrupted).await;
        }
    }
    yard.assert_state(claimed.id, state).await;
}

pub(super) async fn every_final_state_frees_it(yard: Yard) {
    let server = yard.server().await;
    for state in [TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        assert_free(&yard, FINISHED).await;
        end(&yard, &server, state).await;
    }
    let waiting = add(&yard, FINISHED).await;
    assert!(!waiting.existing);
    yard.cancel(waiting.id).await;
    assert_free(&yard, FINISHED).await;
}

pub(super) async fn a_fall_with_the_parent_frees_it(yard: Yard) {
    let server = yard.server().await;
    let parent = yard.add(task()).await;
    let child = taskyard_core::NewTask { parents: vec![parent], ..unique("key", FINISHED) };
    let child = yard.add(child).await;
    assert_held_by(&yard, FINISHED, child).await;
    server.fail(&server.claim_one().await).await;
    yard.assert_state(child, TaskState::Failed).await;
    assert_free(&yard, FINISHED).await;
}

pub(super) async fn until_started_is_free_once_it_runs(yard: Yard) {
    let server = yard.server().await;
    let first = add(&yard, STARTED).await;
    assert_held_by(&yard, STARTED, first.id).await;
    let claimed = server.claim_one().await;
    let second = add(&yard, STARTED).await;
    assert!(!second.existing, "the first one runs");
    // The end of the first task must not free the key of the second.
    server.done(&claimed).await;
    assert_held_by(&yard, STARTED, second.id).await;
}

pub(super) async fn until_started_is_free_once_it_is_cancelled(yard: Yard) {
    let first = add(&yard, STARTED).await;
    yard.cancel(first.id).await;
    assert_free(&yard, STARTED).await;
}

pub(super) async fn for_a_time_holds_whatever_becomes_of_it(yard: Yard) {
    yard.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(60));
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", hold)).await;
    server.done(&claimed).await;
    yard.advance(Duration::from_secs(59)).await;
    assert_held_by(&yard, hold, claimed.id).await;
    yard.advance(Duration::from_secs(1)).await;
    let second = add(&yard, hold).await;
    assert!(!second.existing, "free at its very end");
    yard.advance(Duration::from_secs(59)).await;
    assert_held_by(&yard, hold, second.id).await;
}

pub(super) async fn the_existing_one_stands_in_as_a_parent(yard: Yard) {
    let server = yard.server().await;
    let existing = add(&yard, FINISHED).await.id;
    let twin = unique("key", FINISHED);
    let child = child_of(&[twin.id]);
    let added = yard.store.add(&[twin.clone(), child.clone()]).await.unwrap();
    assert_eq!(added[0], Added { id: existing, existing: true });
    assert_eq!(added[1], Added { id: child.id, existing: false });
    assert_eq!(yard.record(child.id).await.parents, [existing]);
    yard.assert_waits(child.id, WaitReason::Parents).await;
    server.done(&server.claim_one().await).await;
    yard.assert_state(child.id, TaskState::Enqueued).await;
}

pub(super) async fn the_existing_one_gives_the_result_that_is_an_argument(yard: Yard) {
    let [first, twin] = [unique("key", FINISHED), unique("key", FINISHED)];
    let refer = |id| format!("{{\"args\":[{}],\"kwargs\":{{}}}}", references::reference(id)).into_bytes();
    let child = NewTask { parents: vec![twin.id], payload: refer(twin.id), ..task() };
    yard.store.add(&[first.clone(), twin, child.clone()]).await.unwrap();
    let record = yard.record(child.id).await;
    assert_eq!((record.parents, record.payload), (vec![first.id], refer(first.id)));
}

pub(super) async fn a_retry_takes_the_key_again(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", FINISHED)).await;
    server.fail(&claimed).await;
    yard.retry(claimed.id).await;
    assert_held_by(&yard, FINISHED, claimed.id).await;
}

pub(super) async fn a_retry_is_refused_while_another_task_holds_the_key(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", FINISHED)).await;
    server.fail(&claimed).await;
    let other = yard.start(&server, unique("other", FINISHED)).await;
    server.fail(&other).await;
    let second = yard.start(&server, unique("key", FINISHED)).await;
    let before = yard.record(claimed.id).await;
    // Of several tasks the others are retried all the same.
    let replies = yard.store.retry(&[claimed.id, other.id]).await.unwrap();
    assert_eq!(replies, [ControlReply::KeyHeld(second.id), APPLIED]);
    assert_eq!(yard.record(claimed.id).await, before, "nothing was changed");
    // Once the holder has ended, the task is retried and holds the key again.
    server.done(&second).await;
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    assert_held_by(&yard, FINISHED, claimed.id).await;
}

pub(super) async fn a_retry_is_refused_while_another_task_is_to_start_with_the_key(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", STARTED)).await;
    server.fail(&claimed).await;
    let second = add(&yard, STARTED).await;
    assert!(!second.existing);
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [ControlReply::KeyHeld(second.id)]);
    assert_eq!(server.claim_one().await.id, second.id);
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    assert_held_by(&yard, STARTED, claimed.id).await;
}

pub(super) async fn a_retry_minds_a_key_that_is_held_for_a_time(yard: Yard) {
    yard.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(10));
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", hold)).await;
    server.fail(&claimed).await;
    // The task holds the key itself.
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
    server.fail(&server.claim_one().await).await;
    yard.advance(Duration::from_secs(10)).await;
    let second = add(&yard, hold).await;
    assert!(!second.existing);
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [ControlReply::KeyHeld(second.id)]);
    yard.advance(Duration::from_secs(10)).await;
    assert_eq!(yard.store.retry(&[claimed.id]).await.unwrap(), [APPLIED]);
}

pub(super) async fn a_retry_is_refused_however_either_task_holds_the_key(yard: Yard) {
    yard.freeze().await;
    let timed = UniqueHold::For(Duration::from_secs(10));
    for hold in [FINISHED, STARTED, timed] {
        for other_hold in [FINISHED, STARTED, timed] {
            let server = yard.server().await;
            let first = yard.start(&server, unique("key", hold)).await;
            server.fail(&first).await;
            yard.advance(Duration::from_secs(10)).await;
            let holder = add(&yard, other_hold).await;
            assert!(!holder.existing, "{hold:?}, then {other_hold:?}: free");
            let replies = yard.store.retry(&[first.id]).await.unwrap();
            assert_eq!(replies, [ControlReply::KeyHeld(holder.id)], "{hold:?}, then {other_hold:?}");
            server.done(&server.claim_one().await).await;
            yard.advance(Duration::from_secs(10)).await;
            assert_eq!(yard.store.retry(&[first.id]).await.unwrap(), [APPLIED], "{hold:?}, then {other_hold:?}");
            server.done(&server.claim_one().await).await;
        }
    }
}

pub(super) async fn a_child_whose_key_is_taken_is_not_retried_with_its_parent(yard: Yard) {
    let server = yard.server().await;
    let parent = yard.add(task()).await;
    let child = yard.add(NewTask { parents: vec![parent], ..unique("key", FINISHED) }).await;
    let grandchild = yard.add(child_of(&[child])).await;
    let sibling = yard.add(child_of(&[parent])).await;
    server.fail(&server.claim_one().await).await;
    yard.assert_state(grandchild, TaskState::Failed).await;
    let second = add(&yard, FINISHED).await;
    assert!(!second.existing);
    assert_eq!(yard.store.retry(&[parent]).await.unwrap(), [APPLIED]);
    yard.assert_state(sibling, TaskState::Waiting).await;
    let record = yard.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, None));
    let error = record.error.unwrap();
    assert_eq!(error.error_type, "UniqueKeyHeld");
    assert!(error.message.contains(&second.id.to_string()), "{}", error.message);
    // Tasks that fell with it record it as their ancestor now.
    let record = yard.record(grandchild).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(child)));
    // Once the key is free, the task can be retried on its own, and tasks that fell with it are revived.
    for _ in 0..3 {
        server.done(&server.claim_one().await).await;
    }
    assert_eq!(yard.store.retry(&[child]).await.unwrap(), [APPLIED]);
    yard.assert_state(grandchild, TaskState::Waiting).await;
}

pub(super) async fn a_parked_task_whose_key_is_taken_stays_parked(yard: Yard) {
    let server = yard.server().await;
    let first = yard.start(&server, unique("key", STARTED)).await;
    server.finish(&first, Outcome::Parked { reason: "unknown".into() }).await;
    let second = add(&yard, STARTED).await;
    assert!(!second.existing, "its claim freed the key");
    assert_eq!(yard.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 0);
    yard.assert_waits(first.id, WaitReason::Parked).await;
    let claimed = server.claim_one().await;
    assert_eq!(claimed.id, second.id);
    // Free again: of two tasks that want it, one is released.
    server.finish(&claimed, Outcome::Parked { reason: "unknown".into() }).await;
    assert_eq!(yard.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 1);
    let released = server.claim_one().await;
    assert_eq!(yard.store.unpark(Runtime::Rust, "unknown").await.unwrap().tasks, 1);
    server.done(&released).await;
    server.done(&server.claim_one().await).await;
}

pub(super) async fn of_concurrent_adders_one_wins(yard: Yard) {
    let mut adders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let yard = yard.clone();
        adders.spawn(async move {
            // A batch around it, in both orders, so that two batches may wait for each other's keys.
            let (mut left, mut right) = (unique("left", FINISHED), unique("right", FINISHED));
            if left.id.0.as_u128().is_multiple_of(2) {
                std::mem::swap(&mut left, &mut right);
            }
            yard.store.add(&[left, task(), right]).await.unwrap()
        });
    }
    let answers = adders.join_all().await;
    let added = answers.iter().flatten().filter(|answer| !answer.existing).count();
    assert_eq!(added, 16 + 2, "each plain task, and one for each key");
    assert_eq!(yard.store.status().await.unwrap().by_state[1], 18);
}

pub(super) async fn a_purged_holder_frees_a_timed_key(yard: Yard) {
    yard.freeze().await;
    let hold = UniqueHold::For(Duration::from_secs(3_600));
    let server = yard.server().await;
    let claimed = yard.start(&server, unique("key", hold)).await;
    server.done(&claimed).await;
    yard.advance(Duration::from_secs(1)).await;
    assert_eq!(yard.store.purge(&[claimed.id]).await.unwrap(), 1);
    let added = add(&yard, hold).await;
    // Whether the key is held or free, the reply must name a task that exists.
    assert!(yard.exists(added.id).await);
}
