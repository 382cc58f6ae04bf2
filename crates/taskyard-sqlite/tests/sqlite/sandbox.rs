//! A separate directory for each test, stores on the file in it, and a raw connection beside them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::Store;
use taskyard_core::store::{ClaimRequest, Claimed, Finish, NewServer, Outcome};
use taskyard_core::task::NewTask;
use taskyard_core::{ClaimId, ServerId, TaskId};
use taskyard_sqlite::SqliteStore;

pub struct Sandbox {
    pub directory: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("queue.db")
    }

    /// Returns a store on the file, migrated.
    pub async fn store(&self) -> Arc<SqliteStore> {
        let store = SqliteStore::open(self.file()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// Returns another library's handle, for inspecting and changing the file.
    pub fn raw(&self) -> rusqlite::Connection {
        let raw = rusqlite::Connection::open(self.file()).unwrap();
        raw.busy_timeout(Duration::from_secs(30)).unwrap();
        raw
    }
}

pub fn task() -> NewTask {
    NewTask::new("test::body", br#"{"args": [1], "kwargs": {"a": "b"}}"#.to_vec())
}

pub async fn add(store: &SqliteStore, task: NewTask) -> TaskId {
    store.add(&[task]).await.unwrap()[0].id
}

pub async fn server(store: &SqliteStore) -> ServerId {
    let id = ServerId::generate();
    let server = NewServer {
        id,
        name: "test".into(),
        pid: std::process::id(),
        version: "0".into(),
        lease: Duration::from_secs(600),
        workers_max: 1,
        serves: None,
    };
    store.server_enter(&server).await.unwrap();
    id
}

pub fn request(server: ServerId, limit: usize) -> ClaimRequest {
    ClaimRequest {
        server,
        claim: ClaimId::generate(),
        runtime: taskyard_core::state::Runtime::Rust,
        queues: None,
        limit,
        alone: false,
        cursor: None,
    }
}

pub async fn claim(store: &SqliteStore, server: ServerId, limit: usize) -> Vec<Claimed> {
    store.claim(&request(server, limit)).await.unwrap().tasks
}

pub fn done(claimed: &Claimed) -> Finish {
    Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Done { result: b"null".to_vec() },
        context: None,
        logs: Vec::new(),
    }
}

/// Waits, for at most 30 s, until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns all files of a directory with their bytes.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Returns the number of versions of the schema that this program knows.
pub fn versions() -> usize {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/migrations");
    std::fs::read_dir(directory).expect("the sources are here").count()
}
