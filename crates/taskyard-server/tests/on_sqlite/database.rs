//! A fresh SQLite file per test.

use std::path::PathBuf;
use std::sync::Arc;

use taskyard_core::Store;
use taskyard_sqlite::SqliteStore;
use tempfile::TempDir;

pub struct Database {
    path: PathBuf,
    _dir: TempDir,
}

impl Database {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("queue.db"), _dir: dir }
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        SqliteStore::open(&self.path).await.unwrap()
    }

    /// From here on no write is answered, until the guard goes.
    pub async fn block(&self) -> Blocked {
        let lock = rusqlite::Connection::open(&self.path).unwrap();
        lock.execute_batch("begin exclusive").unwrap();
        Blocked(lock)
    }
}

pub struct Blocked(rusqlite::Connection);

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.execute_batch("rollback").unwrap();
    }
}
