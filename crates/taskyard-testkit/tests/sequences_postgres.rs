//! Random sequences on PostgreSQL, each in a database of its own, a copy of one that was migrated once.

use std::sync::Arc;

use taskyard_core::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::conformance::Fixture;
use taskyard_testkit::postgres::shared;
use taskyard_testkit::sequences;
use tokio::sync::OnceCell;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

async fn open(url: &str) -> Arc<PostgresStore> {
    PostgresStore::connect(url, Options::default()).await.expect("the test cluster can be reached")
}

async fn template() -> String {
    let url = shared().create_database();
    let store = open(&url).await;
    store.migrate().await.expect("a fresh database can be migrated");
    store.close().await;
    let name = url.rsplit('/').next().expect("an address ends in a name").to_owned();
    // A copy is refused while a session is connected; a session ends a moment after its client left.
    while shared().terminate_backends(&name) > 0 {}
    name
}

/// Deletes the database after its sequence: hundreds of them would fill the disk.
struct Database(String);

impl Drop for Database {
    fn drop(&mut self) {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        shared().psql(&format!("drop database \"{name}\" with (force)"));
    }
}

async fn fresh() -> Fixture {
    let url = shared().create_database_from(TEMPLATE.get_or_init(template).await);
    Fixture::new(open(&url).await, Database(url))
}

#[test]
fn postgresql_equals_the_model() {
    // With so few sequences, only some seeds cover every transition that matters; with 0, none of them retries a
    // stopped task.
    sequences::check_from(1, 300, 40, fresh);
}
