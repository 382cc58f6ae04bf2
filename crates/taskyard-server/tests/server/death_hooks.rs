//! Dead-letter hooks: of this process, and of child processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskRecord, TaskRef, TaskState};
use taskyard_server::{Registry, ServerConfig};

use crate::bodies::registry;
use crate::child;
use crate::world::{TestServer, World, eventually, quick, within};

type Seen = Arc<Mutex<Vec<(String, TaskRecord)>>>;

fn seeing(registry: Registry, name: &'static str, seen: &Seen) -> Registry {
    let seen = seen.clone();
    registry.on_death(move |dead| {
        seen.lock().unwrap().push((name.to_owned(), dead));
        std::future::ready(Ok::<(), String>(()))
    })
}

async fn server(world: &World, registry: Registry, change: impl FnOnce(&mut ServerConfig)) -> TestServer {
    let mut config = quick();
    change(&mut config);
    world.start(registry, config).await
}

fn fails(world: &World) -> TaskRef<i64> {
    world.add("fail", &("no",), |call| call.max_retries(0))
}

fn fails_in_child(world: &World) -> TaskRef<i64> {
    world.add("raise", &(0,), |call| call.runtime(Runtime::Python).max_retries(0))
}

#[tokio::test]
async fn each_hook_is_called_once_in_order_whatever_the_others_do() {
    let world = World::new().await;
    let seen = Seen::default();
    let hooks = seeing(registry(&world.stage), "first", &seen)
        .on_death(async |_| Err::<(), _>("this hook fails"))
        .on_death(|_| -> std::future::Ready<Result<(), String>> { panic!("this one panics at once") })
        .on_death(async |_| -> Result<(), String> { panic!("and this one later") });
    let server = server(&world, seeing(hooks, "last", &seen), |_| {}).await;
    let (one, two) = (fails(&world), fails(&world));
    let done: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    assert_eq!(within("it is done", done.wait()).await.unwrap(), 1);
    eventually("all are told", async || seen.lock().unwrap().len() == 4).await;
    server.stop();
    within("the exit", server.wait()).await;
    let seen = seen.lock().unwrap();
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["first", "last", "first", "last"]);
    let mut ids: Vec<TaskId> = seen.iter().step_by(2).map(|(_, dead)| dead.id).collect();
    ids.sort_unstable();
    let mut expected = [one.id(), two.id()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(seen.iter().all(|(_, dead)| dead.error.is_some()), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_stops_still_tells_what_died() {
    let world = World::new().await;
    let seen = Seen::default();
    let server = server(&world, seeing(registry(&world.stage), "hook", &seen), |_| {}).await;
    let tasks: Vec<_> = (0..20).map(|_| fails(&world)).collect();
    for task in &tasks {
        within("its end", task.outcome()).await.unwrap();
    }
    server.stop();
    within("the exit", server.wait()).await;
    assert_eq!(seen.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn of_two_servers_one_tells() {
    let world = World::new().await;
    let seen = Seen::default();
    let (one, two) = (
        server(&world, seeing(registry(&world.stage), "one", &seen), |_| {}).await,
        server(&world, seeing(registry(&world.stage), "two", &seen), |_| {}).await,
    );
    for task in (0..50).map(|_| fails(&world)).collect::<Vec<_>>() {
        within("its end", task.outcome()).await.unwrap();
    }
    for server in [one, two] {
        server.stop();
        within("the exit", server.wait()).await;
    }
    let mut ids: Vec<TaskId> = seen.lock().unwrap().iter().map(|(_, dead)| dead.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((seen.lock().unwrap().len(), ids.len()), (50, 50));
}

/// Dead letters that it had taken are available as soon as it counts as dead.
#[tokio::test]
async fn what_a_killed_server_was_telling_is_told_by_another() {
    let world = World::new().await;
    let (seen, stage) = (Seen::default(), world.stage.clone());
    let hangs = registry(&world.stage).on_death(move |_| {
        stage.note("hangs");
        std::future::pending::<Result<(), String>>()
    });
    let first = server(&world, hangs, |_| {}).await;
    let dead = fails(&world);
    world.stage.seen("hangs", 1).await;
    first.abort();
    within("the exit", first.wait()).await;
    let _second = server(&world, seeing(registry(&world.stage), "second", &seen), |_| {}).await;
    eventually("it is told", async || !seen.lock().unwrap().is_empty()).await;
    assert_eq!(seen.lock().unwrap()[0].1.id, dead.id());
}

#[tokio::test]
async fn draining_in_a_test_tells_too() {
    let world = World::new().await;
    let seen = Seen::default();
    let dead = fails(&world);
    world.client.flush().await.unwrap();
    let hooks = seeing(registry(&world.stage), "hook", &seen);
    taskyard_server::drain(world.store.clone(), world.client.clone(), hooks).await.unwrap();
    assert_eq!(seen.lock().unwrap()[0].1.id, dead.id());
}

#[tokio::test]
async fn a_child_calls_the_hooks_of_its_application() {
    let world = World::new().await;
    let (directory, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let children = |config: &mut ServerConfig| config.children = Some(child::mourning(directory.path(), 0));
    let server = server(&world, seeing(registry(&world.stage), "here", &seen), children).await;
    let (there, here) = (fails_in_child(&world), fails(&world));
    eventually("both are told", async || {
        child::mourned(directory.path()) == [there.id().to_string()] && seen.lock().unwrap().len() == 1
    })
    .await;
    assert_eq!(seen.lock().unwrap()[0].1.id, here.id());
    server.stop();
    within("the exit", server.wait()).await;
    assert_eq!(child::tries(directory.path()), 1);
}

/// No other work needs a child: it is started for the hooks.
#[tokio::test]
async fn a_child_is_started_for_what_died_before() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let parent = fails(&world);
    let before = server(&world, registry(&world.stage), |_| {}).await;
    within("its end", parent.outcome()).await.unwrap();
    before.stop();
    within("the exit", before.wait()).await;
    // The task is dead from the beginning, because of its parent.
    let task = NewTask {
        runtime: Runtime::Python,
        parents: vec![parent.id()],
        ..NewTask::new("echo", br#"{"args": [1], "kwargs": {}}"#.to_vec())
    };
    world.store.add(std::slice::from_ref(&task)).await.unwrap();
    let children = |config: &mut ServerConfig| config.children = Some(child::mourning(directory.path(), 0));
    let _server = server(&world, registry(&world.stage), children).await;
    eventually("it is told", async || child::mourned(directory.path()) == [task.id.to_string()]).await;
}

#[tokio::test]
async fn without_hooks_it_is_left_to_who_has_some() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let without = server(&world, registry(&world.stage), |config| config.children = Some(child::command())).await;
    let dead = fails_in_child(&world);
    within("its end", dead.outcome()).await.unwrap();
    without.stop();
    within("the exit", without.wait()).await;
    let children = |config: &mut ServerConfig| config.children = Some(child::mourning(directory.path(), 0));
    let _server = server(&world, registry(&world.stage), children).await;
    eventually("it is told", async || child::mourned(directory.path()) == [dead.id().to_string()]).await;
}

#[tokio::test]
async fn a_child_that_dies_amid_it_is_followed_by_another_and_not_for_ever() {
    for deadly in [2, 1_000] {
        let world = World::new().await;
        let directory = tempfile::tempdir().unwrap();
        let children = |config: &mut ServerConfig| config.children = Some(child::mourning(directory.path(), deadly));
        let server = server(&world, registry(&world.stage), children).await;
        let dead = fails_in_child(&world);
        within("its end", dead.outcome()).await.unwrap();
        eventually("it was tried", async || child::tries(directory.path()) == 3).await;
        server.stop();
        within("the exit", server.wait()).await;
        let told = child::mourned(directory.path());
        assert_eq!(told, if deadly == 2 { vec![dead.id().to_string()] } else { Vec::new() });
        // The dead letter is not delivered again.
        assert_eq!(child::tries(directory.path()), 3);
        let alive = world.server(|config| config.lease = Duration::from_secs(300)).await;
        let request = taskyard_core::store::DeadTake {
            server: alive.id(),
            runtime: Runtime::Python,
            queues: None,
            namespace: None,
            limit: 10,
        };
        assert_eq!(world.store.dead_take(&request).await.unwrap(), []);
    }
}

/// The hook may have been the cause: no task is charged.
#[tokio::test]
async fn a_hook_that_kills_its_child_does_not_count_as_a_crash_of_a_task() {
    let world = World::new().await;
    let (directory, gate) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = gate.path().join("open");
    let children = |config: &mut ServerConfig| {
        config.children = Some(child::mourning(directory.path(), 1));
        config.max_workers = 1;
    };
    let server = server(&world, registry(&world.stage), children).await;
    let held: TaskRef<i64> =
        world.add("hold", &(open.to_str().unwrap(),), |call| call.runtime(Runtime::Python).max_retries(0));
    eventually("it runs", async || world.record(&held).await.state == TaskState::Doing).await;
    let dead = fails_in_child(&world);
    eventually("it is told", async || child::mourned(directory.path()) == [dead.id().to_string()]).await;
    assert_eq!(child::tries(directory.path()), 2);
    std::fs::write(&open, "").unwrap();
    within("its end", held.wait()).await.unwrap();
    let record = world.record(&held).await;
    assert_eq!((record.attempt, record.crashes, record.failures), (2, 0, 0));
    server.stop();
    within("the exit", server.wait()).await;
}
