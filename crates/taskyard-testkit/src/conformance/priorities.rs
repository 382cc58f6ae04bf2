//! Changing the priority of a task that has not started: the replies, and the task's new position.

use std::time::Duration;

use taskyard_core::state::TaskState::{Cancelled, Enqueued, Waiting};
use taskyard_core::store::ControlReply::{Applied, NotFound, Refused, Requested};
use taskyard_core::store::Outcome;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::control::one_in_each;
use super::{Harness, TestServer};
use crate::factory::{delayed, in_queue, python, task, tasks};

async fn set(harness: &Harness, id: TaskId, priority: i32) {
    let replies = harness.store.set_priority(&[id], priority).await.unwrap();
    assert!(matches!(replies[..], [Applied(_)]), "{replies:?}");
    assert_eq!(harness.record(id).await.priority, priority);
}

async fn order(server: &TestServer, queue: Option<&str>) -> Vec<TaskId> {
    let claimed = match queue {
        Some(queue) => server.claim_queue(queue, 100).await,
        None => server.claim(100).await,
    };
    claimed.iter().map(|claimed| claimed.id).collect()
}

pub(super) async fn priority_in_every_state(harness: Harness) {
    let server = harness.server().await;
    let mut ids = one_in_each(&harness, &server).await;
    ids.push(TaskId::generate());
    let before = harness.store.get(&ids).await.unwrap();
    let replies = harness.store.set_priority(&ids, -7).await.unwrap();
    for (at, state) in TaskState::ALL.into_iter().enumerate() {
        let record = harness.record(ids[at]).await;
        if matches!(state, Waiting | Enqueued) {
            assert_eq!((replies[at], record.priority), (Applied(state), -7));
        } else {
            assert_eq!(replies[at], Refused(state));
            assert_eq!(record, before[at].clone().unwrap(), "a refusal changes nothing");
        }
    }
    assert_eq!(replies[7], NotFound);
    assert!(harness.store.set_priority(&[], 1).await.unwrap().is_empty());
}

pub(super) async fn a_new_priority_moves_the_place(harness: Harness) {
    let server = harness.server().await;
    let ids = harness.add_all(&tasks(5)).await;
    set(&harness, ids[3], 5).await;
    set(&harness, ids[1], 5).await;
    set(&harness, ids[0], -5).await;
    set(&harness, ids[2], i32::MAX).await;
    set(&harness, ids[4], i32::MIN).await;
    // Within one priority the order of addition, whenever the tasks got it.
    assert_eq!(order(&server, None).await, [ids[2], ids[1], ids[3], ids[0], ids[4]]);
}

pub(super) async fn a_new_priority_moves_within_every_lane(harness: Harness) {
    let server = harness.server().await;
    // Limited, paused and resumed, set apart, of the other runtime, alone.
    harness.store.set_limit("limited", Some(9)).await.unwrap();
    harness.store.set_paused("paused", true).await.unwrap();
    while harness.store.set_apart(&["apart".into()]).await.unwrap().more {}
    for queue in ["limited", "paused", "apart"] {
        let ids = harness.add_all(&[in_queue(queue), in_queue(queue)]).await;
        set(&harness, ids[1], 1).await;
        harness.store.set_paused(queue, false).await.unwrap();
        assert_eq!(order(&server, Some(queue)).await, [ids[1], ids[0]], "{queue}");
    }
    let ids = harness.add_all(&[python(), python()]).await;
    set(&harness, ids[1], 1).await;
    let claimed: Vec<TaskId> = server.claim_python(5).await.iter().map(|claimed| claimed.id).collect();
    assert_eq!(claimed, [ids[1], ids[0]]);
    let ids = harness.add_all(&tasks(2)).await;
    for claimed in server.claim(2).await {
        server.finish(&claimed, Outcome::Beside).await;
    }
    set(&harness, ids[1], 1).await;
    assert_eq!(server.claim_alone().await.unwrap().id, ids[1]);
    assert_eq!(server.claim_alone().await.unwrap().id, ids[0]);
}

pub(super) async fn a_waiting_task_starts_with_its_new_priority(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let first = harness.add(delayed(Duration::from_secs(10))).await;
    let later = harness.add(delayed(Duration::from_secs(10))).await;
    set(&harness, later, 3).await;
    harness.assert_state(later, Waiting).await;
    harness.advance(Duration::from_secs(10)).await;
    harness.promote().await;
    assert_eq!(order(&server, None).await, [later, first]);
}

pub(super) async fn a_claim_and_a_new_priority_at_once_agree(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..25 {
        let id = harness.add(task()).await;
        let ids = [id];
        let (replies, claimed) = tokio::join!(harness.store.set_priority(&ids, 4), server.claim(1));
        // A claim may skip a row that is just being moved; it is there for the next one.
        let claimed = if claimed.is_empty() { server.claim(1).await } else { claimed };
        assert_eq!(claimed[0].id, id);
        match replies.unwrap()[0] {
            Applied(Enqueued) => assert_eq!(harness.record(id).await.priority, 4),
            Refused(TaskState::Doing) => assert_eq!(harness.record(id).await.priority, 0),
            other => panic!("{other:?}"),
        }
        server.done(&claimed[0]).await;
    }
}

pub(super) async fn a_cancel_finds_a_moved_task(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..25 {
        let id = harness.add(NewTask { priority: 1, ..task() }).await;
        let ids = [id];
        let (moved, reply) = tokio::join!(harness.store.set_priority(&ids, 2), harness.cancel(id));
        assert!(matches!(moved.unwrap()[0], Applied(Enqueued) | Refused(Cancelled)));
        assert!(matches!(reply, Applied(Cancelled) | Requested));
        harness.assert_state(id, Cancelled).await;
    }
    assert!(server.claim(1).await.is_empty());
}
