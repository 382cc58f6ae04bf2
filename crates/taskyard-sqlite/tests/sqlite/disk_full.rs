//! A full disk: additions return an error, nothing acknowledged is lost, and work continues once there is space.

use std::path::Path;
use std::process::Command;

use taskyard_core::task::NewTask;
use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::sandbox::{claim, done, server};

/// A small file system of its own, unmounted at the end; `None` if this is not root.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "taskyard-test"])
            .arg(directory.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_said_and_outlived() {
    let Some(small) = Small::mount("8m") else { return };
    let store = SqliteStore::open(small.path().join("queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    let mut added = Vec::new();
    let error = loop {
        let task = NewTask::new("test::large", format!("{{\"args\": [\"{}\"]}}", "x".repeat(50_000)).into());
        match store.add(&[task]).await {
            Ok(answer) => added.push(answer[0].id),
            Err(error) => break error,
        }
        assert!(added.len() < 1_000, "8 MiB hold no more than that");
    };
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert!(error.is_transient());
    // Checking the state of the queue reports it, without adding anything.
    assert!(matches!(store.check_writes().await, Err(Error::Full(_))));
    // Reads go on; all acknowledged tasks are there.
    let records = store.get(&added).await.unwrap();
    assert!(records.iter().all(Option::is_some), "{} acknowledged", added.len());
    // With space again, everything continues without a restart.
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(small.path()).status().unwrap();
    assert!(grown.success());
    store.check_writes().await.unwrap();
    let server = server(&store).await;
    let claimed = claim(&store, server, 1_000).await;
    assert_eq!(claimed.len(), added.len());
    let ends: Vec<_> = claimed.iter().map(done).collect();
    store.finish(&ends, &[]).await.unwrap();
    assert_eq!(store.status().await.unwrap().by_state[4], added.len() as u64);
    store.close().await;
}

#[tokio::test]
async fn no_room_for_a_new_file() {
    let Some(small) = Small::mount("16k") else { return };
    let _ = std::fs::write(small.path().join("ballast"), vec![0; 1 << 20]);
    let store = SqliteStore::open(small.path().join("queue.db")).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    store.close().await;
}
