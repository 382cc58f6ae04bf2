//! Bodies on the application's runtime: the resources that they open and the tasks that they spawn belong to the
//! application; a body that blocks holds up as little as possible and is logged.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use taskyard_core::client::Call;
use taskyard_core::{Error, TaskRef, TaskState};
use taskyard_server::{ExitReason, Registry, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bodies::{Stage, registry, tasks};
use crate::time_limits::times_out;
use crate::world::{TestServer, World, eventually, quick, within};

/// A connection that bodies share, like those of a pool.
type Shared = Arc<tokio::sync::Mutex<Option<TcpStream>>>;

fn all(stage: &Stage) -> Registry {
    registry(stage).extend(OWN.iter().copied())
}

tasks! { OWN:
    SPAWNS, "spawns", Async, |context| Box::pin(async move {
        let stage: Stage = context.state().unwrap();
        tokio::spawn(async move {
            stage.seen("the body has ended", 1).await;
            stage.note("what it spawned goes on");
        });
        Ok(tokio::task::block_in_place(|| b"1".to_vec()))
    });
    ASKS, "asks", Async, |context| Box::pin(async move {
        let (shared, address): (Shared, std::net::SocketAddr) = (context.require_state()?, context.require_state()?);
        let mut connection = shared.lock().await;
        if connection.is_none() {
            *connection = Some(TcpStream::connect(address).await?);
        }
        let connection = connection.as_mut().unwrap();
        connection.write_all(b"?").await?;
        let mut answer = [0];
        connection.read_exact(&mut answer).await?;
        Ok(answer.to_vec())
    });
    STAYS, "stays", Local, |_| Box::pin(async move {
        let count = Rc::new(Cell::new(1));
        tokio::task::yield_now().await;
        let counted = count.clone();
        let thread = std::thread::current().id();
        tokio::task::spawn_local(async move { counted.set(2) }).await.unwrap();
        assert_eq!(thread, std::thread::current().id());
        Ok(count.get().to_string().into_bytes())
    });
    STAYS_STUCK, "stays_stuck", Local, |context| Box::pin(async move {
        let stage: Stage = context.state().unwrap();
        stage.note("stays_stuck");
        stage.block();
        Ok(b"1".to_vec())
    });
    BUSY, "busy", Async, |_| Box::pin(async {
        std::thread::sleep(Duration::from_millis(250));
        Ok(b"1".to_vec())
    });
    WAITS_THEN_BLOCKS, "waits_then_blocks", Async, |context| Box::pin(async move {
        let stage: Stage = context.state().unwrap();
        tokio::task::yield_now().await;
        stage.note("blocks");
        stage.block();
        Ok(b"1".to_vec())
    });
}

async fn start(world: &World, threads: usize, change: impl FnOnce(&mut taskyard_server::ServerConfig)) -> TestServer {
    let mut config = quick();
    change(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    TestServer::start_on(Some(runtime), world.store.clone(), world.client.clone(), all(&world.stage), config).await
}

#[tokio::test]
async fn what_a_body_spawns_goes_on_and_it_may_block_in_place() {
    let world = World::new().await;
    let _server = start(&world, 4, |config| config.worker_idle_timeout = Duration::from_millis(20)).await;
    let task: TaskRef<u32> = world.add("spawns", &(), |call| call);
    assert_eq!(within("the body", task.wait()).await.unwrap(), 1);
    world.stage.note("the body has ended");
    world.stage.seen("what it spawned goes on", 1).await;
}

/// Like the connections of a pool: opened by one body, used by another when the worker of the first is gone.
#[tokio::test]
async fn a_connection_that_a_body_opened_serves_later_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in b'1'..=b'3' {
            let mut question = [0];
            stream.read_exact(&mut question).await.unwrap();
            stream.write_all(&[answer]).await.unwrap();
        }
        listener.accept().await.map(|_| ())
    });
    let world = World::new().await;
    let mut config = quick();
    config.worker_idle_timeout = Duration::from_millis(10);
    let registry = all(&world.stage).state(Shared::default()).state(address);
    let server = world.start(registry, config).await;
    for answer in 1..=3 {
        let task: TaskRef<u32> = world.add("asks", &(), |call| call);
        assert_eq!(within("an answer", task.wait()).await.unwrap(), answer);
        eventually("its worker leaves", async || server.status().workers_idle + server.status().workers_active == 0)
            .await;
    }
    assert!(!peer.is_finished(), "one connection served all");
    peer.abort();
}

/// 60 rounds: a body that has just become pending is polled although the next body of its worker blocks the thread.
#[tokio::test]
async fn a_body_that_never_yields_holds_up_no_pending_neighbour() {
    let world = World::new().await;
    let server = start(&world, 4, |config| config.max_workers = 1).await;
    let stuck: TaskRef<u32> = {
        let neighbours: Vec<TaskRef<u32>> = (0..60).map(|_| world.add("hold_first", &(), |call| call)).collect();
        let stuck = world.add("waits_then_blocks", &(), |call| call.max_retries(0).timeout(Duration::from_millis(500)));
        server.settings().update(|config| config.concurrency = 100);
        world.stage.seen("hold_first", 60).await;
        world.stage.seen("blocks", 1).await;
        world.stage.note("first may end");
        for neighbour in &neighbours {
            within("a neighbour", neighbour.wait()).await.unwrap();
        }
        stuck
    };
    times_out(&stuck).await;
    assert_eq!(world.stage.count("hold_first"), 60, "none of them began again");
    assert_eq!(server.status().threads_abandoned, 1);
    // The slot is free, and the thread returns.
    let next: TaskRef<i64> = world.add("echo", &(7,), |call| call);
    assert_eq!(within("the next", next.wait()).await.unwrap(), 7);
    world.stage.open();
    eventually("the thread comes back", async || server.status().threads_abandoned == 0).await;
    eventually("nothing is counted twice", async || server.status().tasks_running == 0).await;
    assert_eq!(world.record(&stuck).await.state, TaskState::Failed);
}

#[tokio::test]
async fn what_has_ended_is_stored_while_the_next_body_blocks() {
    let world = World::new().await;
    let calls = ["echo", "echo", "echo", "stuck"].map(|kind| Call::<serde_json::Value>::new(kind, &(1,)));
    let tasks = world.client.add_tasks(calls).await.unwrap();
    let _server = start(&world, 2, |config| config.max_workers = 1).await;
    for task in &tasks[..3] {
        within("one before it", task.wait()).await.unwrap();
    }
    assert_eq!(world.record(&tasks[3]).await.state, TaskState::Doing);
    world.stage.open();
    within("the last", tasks[3].wait()).await.unwrap();
}

/// The bodies that were pending beside an abandoned one continue, and count as running.
#[tokio::test]
async fn a_stop_waits_for_what_runs_beside_a_body_that_was_given_up() {
    let world = World::new().await;
    let server =
        start(&world, 4, |config| (config.max_workers, config.shutdown_grace) = (1, Duration::from_secs(60))).await;
    let neighbours: Vec<TaskRef<u32>> = (0..3).map(|_| world.add("hold_first", &(), |call| call)).collect();
    world.stage.seen("hold_first", 3).await;
    let stuck: TaskRef<String> = world.add("stuck", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    times_out(&stuck).await;
    assert_eq!(server.status().tasks_running, 3);
    server.stop();
    world.stage.note("first may end");
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.unwritten), (ExitReason::Stopped, 0));
    for neighbour in &neighbours {
        assert_eq!(world.record(neighbour).await.state, TaskState::Done);
    }
    world.stage.open();
}

/// Work continues at once when threads that were all busy are free again, and not at the next poll.
#[tokio::test]
async fn busy_threads_are_used_again_at_once() {
    let world = World::new().await;
    let hour = Duration::from_secs(3_600);
    let _server = start(&world, 2, |config| {
        (config.max_workers, config.concurrency, config.polling_interval, config.fallback_polling_interval) =
            (2, 1, hour, hour);
    })
    .await;
    let tasks: Vec<TaskRef<u32>> = (0..8).map(|_| world.add("busy", &(), |call| call)).collect();
    for task in &tasks {
        within("its end", task.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_has_lost_all_threads_of_its_runtime_ends_for_its_supervisor() {
    let world = World::new().await;
    let server = start(&world, 2, |_| {}).await;
    let limit = Duration::from_millis(50);
    let tasks: Vec<TaskRef<String>> = ["stuck", "waits_then_blocks"]
        .iter()
        .map(|kind| world.add(kind, &(), |call| call.max_retries(0).timeout(limit)))
        .collect();
    for task in &tasks {
        times_out(task).await;
    }
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.exit_code()), (ExitReason::Abandoned, 75));
    world.stage.open();
}

#[tokio::test]
async fn a_server_stops_with_its_runtime_and_its_tasks_run_elsewhere_unblamed() {
    let world = World::new().await;
    let mut server = start(&world, 2, |_| {}).await;
    let tasks: Vec<TaskRef<u32>> = (0..5).map(|_| world.add("hold", &(), |call| call)).collect();
    world.stage.seen("hold", 5).await;
    server.runtime.take().unwrap().shutdown_background();
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.reason, exit.unwritten), (ExitReason::Stopped, 0));
    assert_eq!(world.stage.count("dropped"), 5);
    let _other = start(&world, 2, |_| {}).await;
    world.stage.open();
    for task in &tasks {
        within("its next run", task.wait()).await.unwrap();
        assert_eq!(world.record(task).await.failures, 0);
    }
}

#[tokio::test]
async fn local_bodies_stay_on_a_thread_that_is_replaced() {
    let world = World::new().await;
    let server = start(&world, 2, |config| config.max_workers = 1).await;
    let task: TaskRef<u32> = world.add("stays", &(), |call| call);
    assert_eq!(within("a local body", task.wait()).await.unwrap(), 2);
    let stuck: TaskRef<u32> =
        world.add("stays_stuck", &(), |call| call.max_retries(0).timeout(Duration::from_millis(50)));
    // Other bodies are not held up meanwhile.
    world.stage.seen("stays_stuck", 1).await;
    let other: TaskRef<i64> = world.add("echo", &(7,), |call| call);
    assert_eq!(within("another body", other.wait()).await.unwrap(), 7);
    times_out(&stuck).await;
    assert_eq!(server.status().threads_abandoned, 1);
    let next: TaskRef<u32> = world.add("stays", &(), |call| call);
    assert_eq!(within("another thread", next.wait()).await.unwrap(), 2);
    world.stage.open();
    eventually("the thread comes back", async || server.status().threads_abandoned == 0).await;
}

#[tokio::test]
async fn a_runtime_without_a_timer_is_refused() {
    let world = World::new().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build().unwrap();
    let started = Server::start(world.store.clone(), world.client.clone(), all(&world.stage), quick());
    let error = runtime.spawn(started).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains("enable_all"), "{error}");
    runtime.shutdown_background();
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns everything that this process has logged since the first call.
fn logged() -> String {
    static CAPTURED: LazyLock<Captured> = LazyLock::new(|| {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        captured
    });
    String::from_utf8(CAPTURED.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn a_body_that_blocks_its_thread_is_named_once() {
    logged();
    let world = World::new().await;
    let _server = start(&world, 4, |_| {}).await;
    let mut tasks: Vec<TaskRef<serde_json::Value>> =
        ["stuck", "waits_then_blocks", "stays_stuck"].iter().map(|kind| world.add(kind, &(), |call| call)).collect();
    let named = |task: &TaskRef<serde_json::Value>| {
        let id = task.id().to_string();
        logged().lines().filter(|line| line.contains("blocks its thread") && line.contains(&id)).count()
    };
    for task in &tasks {
        eventually("it is named", async || named(task) == 1).await;
    }
    // Once a later one is named, the others were checked again.
    tasks.push(world.add("stuck", &(), |call| call));
    eventually("the later one is named", async || named(&tasks[3]) == 1).await;
    assert!(tasks.iter().all(|task| named(task) == 1), "once for each");
    world.stage.open();
    for task in &tasks {
        within("its end", task.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_runs_in_a_span_that_names_its_attempt() {
    logged();
    let world = World::new().await;
    let _server = start(&world, 2, |_| {}).await;
    let task: TaskRef<()> = world.add("traced", &(), |call| call.queue("mail"));
    within("its end", task.wait()).await.unwrap();
    let span = format!("task{{id={} kind=\"traced\" queue=\"mail\" attempt=1}}", task.id());
    // Before and after its first wait.
    for said in ["sent 1", "from traced"] {
        assert!(logged().lines().any(|line| line.contains(&span) && line.contains(said)), "{said}: {}", logged());
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_what_runs_and_for_what_it_added() {
    let world = World::new().await;
    let server = start(&world, 2, |_| {}).await;
    let task: TaskRef<u32> = world.add("hold", &(), |call| call);
    world.stage.seen("hold", 1).await;
    let exit = tokio::spawn({
        let handle = (*server).clone();
        async move { handle.shutdown().await }
    });
    eventually("it stops", async || server.status().stopping).await;
    let later: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    world.stage.open();
    assert_eq!(within("the exit", exit).await.unwrap().reason, ExitReason::Stopped);
    assert_eq!(world.record(&task).await.state, TaskState::Done);
    assert_eq!(world.record(&later).await.state, TaskState::Enqueued);
}
