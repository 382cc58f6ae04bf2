//! Bodies that wait for other tasks release their concurrency slots to them.

use std::time::Duration;

use taskyard_core::{Error, TaskRef};

use crate::world::{World, eventually, within};

#[tokio::test]
async fn nested_waits_never_take_all_places() {
    let world = World::new().await;
    let server = world.server(|config| (config.max_workers, config.concurrency) = (1, 1)).await;
    let chain: TaskRef<u64> = world.add("nest", &(30, 1), |call| call);
    assert_eq!(within("a chain of waits", chain.wait()).await.unwrap(), 31);
    let tree: TaskRef<u64> = world.add("nest", &(4, 4), |call| call);
    assert_eq!(within("a tree of waits", tree.wait()).await.unwrap(), 341);
    let threads: TaskRef<u64> = world.add("nest_blocking", &(30,), |call| call);
    assert_eq!(within("a chain of threads that wait", threads.wait()).await.unwrap(), 31);
    // Released slots were re-acquired: their number is unchanged.
    world.tasks_run_one_by_one().await;
    eventually("nothing runs", || async { server.status().tasks_running == 0 }).await;
}

#[tokio::test]
async fn one_that_waits_is_cancelled_timed_out_and_stopped_like_any_other() {
    let world = World::new().await;
    let server = world.server(|config| (config.max_workers, config.concurrency) = (1, 1)).await;
    for kind in ["nest_hold", "nest_hold_blocking"] {
        let late: TaskRef<u64> = world.add(kind, &(), |call| call.timeout(Duration::from_millis(300)).max_retries(0));
        let error = within("its time limit", late.wait()).await.unwrap_err();
        assert!(matches!(error, Error::TaskFailed { error_type, .. } if error_type == "TimeoutError"));
    }
    let asked: TaskRef<u64> = world.add("nest_hold", &(), |call| call);
    eventually("it waits", || async { world.stage.count("waits") >= 3 }).await;
    asked.cancel().await.unwrap();
    assert!(matches!(within("its end", asked.wait()).await, Err(Error::TaskCancelled(_))));
    world.stage.open();
    // The slot is not lost.
    let after: TaskRef<u64> = world.add("nest", &(5, 2), |call| call);
    assert_eq!(within("another", after.wait()).await.unwrap(), 63);
    server.stop();
    within("the server's end", server.wait()).await;
}
