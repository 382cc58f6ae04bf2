//! Programs that add and end at once: tasks for which `add` returned are stored, tasks of `add_later` are stored or
//! reported.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use taskyard::{TaskFilter, Taskyard};
use taskyard_faults::tasks::noop;
use taskyard_testkit::backend::Backend;
use taskyard_testkit::postgres::Cluster;

/// Runs the program; `before_adding` runs when it is connected. Returns the ids that it printed, and its output.
fn run(database: &str, end: &str, runtime: &str, before_adding: impl FnOnce()) -> (HashSet<String>, Output) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_faults-adds"))
        .args([database, end, runtime])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    before_adding();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let ids = lines.map(Result::unwrap).collect();
    (ids, child.wait_with_output().unwrap())
}

async fn stored(database: &str) -> HashSet<String> {
    let queue = Taskyard::connect(database).await.unwrap();
    let filter = TaskFilter { limit: 1_000, ..TaskFilter::default() };
    queue.store().list(&filter).await.unwrap().iter().map(|task| task.id.to_string()).collect()
}

/// However the program ends.
async fn all_is_stored(backend: Backend) {
    let later = [("return", "many"), ("return", "one"), ("drop", "many"), ("drop", "one")];
    let aborted = ["add", "tasks", "group", "fan-in", "chain"].map(|call| (call, "many"));
    for (end, runtime) in later.into_iter().chain(aborted) {
        let database = backend.create_database();
        let (ids, output) = run(&database, end, runtime, || {});
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), matches!(end, "return" | "drop"), "{end} {runtime}: {said}");
        assert_eq!(said, "", "{end} {runtime}");
        assert_eq!(ids.len(), 20, "{end} {runtime}");
        assert_eq!(stored(&database).await, ids, "{end} {runtime}");
    }
}

taskyard_testkit::on_both_stores! { all_is_stored }

/// The database becomes unavailable before the additions: each is reported with its kind, within the bound, and none is
/// stored.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_named() {
    let cluster = Cluster::start();
    for (end, runtime) in [("return", "many"), ("drop", "one")] {
        let database = cluster.create_database();
        let began = Instant::now();
        let (ids, output) = run(&database, end, runtime, || cluster.stop_immediate());
        // Five seconds, and a tolerance for a busy machine.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        cluster.start_again();
        let said = String::from_utf8_lossy(&output.stderr);
        let named: HashSet<String> = said
            .lines()
            .filter(|line| line.contains("app::never_runs"))
            .flat_map(|line| line.split_whitespace().filter(|word| ids.contains(*word)).map(str::to_owned))
            .collect();
        assert_eq!((named, ids.len()), (ids, 20), "{end} {runtime}: {said}");
        assert_eq!(stored(&database).await, HashSet::new(), "{end} {runtime}");
    }
}

/// Several additions are in one write when the database is unavailable and the client is closed: each is given up.
#[tokio::test]
async fn a_closed_client_gives_up_every_addition() {
    let cluster = Cluster::start();
    let queue = Taskyard::connect(&cluster.create_database()).await.unwrap();
    cluster.stop_immediate();
    // The writer runs on this thread: it begins when all have been added.
    let tasks: Vec<_> = (0..20).map(|number| queue.add_later(noop(number)).unwrap()).collect();
    assert!(queue.close(Duration::from_secs(1)).await.unwrap_err().is_transient());
    for task in &tasks {
        let id = tokio::time::timeout(Duration::from_secs(30), task.stored()).await.expect("it is given up");
        assert!(id.unwrap_err().is_transient());
    }
}
