//! Cancel, stop and retry in every state: their replies and effects.

use std::time::Duration;

use taskyard_core::state::TaskState::{Cancelled, Doing, Done, Enqueued, Failed, Stopped, Waiting};
use taskyard_core::store::ControlReply::{Applied, NotFound, Refused, Requested};
use taskyard_core::store::{Outcome, TaskFilter, WriteReply};
use taskyard_core::{TaskId, TaskRecord, TaskState};

use super::{Harness, TestServer};
use crate::factory::{child_of, delayed, failure, task, tasks};

/// Creates a task in each state, in the order of [`TaskState::ALL`].
pub(super) async fn one_in_each(harness: &Harness, server: &TestServer) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for state in [Stopped, Done, Failed, Cancelled] {
        ids.push(harness.ended(server, state).await);
    }
    ids.insert(0, harness.add(delayed(Duration::from_secs(3_600))).await);
    ids.insert(1, harness.start(server, task()).await.id);
    ids.insert(1, harness.add(task()).await);
    for (id, state) in ids.iter().zip(TaskState::ALL) {
        harness.assert_state(*id, state).await;
    }
    ids
}

pub(super) async fn cancel_in_every_state(harness: Harness) {
    let server = harness.server().await;
    let ids = one_in_each(&harness, &server).await;
    let replies = harness.store.cancel(&ids).await.unwrap();
    let expected = [
        Applied(Cancelled),
        Applied(Cancelled),
        Requested,
        Applied(Cancelled),
        Refused(Done),
        Refused(Failed),
        Refused(Cancelled),
    ];
    assert_eq!(replies, expected);
    let after = [Cancelled, Cancelled, Doing, Cancelled, Done, Failed, Cancelled];
    for (id, state) in ids.iter().zip(after) {
        harness.assert_state(*id, state).await;
    }
    assert!(server.claim(10).await.is_empty(), "a cancelled task is not claimable");
}

pub(super) async fn stop_in_every_state(harness: Harness) {
    let server = harness.server().await;
    let ids = one_in_each(&harness, &server).await;
    let before = harness.store.get(&ids).await.unwrap();
    let replies = harness.store.stop(&ids).await.unwrap();
    for (at, (reply, state)) in replies.iter().zip(TaskState::ALL).enumerate() {
        if state == Doing {
            assert_eq!(*reply, Requested);
        } else {
            assert_eq!(*reply, Refused(state));
            assert_eq!(harness.record(ids[at]).await, before[at].clone().unwrap(), "a refusal changes nothing");
        }
    }
}

pub(super) async fn retry_in_every_state(harness: Harness) {
    let server = harness.server().await;
    let ids = one_in_each(&harness, &server).await;
    let replies = harness.store.retry(&ids).await.unwrap();
    let expected = [
        Refused(Waiting),
        Refused(Enqueued),
        Refused(Doing),
        Applied(Enqueued),
        Refused(Done),
        Applied(Enqueued),
        Applied(Enqueued),
    ];
    assert_eq!(replies, expected);
    // The enqueued one and the three retried.
    assert_eq!(server.claim(10).await.len(), 4);
}

pub(super) async fn what_does_not_exist_is_not_found(harness: Harness) {
    let ids = [TaskId::generate(), TaskId::generate()];
    assert_eq!(harness.store.cancel(&ids).await.unwrap(), [NotFound; 2]);
    assert_eq!(harness.store.stop(&ids).await.unwrap(), [NotFound; 2]);
    assert_eq!(harness.store.retry(&ids).await.unwrap(), [NotFound; 2]);
    assert!(harness.store.cancel(&[]).await.unwrap().is_empty());
}

pub(super) async fn answers_come_in_the_order_asked(harness: Harness) {
    let server = harness.server().await;
    let done = harness.ended(&server, Done).await;
    let waiting = harness.add(delayed(Duration::from_secs(60))).await;
    let stranger = TaskId::generate();
    let enqueued = harness.add(task()).await;
    let replies = harness.store.cancel(&[stranger, enqueued, done, waiting]).await.unwrap();
    assert_eq!(replies, [NotFound, Applied(Cancelled), Refused(Done), Applied(Cancelled)]);
}

pub(super) async fn why_it_was_cancelled_is_kept_until_a_retry(harness: Harness) {
    let server = harness.server().await;
    let ids = one_in_each(&harness, &server).await;
    let why = "the customer's \u{1f600} 'order' is\nno more";
    let replies = harness.store.cancel_because(&ids, Some(why)).await.unwrap();
    let reason = |record: TaskRecord| record.cancel_reason;
    for (id, reply) in ids.iter().zip(&replies) {
        let expected = matches!(reply, Applied(_) | Requested).then(|| why.to_owned());
        assert_eq!(reason(harness.record(*id).await), expected, "{reply:?}");
    }
    let listed = harness.store.list(&TaskFilter { states: vec![Cancelled], ..TaskFilter::default() }).await.unwrap();
    // One of them had been cancelled before, without a reason.
    assert_eq!(listed.iter().filter(|record| record.cancel_reason.as_deref() == Some(why)).count(), listed.len() - 1);
    // A later cancel without a reason does not remove it; a retry does.
    let [waiting, _, doing, ..] = ids[..] else { unreachable!("there is one in each state") };
    harness.cancel(doing).await;
    assert_eq!(reason(harness.record(doing).await).as_deref(), Some(why));
    harness.retry(waiting).await;
    assert_eq!(reason(harness.record(waiting).await), None);
    harness.cancel(waiting).await;
    assert_eq!(reason(harness.record(waiting).await), None);
    // A success that comes first takes precedence, and nothing counts as cancelled then.
    let claimed = harness.start(&server, task()).await;
    harness.store.cancel_because(&[claimed.id], Some(why)).await.unwrap();
    server.done(&claimed).await;
    assert_eq!(reason(harness.record(claimed.id).await), None);
}

pub(super) async fn a_cancelled_task_says_when(harness: Harness) {
    let now = harness.freeze().await;
    let id = harness.add(task()).await;
    harness.cancel(id).await;
    let record = harness.record(id).await;
    assert_eq!((record.state, record.finished_at, record.fallen_from), (Cancelled, Some(now), None));
    assert_eq!((record.attempt, record.started_at), (0, None));
}

pub(super) async fn a_cancelled_wait_does_not_come_due(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let delayed = harness.add(delayed(Duration::from_secs(10))).await;
    let claimed = harness.start(&server, task()).await;
    server.fail_and_retry(&claimed, Duration::from_secs(10), failure("once")).await;
    harness.cancel(delayed).await;
    harness.cancel(claimed.id).await;
    harness.advance(Duration::from_secs(11)).await;
    let report = harness.promote().await;
    assert_eq!((report.enqueued, report.next_due), (0, None));
    harness.assert_state(delayed, Cancelled).await;
    harness.assert_state(claimed.id, Cancelled).await;
}

pub(super) async fn cancelling_a_parent_cancels_its_descendants(harness: Harness) {
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    let grandchild = harness.add(child_of(&[child])).await;
    assert_eq!(harness.cancel(parent).await, Applied(Cancelled));
    harness.cascade().await;
    for id in [child, grandchild] {
        let record = harness.record(id).await;
        assert_eq!((record.state, record.fallen_from), (Cancelled, Some(parent)));
        let error = record.error.expect("it says why");
        let expected = ("ParentTaskCancelled".into(), format!("parent task {parent} was cancelled"));
        assert_eq!((error.error_type, error.message), expected);
        assert!(record.finished_at.is_some());
    }
}

pub(super) async fn cancelling_a_stopped_parent_cancels_its_children(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.ended(&server, Stopped).await;
    let child = harness.add(child_of(&[parent])).await;
    harness.assert_state(child, Waiting).await;
    harness.cancel(parent).await;
    harness.assert_state(child, Cancelled).await;
}

pub(super) async fn cancelling_a_parent_and_its_child_in_one_call(harness: Harness) {
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    let replies = harness.store.cancel(&[parent, child]).await.unwrap();
    assert_eq!(replies[0], Applied(Cancelled));
    assert!(matches!(replies[1], Applied(Cancelled) | Refused(Cancelled)), "{replies:?}");
    harness.assert_state(child, Cancelled).await;
}

pub(super) async fn thousands_are_cancelled_in_one_call(harness: Harness) {
    let ids = harness.add_many(&tasks(3_000)).await;
    let replies = harness.store.cancel(&ids).await.unwrap();
    assert!(replies.iter().all(|reply| *reply == Applied(Cancelled)));
    assert_eq!(harness.count(&ids, Cancelled).await, 3_000);
}

pub(super) async fn a_claim_and_a_cancel_at_once_agree(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..25 {
        let id = harness.add(task()).await;
        let (reply, claimed) = tokio::join!(harness.cancel(id), server.claim(1));
        match reply {
            Applied(state) => {
                assert_eq!(state, Cancelled);
                assert!(claimed.is_empty(), "cancelled and claimed");
                harness.assert_state(id, Cancelled).await;
            }
            Requested => {
                let reply = server.finish(&claimed[0], Outcome::Interrupted).await;
                assert_eq!(reply, WriteReply::Applied(Cancelled));
            }
            other => panic!("{other:?}"),
        }
    }
}
