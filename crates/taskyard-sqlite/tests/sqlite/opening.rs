//! Opening a file: what is created, what is refused, and with which message.

use std::os::unix::fs::PermissionsExt;

use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::sandbox::{Sandbox, add, snapshot, task, until, versions};

#[tokio::test]
async fn nothing_is_made_before_migrating() {
    let sandbox = Sandbox::new();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert!(!sandbox.file().exists());
    let schema = store.schema().await.unwrap();
    assert_eq!((schema.found, schema.known), (0, versions() as i64));
    assert_eq!((schema.pending.len(), schema.pending[0].as_str()), (versions(), "0001_initial"));
    assert!(matches!(store.add(&[task()]).await, Err(Error::SchemaTooOld { found: 0, .. })));
    assert!(matches!(store.status().await, Err(Error::SchemaTooOld { .. })));
    assert!(!sandbox.file().exists());
    let report = store.migrate().await.unwrap();
    assert_eq!((report.from, report.to, report.applied), (0, versions() as i64, schema.pending));
    add(&store, task()).await;
    assert!(store.hears_others());
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    add(&store, task()).await;
    for entry in std::fs::read_dir(sandbox.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let sandbox = Sandbox::new();
    let path = sandbox.directory.path().join("not/there/queue.db");
    let Err(Error::File { path: named, why, lost: false }) = SqliteStore::open(&path).await else { panic!("refused") };
    assert!(named.ends_with("not/there"), "{named}");
    assert!(why.contains("does not exist"), "{why}");
    assert!(!sandbox.directory.path().join("not").exists());
}

#[tokio::test]
async fn the_projects_own_directory_is_made() {
    let sandbox = Sandbox::new();
    let store = SqliteStore::open(sandbox.directory.path().join(".taskyard/queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    let mode = std::fs::metadata(sandbox.directory.path().join(".taskyard")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_directory_is_not_a_file() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.file()).unwrap();
    assert!(matches!(SqliteStore::open(sandbox.file()).await, Err(Error::File { .. })));
    // A file is not a directory, either.
    std::fs::write(sandbox.directory.path().join("file"), "x").unwrap();
    assert!(matches!(SqliteStore::open(sandbox.directory.path().join("file/queue.db")).await, Err(Error::File { .. })));
}

#[tokio::test]
async fn a_link_leads_to_the_same_file() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    let link = sandbox.directory.path().join("link.db");
    std::os::unix::fs::symlink(sandbox.file(), &link).unwrap();
    let other = SqliteStore::open(&link).await.unwrap();
    assert!(other.get(&[id]).await.unwrap()[0].is_some());
    assert_eq!(other.address(), store.address());
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let directory = sandbox.directory.path();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(sandbox.file(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let before = snapshot(directory);
    let said = child::as_unprivileged_user("open", &sandbox.file());
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(said) = said else { return };
    assert!(said.contains("code=file") && said.contains("must be writable"), "{said}");
    assert!(snapshot(directory) == before, "a file was touched");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let directory = sandbox.directory.path();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(sandbox.file(), std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = snapshot(directory);
    let Some(said) = child::as_unprivileged_user("open", &sandbox.file()) else { return };
    assert!(said.contains("code=file") && said.contains("cannot be written"), "{said}");
    assert!(snapshot(directory) == before, "a file was touched");
}

/// Writing on into a file that is no longer at its path would lose acknowledged tasks.
#[tokio::test]
async fn a_file_moved_away_while_open_takes_no_more_writes() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    add(&store, task()).await;
    std::fs::rename(sandbox.file(), sandbox.directory.path().join("elsewhere.db")).unwrap();
    let mut error = None;
    until("a write is refused", async || {
        error = store.add(&[task()]).await.err();
        error.is_some()
    })
    .await;
    let Some(Error::File { why, .. }) = error else { panic!("{error:?}") };
    assert!(why.contains("moved"), "{why}");
    assert!(store.status().await.is_err());
    assert!(!sandbox.file().exists(), "never made anew");
}

#[tokio::test]
async fn a_closed_file_is_whole_by_itself() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    store.now().await.unwrap();
    store.close().await;
    assert!(!sandbox.directory.path().join("queue.db-wal").exists(), "the log was written back");
    let copy = Sandbox::new();
    std::fs::copy(sandbox.file(), copy.file()).unwrap();
    let copied = copy.store().await;
    assert!(copied.get(&[id]).await.unwrap()[0].is_some());
}
