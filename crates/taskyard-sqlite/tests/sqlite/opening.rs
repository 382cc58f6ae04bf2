//! Opening a file: what is created, what is refused, and with which message.

use std::os::unix::fs::PermissionsExt;

use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::place::{Place, add, snapshot, task, until, versions};

#[tokio::test]
async fn nothing_is_made_before_migrating() {
    let place = Place::new();
    let store = SqliteStore::open(place.file()).await.unwrap();
    assert!(!place.file().exists());
    let schema = store.schema().await.unwrap();
    assert_eq!((schema.found, schema.known), (0, versions() as i64));
    assert_eq!((schema.pending.len(), schema.pending[0].as_str()), (versions(), "0001_initial"));
    assert!(matches!(store.add(&[task()]).await, Err(Error::SchemaTooOld { found: 0, .. })));
    assert!(matches!(store.status().await, Err(Error::SchemaTooOld { .. })));
    assert!(!place.file().exists());
    let report = store.migrate().await.unwrap();
    assert_eq!((report.from, report.to, report.applied), (0, versions() as i64, schema.pending));
    add(&store, task()).await;
    assert!(store.hears_others());
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let place = Place::new();
    let store = place.store().await;
    add(&store, task()).await;
    for entry in std::fs::read_dir(place.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let place = Place::new();
    let path = place.directory.path().join("not/there/queue.db");
    let Err(Error::File { path: named, why, lost: false }) = SqliteStore::open(&path).await else { panic!("refused") };
    assert!(named.ends_with("not/there"), "{named}");
    assert!(why.contains("does not exist"), "{why}");
    assert!(!place.directory.path().join("not").exists());
}

#[tokio::test]
async fn the_projects_own_directory_is_made() {
    let place = Place::new();
    let store = SqliteStore::open(place.directory.path().join(".taskyard/queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    let mode = std::fs::metadata(place.directory.path().join(".taskyard")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_directory_is_not_a_file() {
    let place = Place::new();
    std::fs::create_dir(place.file()).unwrap();
    assert!(matches!(SqliteStore::open(place.file()).await, Err(Error::File { .. })));
    // A file is not a directory, either.
    std::fs::write(place.directory.path().join("file"), "x").unwrap();
    assert!(matches!(SqliteStore::open(place.directory.path().join("file/queue.db")).await, Err(Error::File { .. })));
}

#[tokio::test]
async fn a_link_leads_to_the_same_file() {
    let place = Place::new();
    let store = place.store().await;
    let id = add(&store, task()).await;
    let link = place.directory.path().join("link.db");
    std::os::unix::fs::symlink(place.file(), &link).unwrap();
    let other = SqliteStore::open(&link).await.unwrap();
    assert!(other.get(&[id]).await.unwrap()[0].is_some());
    assert_eq!(other.address(), store.address());
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let place = Place::new();
    place.store().await.close().await;
    let directory = place.directory.path();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let before = snapshot(directory);
    let said = child::as_unprivileged_user("open", &place.file());
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(said) = said else { return };
    assert!(said.contains("code=file") && said.contains("must be writable"), "{said}");
    assert!(snapshot(directory) == before, "a file was touched");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let place = Place::new();
    place.store().await.close().await;
    let directory = place.directory.path();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = snapshot(directory);
    let Some(said) = child::as_unprivileged_user("open", &place.file()) else { return };
    assert!(said.contains("code=file") && said.contains("cannot be written"), "{said}");
    assert!(snapshot(directory) == before, "a file was touched");
}

/// Writing on into a file that is no longer at its path would lose acknowledged tasks.
#[tokio::test]
async fn a_file_moved_away_while_open_takes_no_more_writes() {
    let place = Place::new();
    let store = place.store().await;
    add(&store, task()).await;
    std::fs::rename(place.file(), place.directory.path().join("elsewhere.db")).unwrap();
    let mut error = None;
    until("a write is refused", async || {
        error = store.add(&[task()]).await.err();
        error.is_some()
    })
    .await;
    let Some(Error::File { why, .. }) = error else { panic!("{error:?}") };
    assert!(why.contains("moved"), "{why}");
    assert!(store.status().await.is_err());
    assert!(!place.file().exists(), "never made anew");
}

#[tokio::test]
async fn a_closed_file_is_whole_by_itself() {
    let place = Place::new();
    let store = place.store().await;
    let id = add(&store, task()).await;
    store.now().await.unwrap();
    store.close().await;
    assert!(!place.directory.path().join("queue.db-wal").exists(), "the log was written back");
    let copy = Place::new();
    std::fs::copy(place.file(), copy.file()).unwrap();
    let copied = copy.store().await;
    assert!(copied.get(&[id]).await.unwrap()[0].is_some());
}
