//! Servers that vanish: others release their tasks, and the task that kills servers is identified.

use std::time::Duration;

use taskyard_core::{TaskRef, TaskState};

use crate::world::{World, eventually, within};

#[tokio::test]
async fn a_lost_servers_tasks_run_elsewhere() {
    let world = World::new().await;
    let lease = Duration::from_secs(1);
    let first = world.server(|config| config.lease = lease).await;
    let tasks: Vec<TaskRef<u32>> = (0..5).map(|_| world.add("hold", &(), |call| call)).collect();
    world.stage.seen("hold", 5).await;
    first.abort();
    within("the abort", first.wait()).await;
    world.stage.open();
    let second = world.server(|config| config.lease = lease).await;
    for task in &tasks {
        assert_eq!(within("the rescue", task.wait()).await.unwrap(), 2);
        let record = world.record(task).await;
        assert_eq!((record.lost, record.failures, record.crashes), (1, 0, 0));
    }
    assert_eq!(second.status().rescued, 5);
}

#[tokio::test]
async fn a_task_that_was_lost_three_times_runs_alone_and_its_crashes_are_counted() {
    let world = World::new().await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    for run in 1..=6 {
        let server = world.server(|config| config.lease = Duration::from_millis(600)).await;
        world.stage.seen("hold", run).await;
        let record = world.record(&task).await;
        assert_eq!(record.alone, run > 3, "in run {run}");
        server.abort();
        within("the abort", server.wait()).await;
    }
    let _server = world.server(|config| config.lease = Duration::from_millis(600)).await;
    eventually("it is a dead letter", async || world.record(&task).await.state == TaskState::Failed).await;
    let record = world.record(&task).await;
    assert_eq!((record.lost, record.crashes), (3, 3));
    assert_eq!(record.error.unwrap().message, "worker died 3 times");
}

#[tokio::test]
async fn a_task_that_must_run_alone_waits_for_the_others_and_they_for_it() {
    let world = World::new().await;
    let lonely: TaskRef<u32> = world.add("hold", &(), |call| call);
    for run in 1..=3 {
        let server = world.server(|config| config.lease = Duration::from_millis(600)).await;
        world.stage.seen("hold", run).await;
        server.abort();
        within("the abort", server.wait()).await;
    }
    let server = world.server(|config| config.lease = Duration::from_millis(600)).await;
    world.stage.seen("hold", 4).await;
    let other: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    other.stored().await.unwrap();
    assert_eq!(server.status().tasks_running, 1);
    assert_eq!(world.record(&other).await.state, TaskState::Enqueued);
    world.stage.open();
    assert_eq!(within("the lonely one", lonely.wait()).await.unwrap(), 4);
    assert_eq!(within("the other", other.wait()).await.unwrap(), 1);
}
