//! Files that are damaged or belong to another application: refused with a clear message, and left as they were, byte
//! for byte.

use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::sandbox::{Sandbox, add, snapshot, task, versions};

/// Creates a closed database with some content.
async fn sound() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let batch: Vec<_> = (0..500).map(|_| task()).collect();
    store.add(&batch).await.unwrap();
    store.close().await;
    sandbox
}

async fn assert_refused(sandbox: &Sandbox, what: &str) {
    let before = snapshot(sandbox.directory.path());
    let error = match SqliteStore::open(sandbox.file()).await {
        Err(error) => error,
        Ok(store) => {
            let error = store.migrate().await.expect_err(what);
            store.close().await;
            error
        }
    };
    let Error::CorruptFile { path, why } = &error else { panic!("{what}: {error:?}") };
    assert!(path.ends_with("queue.db") && !why.is_empty(), "{what}: {error}");
    let after = snapshot(sandbox.directory.path());
    for (path, bytes) in &before {
        let now = after.iter().find(|(other, _)| other == path).map(|(_, bytes)| bytes);
        assert!(now == Some(bytes), "{what}: {} was touched", path.display());
    }
    // Reading a file in WAL mode creates the two files beside it; they stay without content.
    for (path, bytes) in after.iter().filter(|(path, _)| !before.iter().any(|(other, _)| other == path)) {
        let name = path.to_string_lossy();
        assert!(name.ends_with("-shm") || (name.ends_with("-wal") && bytes.is_empty()), "{what}: {name} was made");
    }
}

#[tokio::test]
async fn a_text_file() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.file(), "To be or not to be, that is the question.\n".repeat(500)).unwrap();
    assert_refused(&sandbox, "a text file").await;
    for bytes in [1, 2, 99, 100, 511, 512, 513, 4_095, 4_096] {
        std::fs::write(sandbox.file(), "x".repeat(bytes)).unwrap();
        assert_refused(&sandbox, &format!("{bytes} bytes")).await;
    }
}

#[tokio::test]
async fn zero_bytes_over_the_header() {
    let sandbox = sound().await;
    let mut bytes = std::fs::read(sandbox.file()).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(sandbox.file(), &bytes).unwrap();
    assert_refused(&sandbox, "a zeroed first page").await;
    bytes.fill(0);
    std::fs::write(sandbox.file(), &bytes).unwrap();
    assert_refused(&sandbox, "zeros").await;
}

#[tokio::test]
async fn a_file_cut_to_nothing() {
    let sandbox = sound().await;
    std::fs::write(sandbox.file(), "").unwrap();
    assert_refused(&sandbox, "cut to nothing").await;
}

#[tokio::test]
async fn a_file_cut_short() {
    let sandbox = sound().await;
    let bytes = std::fs::read(sandbox.file()).unwrap();
    for left in [50, 4096, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        std::fs::write(sandbox.file(), &bytes[..left]).unwrap();
        assert_refused(&sandbox, &format!("{left} of {} bytes", bytes.len())).await;
    }
}

#[tokio::test]
async fn flipped_bits_in_every_page() {
    let sandbox = sound().await;
    let sound = std::fs::read(sandbox.file()).unwrap();
    let mut refused = 0;
    let pages = sound.len() / 4096;
    for page in 1..pages {
        let mut bytes = sound.clone();
        // The page's type and cell pointers, which hold the tree together.
        for byte in &mut bytes[page * 4096..page * 4096 + 16] {
            *byte ^= 0xff;
        }
        std::fs::write(sandbox.file(), &bytes).unwrap();
        if let Err(error) = SqliteStore::open(sandbox.file()).await {
            assert!(matches!(error, Error::CorruptFile { .. }), "page {page}: {error:?}");
            assert!(std::fs::read(sandbox.file()).unwrap() == bytes, "page {page} was touched");
            refused += 1;
        }
    }
    // Free pages carry no data.
    assert!(refused * 10 >= (pages - 1) * 9, "{refused} of {pages} pages");
}

#[tokio::test]
async fn a_new_empty_file_is_as_good_as_none() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.file(), "").unwrap();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert!(matches!(store.add(&[task()]).await, Err(Error::SchemaTooOld { found: 0, .. })));
    store.migrate().await.unwrap();
    add(&store, task()).await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let sandbox = sound().await;
    sandbox.raw().execute("insert into ty_migration values (99, '0099_future', 'x', 0)", []).unwrap();
    let before = std::fs::read(sandbox.file()).unwrap();
    let error = SqliteStore::open(sandbox.file()).await.unwrap_err();
    assert_eq!(error, Error::SchemaTooNew { found: 99, known: versions() as i64 });
    assert!(std::fs::read(sandbox.file()).unwrap() == before, "the file was touched");
}

#[tokio::test]
async fn another_programs_database_is_not_changed_by_opening() {
    let sandbox = Sandbox::new();
    let raw = sandbox.raw();
    raw.execute_batch(
        "create table customers (id integer primary key, name text); insert into customers values (1, 'Ann')",
    )
    .unwrap();
    drop(raw);
    let before = std::fs::read(sandbox.file()).unwrap();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert!(matches!(store.add(&[task()]).await, Err(Error::SchemaTooOld { found: 0, .. })));
    assert!(matches!(store.queues().await, Err(Error::SchemaTooOld { found: 0, .. })));
    store.close().await;
    assert!(std::fs::read(sandbox.file()).unwrap() == before, "the file was touched");
}
