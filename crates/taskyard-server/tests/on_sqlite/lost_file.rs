//! The SQLite file is lost while a server runs.

use std::time::{Duration, Instant};

use taskyard_core::TaskRef;
use taskyard_server::{ExitReason, ServerExit};

use crate::world::{World, within};

/// Maximum time for the end of a server whose file is lost.
const BOUND: Duration = Duration::from_secs(10);

fn assert_lost(exit: &ServerExit, began: Instant) {
    assert_eq!((exit.reason, exit.exit_code()), (ExitReason::DatabaseLost, 75));
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_at_rest_ends_by_itself() {
    let world = World::new().await;
    // Heartbeats are too rare to detect it.
    let server = world
        .server(|config| {
            (config.heartbeat_interval, config.lease) = (Duration::from_secs(1_000), Duration::from_secs(4_000))
        })
        .await;
    world.database.lose();
    let began = Instant::now();
    assert_lost(&within("the exit", server.wait()).await, began);
}

#[tokio::test]
async fn a_server_gives_up_what_it_runs() {
    let world = World::new().await;
    let server = world.server(|config| config.shutdown_grace = Duration::from_secs(3_600)).await;
    let _held: TaskRef<u32> = world.add("hold", &(), |call| call);
    let _blocking: TaskRef<String> = world.add("hold_blocking", &(), |call| call);
    world.stage.seen("hold", 1).await;
    world.stage.seen("hold_blocking", 1).await;
    world.database.lose();
    let began = Instant::now();
    assert_lost(&within("the exit", server.wait()).await, began);
    assert_eq!(world.stage.count("dropped"), 1);
    world.stage.open();
}

#[tokio::test]
async fn a_server_that_was_stopping_ends_with_the_same_reason() {
    let world = World::new().await;
    let server = world.server(|config| config.shutdown_grace = Duration::from_secs(3_600)).await;
    let _held: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    server.stop();
    world.database.lose();
    let began = Instant::now();
    assert_lost(&within("the exit", server.wait()).await, began);
}
