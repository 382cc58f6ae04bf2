//! Bodies in the calling process.

use std::sync::Arc;
use std::time::Duration;

use taskyard_core::{NewTask, TaskRef, TaskState};
use taskyard_server::{drain, run_inline};

use crate::bodies::{Stage, registry};
use crate::world::World;

#[tokio::test]
async fn one_body_runs_without_a_database() {
    let stage = Stage::default();
    let registry = Arc::new(registry(&stage));
    let run = async |kind: &str, args: &str| {
        let payload = format!(r#"{{"args":{args}}}"#).into_bytes();
        run_inline(&registry, &NewTask::new(kind, payload)).await
    };
    assert_eq!(run("echo", "[[1,2]]").await.unwrap(), b"[1,2]");
    assert_eq!(run("current_blocking", "[]").await.unwrap(), b"true");
    assert_eq!(run("fail", "[]").await.unwrap_err().error_type(), "Boom");
    assert_eq!(run("panic", "[]").await.unwrap_err().message(), "no way 2");
    assert_eq!(run("bad_values", "[]").await.unwrap(), b"[true,true,true,true]");
    assert_eq!(run("nothing", "[]").await.unwrap_err().error_type(), "UnknownKind");
}

#[tokio::test]
async fn a_drain_runs_all_that_is_runnable_and_returns() {
    let world = World::new().await;
    let parents: Vec<TaskRef<i64>> = (1..=3_i64).map(|n| world.add("echo", &(n,), |call| call)).collect();
    let child: TaskRef<i64> = world.add("parents", &(), |call| call.parents(&parents));
    let adds: TaskRef<i64> = world.add("adds", &(), |call| call);
    let blocking: TaskRef<bool> = world.add("current_blocking", &(), |call| call);
    let later: TaskRef<i64> = world.add("echo", &(9,), |call| call.delay(Duration::from_secs(3_600)));
    let unknown: TaskRef<i64> = world.add("nobody", &(), |call| call);
    let ran = drain(world.store.clone(), world.client.clone(), registry(&world.stage)).await.unwrap();
    assert_eq!(ran, 7);
    assert_eq!(child.wait().await.unwrap(), 6);
    assert_eq!(adds.wait().await.unwrap(), 42);
    assert!(blocking.wait().await.unwrap());
    assert_eq!(world.record(&later).await.state, TaskState::Waiting);
    assert!(world.record(&unknown).await.waiting_for.unwrap().contains("nobody"));
    assert!(world.store.servers().await.unwrap().iter().all(|server| !server.is_running));
}
