//! Graceful stops, hastened stops, and a stop with a database that does not respond.

use std::time::{Duration, Instant};

use taskyard_core::{TaskRef, TaskState};
use taskyard_server::ExitReason;

use crate::world::{World, eventually, within};

#[tokio::test]
async fn what_runs_gets_the_grace_period_and_the_server_leaves() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    server.stop();
    let late: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    late.stored().await.unwrap();
    world.stage.open();
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.unwritten, exit.exit_code()), (ExitReason::Stopped, 0, 0));
    assert_eq!(world.record(&task).await.state, TaskState::Done);
    assert_eq!(world.record(&late).await.state, TaskState::Enqueued, "a stopping server claims nothing");
    assert!(world.store.servers().await.unwrap().iter().all(|server| !server.is_running));
}

#[tokio::test]
async fn what_overstays_the_grace_is_released_uncharged() {
    let world = World::new().await;
    let server = world.server(|config| config.shutdown_grace = Duration::from_millis(50)).await;
    let held: TaskRef<u32> = world.add("hold", &(), |call| call);
    let blocking: TaskRef<String> = world.add("hold_blocking", &(), |call| call);
    world.stage.seen("hold", 1).await;
    world.stage.seen("hold_blocking", 1).await;
    server.stop();
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.unwritten), (ExitReason::Stopped, 0));
    for task in [held.clone().typed::<()>(), blocking.typed()] {
        let record = world.record(&task).await;
        assert_eq!((record.state, record.attempt, record.lost), (TaskState::Enqueued, 0, 0));
    }
    world.stage.open();
    let _next = world.server(|_| {}).await;
    assert_eq!(within("the next server", held.wait()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_second_signal_cuts_the_grace_short() {
    let world = World::new().await;
    let server = world.server(|config| config.shutdown_grace = Duration::from_secs(3_600)).await;
    let _task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    server.stop();
    server.hasten();
    within("the exit", server.wait()).await;
    assert_eq!(world.stage.count("dropped"), 1);
}

#[tokio::test]
async fn the_exit_is_on_time_with_a_database_that_does_not_answer() {
    let world = World::new().await;
    let server = world.server(|config| config.shutdown_grace = Duration::from_millis(100)).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    // All writes wait from here on.
    let blocked = world.database.block().await;
    let began = Instant::now();
    server.stop();
    let exit = within("the exit", server.wait()).await;
    assert!(began.elapsed() < Duration::from_millis(2_100), "{:?}", began.elapsed());
    assert_eq!((exit.reason, exit.unwritten), (ExitReason::Stopped, 1));
    drop(blocked);
    // The end of the lease settles what could not be written.
    world.stage.open();
    let _next = world.server(|_| {}).await;
    within("the next server", task.wait()).await.unwrap();
}

#[tokio::test]
async fn work_goes_on_after_the_database_was_away() {
    let world = World::new().await;
    let server = world.server(|config| config.lease = Duration::from_secs(300)).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    let blocked = world.database.block().await;
    world.stage.open();
    eventually("the end waits for the database", async || server.status().ends_unwritten == 1).await;
    drop(blocked);
    assert_eq!(within("the end", task.wait()).await.unwrap(), 1);
    let next: TaskRef<i64> = world.add("echo", &(2,), |call| call);
    assert_eq!(within("the next", next.wait()).await.unwrap(), 2);
}
