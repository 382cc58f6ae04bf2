//! Files of the database are deleted, moved, replaced or emptied under a process that writes: from then on nothing is
//! acknowledged that a process which opens the path would not see.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use taskyard_core::client::{Call, ClientConfig};
use taskyard_core::{Client, Error, Store, TaskId, TaskRef};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::sandbox::{Sandbox, add, task, until};

/// Returns the nanoseconds of the clock that all processes of a host share.
pub fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// A line printed by the part `add_watched`.
struct Line {
    begun: u128,
    added: Option<TaskId>,
}

/// Runs a process that adds from several tasks at once, calls `meddling` on the files in the middle, and returns the
/// additions that it acknowledged before. No addition that began afterwards may have been acknowledged.
pub fn meddle(path: &Path, meddling: impl FnOnce()) -> HashSet<TaskId> {
    let mut child = child::spawn("add_watched", path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter_map(|line| {
        let mut words = line.split_once("begun=")?.1.split(' ');
        let begun = words.next()?.parse().ok()?;
        Some(Line { begun, added: words.next()?.strip_prefix("added=").and_then(|id| id.parse().ok()) })
    });
    let mut acknowledged: Vec<Line> = lines.by_ref().take(200).collect();
    assert!(acknowledged.iter().all(|line| line.added.is_some()), "all is well before");
    let from = nanos();
    meddling();
    let to = nanos();
    // The process ends after 100 refusals.
    acknowledged.extend(lines);
    assert!(child.wait().unwrap().success());
    let refused = acknowledged.iter().filter(|line| line.added.is_none()).count();
    assert!(refused >= 100, "{refused} of {}", acknowledged.len());
    let wrong = acknowledged.iter().filter(|line| line.begun > to && line.added.is_some()).count();
    assert_eq!(wrong, 0, "acknowledged, though begun when the file was gone");
    acknowledged.iter().filter(|line| line.begun < from).filter_map(|line| line.added).collect()
}

/// Returns how many of these tasks a process that opens the path sees.
pub async fn seen(path: &Path, ids: &HashSet<TaskId>) -> usize {
    let store = SqliteStore::open(path).await.unwrap();
    let ids: Vec<TaskId> = ids.iter().copied().collect();
    let found = store.get(&ids).await.unwrap().iter().filter(|record| record.is_some()).count();
    store.close().await;
    found
}

#[tokio::test]
async fn a_deleted_file() {
    let sandbox = Sandbox::new();
    meddle(&sandbox.file(), || std::fs::remove_file(sandbox.file()).unwrap());
    assert!(!sandbox.file().exists(), "it is not made anew either");
}

#[tokio::test]
async fn all_files_deleted_and_another_database_made() {
    let sandbox = Sandbox::new();
    let other = Sandbox::new();
    let store = other.store().await;
    let id = add(&store, task()).await;
    meddle(&sandbox.file(), || {
        for suffix in ["", "-wal", "-shm", "-wake"] {
            let mut name = sandbox.file().into_os_string();
            name.push(suffix);
            let _ = std::fs::remove_file(PathBuf::from(name));
        }
        std::fs::copy(other.file(), sandbox.file()).unwrap();
        let (mut from, mut to) = (other.file().into_os_string(), sandbox.file().into_os_string());
        from.push("-wal");
        to.push("-wal");
        std::fs::copy(from, to).unwrap();
    });
    // The process that lost its file has not touched the new one's log when it ended.
    assert_eq!(seen(&sandbox.file(), &HashSet::from([id])).await, 1);
}

#[tokio::test]
async fn another_database_renamed_over_it() {
    let sandbox = Sandbox::new();
    let other = Sandbox::new();
    let store = other.store().await;
    add(&store, task()).await;
    store.close().await;
    meddle(&sandbox.file(), || {
        std::fs::copy(other.file(), sandbox.directory.path().join("new.db")).unwrap();
        std::fs::rename(sandbox.directory.path().join("new.db"), sandbox.file()).unwrap();
    });
}

#[tokio::test]
async fn its_directory_moved_and_moved_back() {
    let root = Sandbox::new();
    let (here, there) = (root.directory.path().join("here"), root.directory.path().join("there"));
    std::fs::create_dir(&here).unwrap();
    let file = here.join("queue.db");
    let acknowledged = meddle(&file, || std::fs::rename(&here, &there).unwrap());
    assert!(!here.exists());
    // All acknowledged tasks are where the files are now.
    assert_eq!(seen(&there.join("queue.db"), &acknowledged).await, acknowledged.len());
}

#[tokio::test]
async fn a_link_that_leads_elsewhere() {
    let root = Sandbox::new();
    let directory = root.directory.path();
    for release in ["one", "two"] {
        std::fs::create_dir(directory.join(release)).unwrap();
    }
    let (current, next) = (directory.join("current"), directory.join("next"));
    std::os::unix::fs::symlink(directory.join("one"), &current).unwrap();
    let acknowledged = meddle(&current.join("queue.db"), || {
        std::os::unix::fs::symlink(directory.join("two"), &next).unwrap();
        std::fs::rename(&next, &current).unwrap();
    });
    assert_eq!(seen(&directory.join("one/queue.db"), &acknowledged).await, acknowledged.len());
}

#[tokio::test]
async fn a_deleted_log() {
    let sandbox = Sandbox::new();
    let log = sandbox.directory.path().join("queue.db-wal");
    let acknowledged = meddle(&sandbox.file(), || std::fs::remove_file(&log).unwrap());
    // The part that only the log held was written back before its last handle was closed.
    assert_eq!(seen(&sandbox.file(), &acknowledged).await, acknowledged.len());
}

#[tokio::test]
async fn a_file_that_was_emptied() {
    let sandbox = Sandbox::new();
    meddle(&sandbox.file(), || drop(File::create(sandbox.file()).unwrap()));
}

#[tokio::test]
async fn a_log_that_was_emptied() {
    let sandbox = Sandbox::new();
    let log = sandbox.directory.path().join("queue.db-wal");
    meddle(&sandbox.file(), || drop(File::create(&log).unwrap()));
    // The rest of the file is whole: it was not overwritten by a checkpoint.
    sandbox.store().await.close().await;
}

#[tokio::test]
async fn every_call_is_refused_from_then_on() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    let elsewhere = sandbox.directory.path().join("elsewhere.db");
    std::fs::rename(sandbox.file(), &elsewhere).unwrap();
    let assert_refused = |what: &str, error: Option<Error>| {
        let Some(Error::File { why, .. }) = &error else { panic!("{what}: {error:?}") };
        assert!(why.contains("moved, deleted or replaced"), "{why}");
    };
    assert_refused("the first addition", store.add(&[task()]).await.err());
    assert_refused("a read", store.get(&[id]).await.err());
    assert_refused("a read by the other thread", store.status().await.err());
    assert_refused("the schema", store.schema().await.err());
    assert_refused("a migration", store.migrate().await.err());
    // Also when the file is back, because other processes may have changed it.
    std::fs::rename(&elsewhere, sandbox.file()).unwrap();
    assert_refused("an addition", store.add(&[task()]).await.err());
    assert_refused("a read", store.get(&[id]).await.err());
    store.close().await;
    assert!(sandbox.store().await.get(&[id]).await.unwrap()[0].is_some());
}

/// Returns a client on a store, whose own polling is far too rare to notice anything.
fn client(store: &std::sync::Arc<SqliteStore>) -> Client {
    let seldom = Duration::from_secs(3_600);
    Client::new(
        store.clone(),
        ClientConfig { polling_interval: seldom, fallback_polling_interval: seldom, ..ClientConfig::default() },
    )
}

/// Begins a wait for a task by its reference and one by its id, calls `meddling` on the files, and returns how both
/// ended.
async fn wait_through(sandbox: &Sandbox, meddling: impl FnOnce()) -> [Error; 2] {
    let store = sandbox.store().await;
    let client = client(&store);
    let added: TaskRef<()> = client.add(Call::new("test::body", &())).await.unwrap();
    let known: TaskRef<()> = client.get(added.id());
    let waits = [added, known].map(|task| tokio::spawn(async move { task.wait().await.unwrap_err() }));
    until("both wait", async || client.open_waits() == 2).await;
    meddling();
    let began = Instant::now();
    let [first, second] = waits;
    let errors = [first.await.unwrap(), second.await.unwrap()];
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(client.open_waits(), 0);
    errors
}

#[tokio::test]
async fn a_wait_that_began_before_ends() {
    let deleted = Sandbox::new();
    let moved = Sandbox::new();
    let (replaced, other) = (Sandbox::new(), Sandbox::new());
    other.store().await.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(
            wait_through(&deleted, || std::fs::remove_file(deleted.file()).unwrap()),
            wait_through(&moved, || std::fs::rename(moved.file(), moved.directory.path().join("elsewhere.db"))
                .unwrap()),
            wait_through(&replaced, || std::fs::rename(other.file(), replaced.file()).unwrap()),
        )
    });
    let (deleted, moved, replaced) = ended.await.expect("the waits end");
    for error in [deleted, moved, replaced].into_iter().flatten() {
        assert!(matches!(&error, Error::File { lost: true, .. }) && error.is_permanent(), "{error:?}");
        assert!(error.hint().unwrap().contains("start every process"), "{error:?}");
    }
}

#[tokio::test]
async fn a_wait_ends_with_an_error_that_does_not_pass() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let client = client(&store);
    client.configure(|config| {
        (config.polling_interval, config.fallback_polling_interval) =
            (Duration::from_millis(50), Duration::from_millis(50))
    });
    let task: TaskRef<()> = client.add(Call::new("test::body", &())).await.unwrap();
    let ended: TaskRef<()> = client.add(Call::new("test::body", &())).await.unwrap();
    ended.cancel().await.unwrap();
    let wait = tokio::spawn(async move { task.wait().await.unwrap_err() });
    until("it waits", async || client.open_waits() == 1).await;
    // A table that is missing for a moment does not end the wait. The moment is fixed: that the client has queried
    // meanwhile does not show.
    let raw = sandbox.raw();
    raw.execute_batch("alter table ty_task rename to away").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    raw.execute_batch("alter table away rename to ty_task").unwrap();
    // One query is for both waits.
    let decided = tokio::time::timeout(Duration::from_secs(60), client.get::<()>(ended.id()).wait()).await;
    assert!(matches!(decided.expect("it has ended"), Err(Error::TaskCancelled(_))));
    assert!(!wait.is_finished());
    raw.execute_batch("alter table ty_task rename to away").unwrap();
    let error = tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the wait ends").unwrap();
    assert!(!error.is_transient() && !error.is_permanent(), "{error:?}");
}
