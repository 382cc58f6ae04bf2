//! Clients that are used after the runtime in which they were opened has ended: every call returns an error, and
//! nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fmt::Debug;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use taskyard::{Error, Result, Schedule, TaskFilter, Taskyard, task};
use taskyard_testkit::postgres::shared;
use tokio::runtime::{Builder, Runtime};

/// Maximum duration of a call until it returns the error, on a busy machine.
const SOON: Duration = Duration::from_secs(1);

#[task]
async fn noop() {}

fn many() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn one() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs the test with each database, and each combination of the client's runtime and the runtime that uses it.
fn everywhere(test: fn(address: &str, of_client: Runtime, user: Runtime)) {
    let directory = tempfile::tempdir().unwrap();
    for (number, (of_client, user)) in
        [(many(), many()), (many(), one()), (one(), many()), (one(), one())].into_iter().enumerate()
    {
        let file = directory.path().join(format!("{number}.db"));
        let own = || if number % 2 == 0 { many() } else { one() };
        test(file.to_str().unwrap(), of_client, user);
        test(&shared().create_database(), own(), one());
    }
}

async fn says<T: Debug>(what: &str, call: impl Future<Output = Result<T>>) {
    let began = Instant::now();
    let said = tokio::time::timeout(SOON, call).await.unwrap_or_else(|_| panic!("{what} hangs"));
    assert_ended(what, said.map(drop));
    assert!(began.elapsed() < SOON, "{what} blocks: {:?}", began.elapsed());
}

fn assert_ended(what: &str, said: Result<()>) {
    let error = said.expect_err(what);
    assert!(matches!(error, Error::ShutDown(_)), "{what}: {error:?}");
    assert!(error.to_string().contains("runtime in which this client was opened has ended: open"), "{what}: {error}");
}

#[test]
fn every_call_says_that_the_runtime_has_ended() {
    everywhere(|address, of_client, user| {
        let (queue, task) = of_client.block_on(async {
            let queue = Taskyard::connect(address).await.unwrap();
            let task = queue.add(noop()).await.unwrap();
            (queue, task)
        });
        // A second task has been waited for and watched, so that the background tasks for this are running.
        let ahead = of_client.block_on(async {
            let mut watch = queue.watch(task.id(), None);
            watch.next().await.unwrap().unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(50), task.wait()).await.is_err());
            watch
        });
        drop(of_client);
        let mut ahead = ahead;
        user.block_on(async {
            says("add", queue.add(noop())).await;
            says("add_later", async { queue.add_later(noop()) }).await;
            says("add_tasks", queue.add_tasks([noop(), noop()])).await;
            says("wait", task.wait()).await;
            says("wait by id", queue.get::<()>(task.id()).wait()).await;
            says("watch", queue.watch(task.id(), None).next()).await;
            says("a watch of before", ahead.next()).await;
            says("flush", queue.flush()).await;
            says("cancel", async { task.cancel().await }).await;
            says("cancel of several", queue.cancel(&[task.id()])).await;
            says("record", task.record()).await;
            says("get_context", task.context()).await;
            says("dead_letters", queue.dead_letters(&TaskFilter::default())).await;
            says("queues", queue.queues()).await;
            says("pause_queue", queue.pause_queue("default")).await;
            says("schedules", queue.schedules()).await;
            says("add_schedule", queue.add_schedule(Schedule::new("nightly", "@daily", noop()))).await;
            says("serve", queue.serve()).await;
            says("drain", queue.drain()).await;
            says("close", queue.close(Duration::from_secs(60))).await;
        });
        // The same outside of any runtime.
        assert_ended("add_later on a thread", queue.add_later(noop()).map(drop));
        drop(queue);
        // Acknowledged additions are stored, and refused ones are not.
        user.block_on(async {
            let queue = Taskyard::connect(address).await.unwrap();
            assert_eq!(queue.store().list(&TaskFilter::default()).await.unwrap().len(), 1);
            let server = queue.serve().await.unwrap();
            queue.get::<()>(task.id()).wait().await.unwrap();
            server.shutdown().await;
        });
    });
}

#[test]
fn calls_under_way_end_with_the_runtime_and_additions_are_written() {
    everywhere(|address, of_client, user| {
        let queue = of_client.block_on(Taskyard::connect(address)).unwrap();
        let task = of_client.block_on(queue.add(noop())).unwrap();
        let later: Vec<_> = user.block_on(async {
            // A single-threaded runtime writes and polls only while a thread runs it.
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let running = std::thread::spawn(move || {
                let _ = of_client.block_on(stopped);
                of_client
            });
            let mut watch = queue.watch(task.id(), None);
            watch.next().await.unwrap().unwrap();
            let watching = tokio::spawn(async move { watch.next().await });
            let waited = task.clone();
            let waiting = tokio::spawn(async move { waited.wait().await });
            let deadline = Instant::now() + Duration::from_secs(10);
            while queue.open_waits() == 0 {
                assert!(Instant::now() < deadline, "it waits");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let later = (0..20).map(|_| queue.add_later(noop()).unwrap()).collect();
            stop.send(()).unwrap();
            let ended = tokio::task::spawn_blocking(move || drop(running.join().unwrap()));
            says("wait", async { waiting.await.unwrap() }).await;
            says("watch", async { watching.await.unwrap() }).await;
            ended.await.unwrap();
            later
        });
        user.block_on(async {
            for task in &later {
                tokio::time::timeout(SOON, task.stored()).await.expect("it is decided").unwrap();
            }
            let queue = Taskyard::connect(address).await.unwrap();
            let filter = TaskFilter { limit: 100, ..TaskFilter::default() };
            assert_eq!(queue.store().list(&filter).await.unwrap().len(), 21);
        });
    });
}

/// The client's runtime is not driven, so that nothing is written until it ends.
#[test]
fn an_addition_that_waits_for_room_ends_with_the_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let address = directory.path().join("queue.db");
    let (of_client, user) = (one(), many());
    let queue = of_client.block_on(Taskyard::connect(address.to_str().unwrap())).unwrap();
    queue.configure(|config| config.waiting_max = 1);
    let taken = user.block_on(async { queue.add_later(noop()) }).unwrap();
    user.block_on(async {
        let outside = queue.clone();
        let mut waiting = Box::pin(async move { outside.add(noop()).await });
        let is_pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending, "there is no room");
        let waiting = tokio::spawn(waiting);
        tokio::task::spawn_blocking(move || drop(of_client)).await.unwrap();
        says("add", async { waiting.await.unwrap() }).await;
        taken.stored().await.unwrap();
    });
}
