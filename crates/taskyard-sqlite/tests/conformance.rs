//! The conformance suite of all stores, on a fresh file per case.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use taskyard_core::Store;
use taskyard_sqlite::SqliteStore;
use taskyard_testkit::conformance::Fixture;

async fn fresh() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("queue.db")).await.unwrap();
    store.migrate().await.unwrap();
    Fixture::new(store, directory)
}

taskyard_testkit::conformance!(fresh);
