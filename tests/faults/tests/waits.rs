//! Waits for tasks: while the database is unavailable, for tasks that are deleted, and without a trace when they are
//! dropped.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use taskyard::{Call, Error, TaskId, TaskRef, Taskyard};
use taskyard_faults::tasks::noop;
use taskyard_testkit::backend::Backend;
use taskyard_testkit::postgres::{Cluster, shared};

const BOUND: Duration = Duration::from_secs(60);

async fn open(database: &str) -> Taskyard {
    let queue = Taskyard::connect(database).await.unwrap();
    queue.configure(|config| {
        (config.polling_interval, config.fallback_polling_interval) =
            (Duration::from_millis(100), Duration::from_millis(100))
    });
    queue
}

fn never() -> Call<u64> {
    noop(0).delay(Duration::from_secs(3_600))
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn dropped_waits_leave_nothing(backend: Backend) {
    let queue = open(&backend.create_database()).await;
    let task = queue.add(never()).await.unwrap();
    for _ in 0..200 {
        let error = task.wait_timeout(Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(error, Error::WaitTimeout { .. }), "{error}");
    }
    assert_eq!(queue.open_waits(), 0);
    let known = queue.get::<u64>(task.id());
    let mut waits: Vec<_> = (0..200).map(|_| Box::pin(known.wait())).collect();
    let polled = async {
        for wait in &mut waits {
            assert!(tokio::time::timeout(Duration::from_millis(1), wait).await.is_err());
        }
    };
    polled.await;
    eventually("all wait", async || {
        for wait in &mut waits {
            let _ = tokio::time::timeout(Duration::ZERO, wait).await;
        }
        queue.open_waits() == 200
    })
    .await;
    drop(waits);
    assert_eq!(queue.open_waits(), 0);
}

taskyard_testkit::on_both_stores! { dropped_waits_leave_nothing }

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_vanishes_ends_its_waits() {
    let database = shared().create_database();
    let queue = open(&database).await;
    let (gone, stays) = (queue.add(never()).await.unwrap(), queue.add(never()).await.unwrap());
    let waiting = tokio::spawn({
        let stays = stays.clone();
        async move { stays.wait().await }
    });
    let waits = tokio::spawn({
        let (added, known) = (gone.clone(), queue.get::<u64>(gone.id()));
        async move { (added.wait().await, known.wait().await) }
    });
    eventually("both wait", async || queue.open_waits() == 2).await;
    shared().psql_in(&database, &format!("delete from taskyard.task where id = '{}'", gone.id()));
    let (added, known) = tokio::time::timeout(BOUND, waits).await.unwrap().unwrap();
    assert_eq!(added, Err(Error::TaskRemoved(gone.id())));
    // This wait began when the task had already been deleted.
    assert_eq!(known, Err(Error::NotFound(gone.id())));
    let unknown = TaskId::generate();
    assert_eq!(queue.get::<u64>(unknown).wait().await, Err(Error::NotFound(unknown)));
    // The query that found one of the two removed was for both; the other wait goes on until its task ends.
    assert!(!waiting.is_finished());
    stays.cancel().await.unwrap();
    assert_eq!(tokio::time::timeout(BOUND, waiting).await.unwrap().unwrap(), Err(Error::TaskCancelled(stays.id())));
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_outlast_a_database_that_is_away() {
    let cluster = Cluster::start();
    let queue = open(&cluster.create_database()).await;
    let task: TaskRef<u64> = queue.add(noop(1)).await.unwrap();
    let begun_before = tokio::spawn({
        let task = task.clone();
        async move { task.wait().await }
    });
    eventually("the wait", async || queue.open_waits() == 1).await;
    cluster.stop_immediate();
    let known = queue.get::<u64>(task.id());
    let begun_after = tokio::spawn({
        let known = known.clone();
        async move { known.wait().await }
    });
    // Only its own timeout ends it.
    let error = known.wait_timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout { state: None, .. }), "{error}");
    assert!(!begun_before.is_finished() && !begun_after.is_finished());
    cluster.start_again();
    let server = queue.serve().await.unwrap();
    for wait in [begun_before, begun_after] {
        tokio::time::timeout(BOUND, wait).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(queue.open_waits(), 0);
    server.stop();
    server.wait().await;
}
