//! Rows of the runnable range were deleted: a server restores them.

use std::collections::HashSet;

use taskyard_core::TaskRef;

use crate::world::{World, eventually, within};

#[tokio::test]
async fn a_server_puts_back_what_is_missing_and_runs_it() {
    let world = World::new().await;
    let tasks: Vec<TaskRef<i64>> = (0..50).map(|at| world.add("echo", &(at,), |call| call)).collect();
    for task in &tasks {
        task.stored().await.unwrap();
    }
    world.database.run("delete from ty_ready where order_number % 5 > 0").await;
    assert_eq!(world.store.status().await.unwrap().misplaced, 40);
    let _server = world.server(|_| {}).await;
    let mut results = HashSet::new();
    for task in &tasks {
        results.insert(within("its end", task.wait()).await.unwrap());
        assert_eq!(world.record(task).await.attempt, 1);
    }
    assert_eq!(results.len(), 50);
    eventually("nothing is missing", async || world.store.status().await.unwrap().misplaced == 0).await;
}
