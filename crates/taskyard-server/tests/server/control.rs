//! Cancel and stop of running tasks, and kinds that are unknown to a server.

use taskyard_core::{Error, TaskRef, TaskState, WaitReason};
use taskyard_server::{Registry, Server};

use crate::bodies::registry;
use crate::world::{World, eventually, quick, within};

#[tokio::test]
async fn a_cancelled_async_body_is_really_interrupted() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    task.cancel();
    assert!(matches!(within("the cancel", task.wait()).await, Err(Error::TaskCancelled(_))));
    assert_eq!(world.stage.count("dropped"), 1);
    assert_eq!(world.record(&task).await.state, TaskState::Cancelled);
}

#[tokio::test]
async fn a_stopped_task_is_kept_and_can_be_retried() {
    let world = World::new().await;
    let _server = world.server(|_| {}).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    task.stop();
    assert!(matches!(within("the stop", task.wait()).await, Err(Error::TaskStopped(_))));
    world.stage.open();
    task.retry().await.unwrap();
    eventually("it runs again", async || world.record(&task).await.state == TaskState::Done).await;
    assert_eq!(world.record(&task).await.attempt, 2);
}

#[tokio::test]
async fn a_blocking_body_sees_the_cancel() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let task: TaskRef<()> = world.add("polite_blocking", &(), |call| call);
    world.stage.seen("polite", 1).await;
    task.cancel();
    assert!(matches!(within("the cancel", task.wait()).await, Err(Error::TaskCancelled(_))));
    assert_eq!(server.status().threads_abandoned, 0);
}

#[tokio::test]
async fn a_blocking_body_that_ignores_the_cancel_loses_its_thread() {
    let world = World::new().await;
    let server = world.server(|config| config.max_workers = 1).await;
    let task: TaskRef<String> = world.add("hold_blocking", &(), |call| call);
    world.stage.seen("hold_blocking", 1).await;
    task.cancel();
    assert!(matches!(within("the cancel", task.wait()).await, Err(Error::TaskCancelled(_))));
    assert_eq!(server.status().threads_abandoned, 1);
    let next: TaskRef<bool> = world.add("current_blocking", &(), |call| call);
    assert!(within("another thread", next.wait()).await.unwrap());
    world.stage.open();
    world.stage.seen("left", 1).await;
    eventually("the thread comes back", async || server.status().threads_abandoned == 0).await;
    assert_eq!(world.record(&task).await.state, TaskState::Cancelled);
}

#[tokio::test]
async fn an_unknown_kind_is_parked_until_a_server_knows_it() {
    let world = World::new().await;
    let ignorant = world.start(Registry::new(), quick()).await;
    let task: TaskRef<i64> = world.add("echo", &(5,), |call| call);
    eventually("it is parked", async || world.record(&task).await.wait_reason == Some(WaitReason::Parked)).await;
    let record = world.record(&task).await;
    assert!(record.waiting_for.unwrap().contains("kind `echo`"));
    assert_eq!(record.attempt, 0, "it was not charged");
    ignorant.stop();
    ignorant.wait().await;
    let began = std::time::Instant::now();
    let _server = world.server(|_| {}).await;
    assert_eq!(within("it is released", task.wait()).await.unwrap(), 5);
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
}

#[tokio::test]
async fn two_functions_of_one_kind_are_refused_at_the_start() {
    use taskyard_server::{Run, TaskDef};
    static ONE: TaskDef = TaskDef {
        kind: || "same",
        aliases: &[],
        names: &[],
        states: &[],
        run: Run::Async(|_| Box::pin(async { Ok(Vec::new()) })),
        location: "a.rs:1",
    };
    static TWO: TaskDef = TaskDef { location: "b.rs:2", ..ONE };
    let world = World::new().await;
    let registry = Registry::new().register(&ONE).register(&TWO);
    let error = Server::start(world.store.clone(), world.client.clone(), registry, quick()).await.unwrap_err();
    assert!(error.to_string().contains("a.rs:1"), "{error}");
    assert!(world.store.servers().await.unwrap().is_empty(), "it never entered");
}

#[tokio::test]
async fn a_database_that_cannot_be_entered_is_an_error() {
    let world = World::new().await;
    world.store.close().await;
    let started = Server::start(world.store.clone(), world.client.clone(), registry(&world.stage), quick()).await;
    assert!(matches!(started, Err(Error::ShutDown(_))), "{started:?}");
}
