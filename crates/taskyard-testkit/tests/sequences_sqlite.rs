//! Random sequences on SQLite.

use taskyard_sqlite::SqliteStore;
use taskyard_testkit::conformance::Fixture;

async fn fresh() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = SqliteStore::open(directory.path().join("queue.db")).await.expect("a store can be opened");
    taskyard_core::Store::migrate(&*store).await.expect("a fresh file can be migrated");
    Fixture::new(store, directory)
}

#[test]
fn sqlite_equals_the_model() {
    taskyard_testkit::sequences::check(3_000, 40, fresh);
}
