//! A server that was declared dead although it is alive.

use taskyard_core::{TaskRef, TaskState};

use crate::world::{World, eventually, within};

#[tokio::test]
async fn a_server_declared_dead_drops_its_work_and_enters_anew() {
    let world = World::new().await;
    let server = world.server(|_| {}).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    let before = server.id();
    eventually("another server condemns it", async || {
        let beats = world.store.beats().await.unwrap();
        match beats.iter().find(|seen| seen.server == before && !seen.dead) {
            Some(seen) => world.store.rescue(before, seen.beat, true).await.unwrap().tasks > 0,
            None => true,
        }
    })
    .await;
    eventually("it has a new id", async || server.id() != before).await;
    world.stage.seen("dropped", 1).await;
    world.stage.seen("hold", 2).await;
    world.stage.open();
    assert_eq!(within("the second run", task.wait()).await.unwrap(), 2);
    assert_eq!(world.record(&task).await.server, Some(server.id()));
    assert_eq!(server.status().reborn, 1);
    assert_eq!(world.record(&task).await.state, TaskState::Done);
}
