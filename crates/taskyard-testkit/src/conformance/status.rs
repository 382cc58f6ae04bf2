//! Statistics of the whole database.

use std::time::Duration;

use taskyard_core::TaskState;
use taskyard_core::store::{Outcome, StoreStatus};

use super::Harness;
use crate::factory::{LEASE, delayed, in_queue, task, tasks};

pub(super) async fn an_empty_database(harness: Harness) {
    assert_eq!(harness.store.status().await.unwrap(), StoreStatus::default());
    harness.store.check_writes().await.unwrap();
    assert_eq!(harness.store.status().await.unwrap(), StoreStatus::default(), "what was tried is not there");
    assert!(
        harness.store.queues().await.unwrap().iter().all(|queue| queue.enqueued + queue.waiting + queue.doing == 0)
    );
}

pub(super) async fn states_are_counted(harness: Harness) {
    let server = harness.server().await;
    for (count, state) in
        [TaskState::Stopped, TaskState::Done, TaskState::Failed, TaskState::Cancelled].iter().enumerate()
    {
        for _ in 0..=count {
            harness.ended(&server, *state).await;
        }
    }
    harness.add_all(&tasks(5)).await;
    server.claim(2).await;
    harness.add(delayed(Duration::from_secs(60))).await;
    assert_eq!(harness.store.status().await.unwrap().by_state, [1, 3, 2, 1, 2, 3, 4]);
}

pub(super) async fn the_oldest_enqueued_ages(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    assert_eq!(harness.store.status().await.unwrap().oldest_enqueued, None);
    harness.add(task()).await;
    harness.advance(Duration::from_secs(10)).await;
    harness.add(task()).await;
    harness.advance(Duration::from_secs(5)).await;
    assert_eq!(harness.store.status().await.unwrap().oldest_enqueued, Some(Duration::from_secs(15)));
    server.claim_one().await;
    assert_eq!(harness.store.status().await.unwrap().oldest_enqueued, Some(Duration::from_secs(5)));
}

/// A pause is intended, not a sign that the servers do not keep up.
pub(super) async fn a_paused_queue_does_not_age(harness: Harness) {
    harness.freeze().await;
    harness.add(in_queue("mails")).await;
    harness.store.set_paused("mails", true).await.unwrap();
    harness.advance(Duration::from_secs(10)).await;
    assert_eq!(harness.store.status().await.unwrap().oldest_enqueued, None);
    harness.add(task()).await;
    harness.advance(Duration::from_secs(1)).await;
    assert_eq!(harness.store.status().await.unwrap().oldest_enqueued, Some(Duration::from_secs(1)));
}

pub(super) async fn servers_and_parked_are_counted(harness: Harness) {
    harness.freeze().await;
    let first = harness.server().await;
    harness.server().await;
    let claimed = harness.start(&first, task()).await;
    first.finish(&claimed, Outcome::Parked { reason: "kind `x`".into() }).await;
    let status = harness.store.status().await.unwrap();
    assert_eq!((status.servers_alive, status.parked), (2, 1));
    harness.advance(LEASE - Duration::from_secs(1)).await;
    first.beat().await;
    harness.advance(Duration::from_secs(2)).await;
    assert_eq!(harness.store.status().await.unwrap().servers_alive, 1);
    harness.store.server_leave(first.id).await.unwrap();
    assert_eq!(harness.store.status().await.unwrap().servers_alive, 0);
}
