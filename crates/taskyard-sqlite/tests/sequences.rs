//! Random sequences of operations: the file and the model of the protocol must agree after every step.

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

#[test]
fn the_model_and_the_file_agree() {
    taskyard_testkit::sequences::check(3_000, 40, fresh);
}
