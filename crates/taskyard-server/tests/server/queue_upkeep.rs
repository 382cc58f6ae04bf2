//! Ageing queues, and pruning of finished tasks beyond the retention, by a running server.

use std::time::Duration;

use taskyard_core::store::{Retention, Rows, TaskFilter, TestClock};
use taskyard_core::{TaskRef, TaskState};

use crate::world::{World, eventually, within};

/// Returns the rank of the only enqueued task.
async fn rank(world: &World) -> String {
    let table = if world.store.backend() == "sqlite" { "ty_ready" } else { "taskyard.ready" };
    let Rows { rows, .. } = world.store.query(&format!("select rank from {table}"), 10).await.unwrap();
    format!("{:?}", rows[0])
}

#[tokio::test]
async fn a_server_moves_up_what_has_stood_long() {
    let world = World::new().await;
    world.client.pause_queue("slow").await.unwrap();
    world.client.age_queue("slow", Some(Duration::from_secs(60))).await.unwrap();
    let low: TaskRef<i64> = world.add("echo", &(1,), |call| call.queue("slow"));
    low.stored().await.unwrap();
    let before = rank(&world).await;
    world.store.set_clock(TestClock::Offset(Duration::from_secs(600).as_micros() as i64)).await.unwrap();
    let server = world.server(|config| config.max_workers = 1).await;
    eventually("it has moved up", async || rank(&world).await != before).await;
    // The aged task precedes the one that is more urgent now, and its own priority is unchanged.
    let high: TaskRef<i64> = world.add("echo", &(2,), |call| call.queue("slow").priority(9));
    high.stored().await.unwrap();
    server.settings().update(|config| config.claim_max = 1);
    world.client.resume_queue("slow").await.unwrap();
    within("the first", low.wait()).await.unwrap();
    within("the second", high.wait()).await.unwrap();
    let (low, high) = (world.record(&low).await, world.record(&high).await);
    assert_eq!(low.priority, 0);
    assert!(low.started_at <= high.started_at, "{:?} {:?}", low.started_at, high.started_at);
}

#[tokio::test]
async fn a_server_keeps_no_more_than_it_is_told() {
    let world = World::new().await;
    let _server = world
        .server(|config| {
            config.prune_every = Duration::from_millis(50);
            config.retention = Retention { done_count: 3, failed_count: 2, ..Retention::default() };
        })
        .await;
    for n in 0..6_i64 {
        let done: TaskRef<i64> = world.add("echo", &(n,), |call| call);
        within("done", done.wait()).await.unwrap();
        let failed: TaskRef<i64> = world.add("fail", &(), |call| call.max_retries(0));
        within("failed", failed.outcome()).await.unwrap();
    }
    let count = async |state| {
        let filter = TaskFilter { states: vec![state], ..TaskFilter::default() };
        world.store.count(&filter).await.unwrap()
    };
    assert_eq!((count(TaskState::Done).await, count(TaskState::Failed).await), (6, 6), "they ended just now");
    world.store.set_clock(TestClock::Offset(Duration::from_secs(90).as_micros() as i64)).await.unwrap();
    eventually("the rest is gone", async || (count(TaskState::Done).await, count(TaskState::Failed).await) == (3, 2))
        .await;
}
