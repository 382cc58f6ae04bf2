//! Bodies that take too long: async, blocking, and those that never yield.

use std::time::Duration;

use taskyard_core::{Error, RetryPolicy, TaskRef, TaskState};
use taskyard_server::ExitReason;

use crate::world::{World, eventually, within};

pub async fn times_out<T: serde::de::DeserializeOwned>(task: &TaskRef<T>) {
    match within("the timeout", task.wait()).await {
        Err(Error::TaskFailed { error_type, .. }) => assert_eq!(error_type, "TimeoutError"),
        Err(other) => panic!("another end: {other}"),
        Ok(_) => panic!("it is done"),
    }
}

#[tokio::test]
async fn an_async_body_is_dropped_at_its_timeout_and_retried() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let policy = RetryPolicy { backoff_ms: 1, max_retries: 1, ..RetryPolicy::default() };
    let limit = Duration::from_millis(50);
    let task: TaskRef<u32> = world.add("hold", &(), |call| call.retry(policy).max_retries(1).timeout(limit));
    times_out(&task).await;
    assert_eq!((world.stage.count("hold"), world.stage.count("dropped")), (2, 2));
    assert_eq!(world.record(&task).await.failures, 2);
}

#[tokio::test]
async fn a_blocking_body_that_overstays_loses_its_thread() {
    let world = World::new().await;
    let server = world.server(|config| config.max_workers = 1).await;
    let task: TaskRef<String> =
        world.add("hold_blocking", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    times_out(&task).await;
    assert_eq!(server.status().threads_abandoned, 1);
    let next: TaskRef<bool> = world.add("current_blocking", &(), |call| call);
    assert!(within("another thread", next.wait()).await.unwrap());
    world.stage.open();
    eventually("the thread comes back", async || server.status().threads_abandoned == 0).await;
    assert_eq!(world.record(&task).await.state, TaskState::Failed, "its late word does not count");
}

#[tokio::test]
async fn a_polite_blocking_body_ends_at_its_timeout() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let task: TaskRef<()> =
        world.add("polite_blocking", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    times_out(&task).await;
    assert_eq!(server.status().threads_abandoned, 0);
}

#[tokio::test]
async fn a_stuck_worker_does_not_hold_up_what_has_not_started() {
    let world = World::new().await;
    let _server = world.server(|config| config.max_workers = 2).await;
    let _stuck: TaskRef<String> = world.add("stuck", &(), |call| call.timeout(Duration::ZERO));
    world.stage.seen("stuck", 1).await;
    let tasks: Vec<TaskRef<i64>> = (0..50_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    for task in &tasks {
        within("the other worker", task.wait()).await.unwrap();
    }
    world.stage.open();
}

#[tokio::test]
async fn too_many_threads_given_up_end_the_server_for_its_supervisor() {
    let world = World::new().await;
    let server = world.server(|config| config.abandoned_max = 2).await;
    let limit = Duration::from_millis(50);
    let tasks: Vec<TaskRef<String>> = ["stuck", "hold_blocking"]
        .iter()
        .map(|kind| world.add(kind, &(), |call| call.max_retries(0).timeout(limit)))
        .collect();
    for task in &tasks {
        times_out(task).await;
    }
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.exit_code()), (ExitReason::Abandoned, 75));
    world.stage.open();
}
