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

    /// Runs SQL beside us.
    pub async fn run(&self, sql: &str) {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// From here on every end of a task of this kind is refused; this database has one code for that.
    pub async fn refuse_ends(&self, kind: &str, _code: &str) {
        self.run(&format!(
            "drop trigger if exists refuse;
             create trigger refuse before update on ty_task
                 when old.state = 2 and new.state <> 2 and old.kind = '{kind}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// From here on a trigger skips every end of a task of this kind; this database has one way for that.
    pub async fn skip_ends(&self, kind: &str, _returned: &str) {
        self.run(&format!(
            "drop trigger if exists refuse;
             create trigger refuse before update on ty_task
                 when old.state = 2 and new.state <> 2 and old.kind = '{kind}'
             begin select raise(ignore); end;"
        ))
        .await;
    }

    /// From here on every log line of such a text is refused.
    pub async fn refuse_lines(&self, text: &str, _code: &str) {
        self.run(&format!(
            "create trigger refuse before insert on ty_task_log when new.message = '{text}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// From here on every addition of a task of this kind is refused.
    pub async fn refuse_additions(&self, kind: &str) {
        self.run(&format!(
            "create trigger refuse_additions before insert on ty_task when new.kind = '{kind}'
             begin select raise(abort, 'not this one'); end;"
        ))
        .await;
    }

    /// Nothing is refused any more.
    pub async fn accept(&self) {
        self.run("drop trigger if exists refuse").await;
    }

    /// From here on two tasks may not have the same result.
    pub async fn refuse_equal_results(&self) {
        self.run("create unique index one_result on ty_task (result)").await;
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
