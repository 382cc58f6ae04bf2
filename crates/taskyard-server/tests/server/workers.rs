//! Workers are started with the load and end when idle; settings change while the server runs; thousands of tasks run
//! once each.

use std::time::Duration;

use taskyard_core::{TaskRef, TaskState};

use crate::world::{World, eventually, within};

#[tokio::test]
async fn workers_start_with_the_load_and_leave_when_idle() {
    let world = World::new().await;
    let server = world
        .server(|config| {
            config.max_workers = 3;
            config.concurrency = 2;
            config.worker_idle_timeout = Duration::from_millis(50);
        })
        .await;
    assert_eq!(server.status().workers_active + server.status().workers_idle, 0);
    let tasks: Vec<TaskRef<u32>> = (0..10).map(|_| world.add("hold", &(), |call| call)).collect();
    world.stage.seen("hold", 6).await;
    let status = server.status();
    assert_eq!((status.workers_active, status.tasks_running), (3, 6));
    world.stage.open();
    for task in &tasks {
        within("all", task.wait()).await.unwrap();
    }
    eventually("idle workers leave", async || server.status().workers_idle + server.status().workers_active == 0).await;
    let next: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    within("a worker starts again", next.wait()).await.unwrap();
}

#[tokio::test]
async fn settings_change_while_it_runs() {
    let world = World::new().await;
    let server = world
        .server(|config| {
            config.max_workers = 1;
            config.concurrency = 1;
        })
        .await;
    let tasks: Vec<TaskRef<u32>> = (0..4).map(|_| world.add("hold", &(), |call| call)).collect();
    world.stage.seen("hold", 1).await;
    assert_eq!(server.status().tasks_running, 1);
    server.settings().update(|config| config.max_workers = 2);
    world.stage.seen("hold", 2).await;
    assert_eq!(server.status().tasks_running, 2);
    world.stage.open();
    for task in &tasks {
        within("all", task.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn only_named_queues_are_served() {
    let world = World::new().await;
    let _server = world.server(|config| config.queues = Some(vec!["mail".into()])).await;
    let other: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    let mail: TaskRef<i64> = world.add("echo", &(2,), |call| call.queue("mail"));
    assert_eq!(within("its queue", mail.wait()).await.unwrap(), 2);
    assert_eq!(world.record(&other).await.state, TaskState::Enqueued);
    // Set apart, so that tasks in other queues cost its claims nothing.
    let names = async || world.store.queues().await.unwrap().into_iter().map(|queue| queue.name).collect::<Vec<_>>();
    eventually("its queue is set apart", async || names().await == ["default", "mail"]).await;
}

#[tokio::test]
async fn a_limited_queue_runs_one_after_the_other() {
    let world = World::new().await;
    world.store.set_limit("narrow", Some(1)).await.unwrap();
    let server = world.server(|_| {}).await;
    let tasks: Vec<TaskRef<i64>> = (0..10).map(|n| world.add("echo", &(n,), |call| call.queue("narrow"))).collect();
    for task in &tasks {
        within("the limited queue", task.wait()).await.unwrap();
    }
    assert!(server.status().claims >= 10, "one at a time");
}

#[tokio::test]
async fn thousands_run_once_each_on_two_servers() {
    let world = World::new().await;
    let calls = (0..5_000_i64).map(|n| taskyard_core::client::Call::<i64>::new("echo", &(n,)));
    let tasks = world.client.add_tasks(calls).await.unwrap();
    let servers = [world.server(|_| {}).await, world.server(|_| {}).await];
    for task in &tasks {
        within("all", task.wait()).await.unwrap();
    }
    assert_eq!(world.stage.count("echo"), 5_000);
    eventually("all is written", async || servers.iter().all(|server| server.status().ends_unwritten == 0)).await;
    let done: u64 = servers.iter().map(|server| server.status().ended(TaskState::Done)).sum();
    assert_eq!(done, 5_000);
    for server in &servers {
        server.stop();
        within("the exit", server.wait()).await;
    }
}
