//! Fresh databases for the tests of this crate: each is a copy of one that was migrated once.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::sync::Arc;

use taskyard_core::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::postgres::shared;
use tokio::sync::OnceCell;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static PLANTED: OnceCell<String> = OnceCell::const_new();

/// Returns the address of a fresh, migrated database.
pub async fn database() -> String {
    copy_of(&TEMPLATE, "", "").await
}

/// Returns a store, and its address, on a database that was migrated while `public` held functions and operators that
/// the parser prefers to builtins. Each of them fails when it is called: the store must not call any. Writes that would
/// wait for a lock without limit fail, too.
pub async fn planted() -> (Arc<PostgresStore>, String) {
    let url = copy_of(&PLANTED, include_str!("planted.sql"), include_str!("lock_timeout.sql")).await;
    (open(&url).await, url)
}

/// `before` and `after` are SQL that runs before and after the migration.
async fn copy_of(template: &OnceCell<String>, before: &str, after: &str) -> String {
    let template = template
        .get_or_init(|| async {
            let url = shared().create_database();
            shared().psql_in(&url, before);
            let name = url.rsplit('/').next().unwrap().to_owned();
            let store = open(&url).await;
            store.migrate().await.unwrap();
            store.close().await;
            drop(store);
            shared().psql_in(&url, after);
            // A copy is refused while a session is connected; the server ends a session a moment after its client left.
            let connected = format!("select count(*) from pg_stat_activity where datname = '{name}'");
            while shared().psql(&connected) != "0" {
                tokio::task::yield_now().await;
            }
            name
        })
        .await;
    shared().create_database_from(template)
}

/// Returns a store on a fresh, migrated database.
pub async fn fresh() -> Arc<PostgresStore> {
    fresh_with_address().await.0
}

/// Returns a store on a fresh, migrated database, and its address.
pub async fn fresh_with_address() -> (Arc<PostgresStore>, String) {
    let url = database().await;
    (open(&url).await, url)
}

/// Returns another store on this database.
pub async fn open(url: &str) -> Arc<PostgresStore> {
    PostgresStore::connect(url, Options::default()).await.unwrap()
}

/// Deletes a database when dropped: thousands of them would slow their server down.
pub struct Gone(pub String);

impl Drop for Gone {
    fn drop(&mut self) {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        shared().psql(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"));
    }
}
