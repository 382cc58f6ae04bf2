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

    /// Moves the file away.
    pub fn lose(&self) {
        std::fs::rename(&self.path, self.path.with_extension("moved")).unwrap();
    }

    /// Runs SQL on a connection of its own.
    pub async fn run(&self, sql: &str) {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// Makes the database refuse every end of a task of this kind; SQLite has only one code for that.
    pub async fn refuse_ends(&self, kind: &str, _code: &str) {
        self.run(&format!(
            "drop trigger if exists refuse;
             create trigger refuse before update on ty_task
                 when old.state = 2 and new.state <> 2 and old.kind = '{kind}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// Makes a trigger skip every end of a task of this kind; SQLite has only one way to do that.
    pub async fn skip_ends(&self, kind: &str, _returned: &str) {
        self.run(&format!(
            "drop trigger if exists refuse;
             create trigger refuse before update on ty_task
                 when old.state = 2 and new.state <> 2 and old.kind = '{kind}'
             begin select raise(ignore); end;"
        ))
        .await;
    }

    /// Makes the database refuse every log line with this text.
    pub async fn refuse_lines(&self, text: &str, _code: &str) {
        self.run(&format!(
            "create trigger refuse before insert on ty_task_log when new.message = '{text}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// Makes the database refuse every addition of a task of this kind.
    pub async fn refuse_additions(&self, kind: &str) {
        self.run(&format!(
            "create trigger refuse_additions before insert on ty_task when new.kind = '{kind}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// Makes the database accept everything again.
    pub async fn accept(&self) {
        self.run("drop trigger if exists refuse").await;
    }

    /// Prevents two tasks from having the same result.
    pub async fn refuse_equal_results(&self) {
        self.run("create unique index one_result on ty_task (result)").await;
    }

    /// Blocks all writes until the guard is dropped.
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
