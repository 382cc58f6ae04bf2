//! A server whose rows are locked by another session, and a server whose connections die silently.

use std::time::{Duration, Instant};

use taskyard_core::client::ClientConfig;
use taskyard_core::{Client, TaskRef, TaskState};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_server::{Run, ServerConfig, TaskDef};
use taskyard_testkit::postgres::shared;
use taskyard_testkit::proxy::{Fault, Proxy, Which};

use crate::bodies::{Stage, registry};
use crate::world::{PATIENCE, TestServer, World, eventually, quick, within};

/// Writes progress and log lines every 20 ms until it may end.
static NOTES: TaskDef = TaskDef {
    kind: || "notes",
    aliases: &[],
    names: &[],
    states: &[],
    run: Run::Async(|context| {
        Box::pin(async move {
            let stage: Stage = context.state().unwrap();
            stage.note("began");
            let mut steps = 0;
            while stage.count("go") == 0 {
                steps += 1;
                context.progress(steps, 1_000_000);
                context.log(20, "a step");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(b"1".to_vec())
        })
    }),
    location: concat!(file!(), ":", line!()),
};

/// Times as in production, but shorter.
fn config() -> ServerConfig {
    ServerConfig { lease: Duration::from_secs(6), heartbeat_interval: Duration::from_secs(1), ..quick() }
}

/// Runs a task, which must end soon.
async fn another_runs(world: &World) {
    let task: TaskRef<i64> = world.add("echo", &(1,), |call| call);
    assert_eq!(within("another task", task.wait()).await.unwrap(), 1);
}

/// Runs tasks one after the other until the server's heartbeats have outlasted a lease that began now.
async fn others_run_beyond_the_lease(world: &World, server: &TestServer) {
    let id = server.id();
    let over = world.store.now().await.unwrap() + config().lease;
    eventually("a heartbeat after the lease", async || {
        another_runs(world).await;
        assert_eq!(server.id(), id, "it kept its lease");
        let servers = world.store.servers().await.unwrap();
        servers.iter().any(|row| row.id == id && row.last_heartbeat_at > over)
    })
    .await;
}

/// A body ends its attempt inside a transaction of its own, commits it much later, and continues to report progress.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_locked_holds_up_no_other() {
    let world = World::new().await;
    let registry = registry(&world.stage).extend([&NOTES]);
    let server = world.start(registry, config()).await;
    let notes: TaskRef<i64> = world.add("notes", &(), |call| call);
    world.stage.seen("began", 1).await;
    let (body, connection) = tokio_postgres::connect(world.database.url(), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let sql =
        format!("BEGIN; SELECT taskyard.complete_in(t.id, t.token) FROM taskyard.task t WHERE t.id = '{}'", notes.id());
    body.batch_execute(&sql).await.unwrap();
    others_run_beyond_the_lease(&world, &server).await;
    body.batch_execute("COMMIT").await.unwrap();
    world.stage.note("go");
    assert_eq!(world.record(&notes).await.state, TaskState::Done);
    server.stop();
    let exit = within("the exit", server.wait()).await;
    assert_eq!((exit.unwritten, exit.exit_code()), (0, 0));
    drop(body);
    driver.abort();
}

/// The connection to the database discards everything; new connections work.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_die_silently_comes_back() {
    let world = World::new().await;
    let (proxy, through) = Proxy::for_url(world.database.url());
    let store = PostgresStore::connect(&through, Options::default()).await.unwrap();
    let client = Client::new(store.clone(), ClientConfig::default());
    let server = TestServer::start(store, client, registry(&world.stage), config()).await;
    another_runs(&world).await;
    // Idle: only the heartbeat sends anything.
    eventually("it beats", || async { proxy.fault(Which::Sent("server_beat"), Fault::BlackHole) == 1 }).await;
    others_run_beyond_the_lease(&world, &server).await;
    // All of its connections.
    assert!(proxy.fault(Which::All, Fault::BlackHole) >= 3);
    others_run_beyond_the_lease(&world, &server).await;
    server.stop();
    within("the exit", server.wait()).await;
}

/// The runtime that has started a server is busy for a long time: the heartbeat does not depend on it.
#[test]
fn beats_go_on_while_the_thread_that_started_the_server_is_busy() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let config =
        ServerConfig { lease: Duration::from_secs(2), heartbeat_interval: Duration::from_millis(300), ..quick() };
    let server = runtime.block_on(world.start(registry(&world.stage), config));
    let id = server.id();
    let beats = |text: &str| shared().psql_in(world.database.url(), text).parse::<i64>().unwrap();
    let began = beats("SELECT max(beat) FROM taskyard.server");
    // The runtime does not run meanwhile.
    let until = Instant::now() + 2 * PATIENCE;
    while beats("SELECT max(beat) FROM taskyard.server") < began + 10 {
        assert!(Instant::now() < until, "it beats no more");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.id(), id);
    server.stop();
    runtime.block_on(within("the exit", server.wait()));
}
