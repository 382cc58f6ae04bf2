//! Worker threads: bodies that share one with a body that never yields.

use std::time::Duration;

use taskyard_core::{TaskRef, TaskState};

use crate::time_limits::times_out;
use crate::world::{World, eventually, within};

#[tokio::test]
async fn a_body_that_never_yields_loses_its_thread_and_blames_no_neighbour() {
    let world = World::new().await;
    let server = world.server(|config| config.max_workers = 1).await;
    let neighbour: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    let stuck: TaskRef<String> = world.add("stuck", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    times_out(&stuck).await;
    assert_eq!(server.status().threads_abandoned, 1);
    // The other body was released and starts again on the new thread.
    world.stage.seen("hold", 2).await;
    world.stage.open();
    assert_eq!(within("the neighbour", neighbour.wait()).await.unwrap(), 1, "its first run was not charged");
    eventually("the thread comes back", async || server.status().threads_abandoned == 0).await;
    assert_eq!(world.record(&stuck).await.state, TaskState::Failed);
    assert_eq!(world.record(&neighbour).await.state, TaskState::Done);
}
