//! A file with two names has two logs: tasks added under one name are not visible under the other.

use std::path::PathBuf;

use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::sandbox::{Sandbox, add, task};

fn second(sandbox: &Sandbox) -> PathBuf {
    std::fs::create_dir(sandbox.directory.path().join("other")).unwrap();
    sandbox.directory.path().join("other/queue.db")
}

fn assert_refused(error: Option<Error>, why: &str) {
    let Some(Error::File { why: found, .. }) = &error else { panic!("{error:?}") };
    assert!(found.contains(why), "{found}");
}

#[tokio::test]
async fn a_file_with_two_names_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let second = second(&sandbox);
    std::fs::hard_link(sandbox.file(), &second).unwrap();
    assert_refused(SqliteStore::open(&second).await.err(), "it has 2 names");
    assert_refused(SqliteStore::open(sandbox.file()).await.err(), "it has 2 names");
    assert_eq!(std::fs::read_dir(second.parent().unwrap()).unwrap().count(), 1, "nothing is made beside it");
    std::fs::remove_file(&second).unwrap();
    sandbox.store().await;
}

#[tokio::test]
async fn a_second_name_is_noticed_with_the_next_commit() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    let second = second(&sandbox);
    std::fs::hard_link(sandbox.file(), &second).unwrap();
    assert_refused(store.add(&[task()]).await.err(), "it has 2 names");
    assert_refused(store.get(&[id]).await.err(), "remove the other names");
    store.close().await;
    std::fs::remove_file(&second).unwrap();
    assert!(sandbox.store().await.get(&[id]).await.unwrap()[0].is_some());
}

/// Needs the right to mount; without it there is nothing to test.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_is_mounted_alone_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let second = second(&sandbox);
    std::fs::write(&second, "").unwrap();
    let directory = sandbox.directory.path().join("third");
    std::fs::create_dir(&directory).unwrap();
    let mount = |from: &std::path::Path, to: &std::path::Path| {
        std::process::Command::new("mount").arg("--bind").args([from, to]).status().is_ok_and(|status| status.success())
    };
    if !mount(&sandbox.file(), &second) {
        return;
    }
    let refused = SqliteStore::open(&second).await.err();
    let mounted = mount(sandbox.directory.path(), &directory);
    let accepted = SqliteStore::open(directory.join("queue.db")).await;
    if let Ok(store) = &accepted {
        store.close().await;
    }
    for path in [&second, &directory] {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(path).status();
    }
    assert_refused(refused, "mount the directory, not the file");
    assert!(mounted && accepted.is_ok(), "a mounted directory is fine: {accepted:?}");
}
