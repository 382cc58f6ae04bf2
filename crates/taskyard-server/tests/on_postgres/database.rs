//! A fresh database per test, in one throw-away cluster.

use std::sync::Arc;

use taskyard_core::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::postgres::shared;

pub struct Database(String);

impl Database {
    pub fn new() -> Self {
        Self(shared().create_database())
    }

    pub fn url(&self) -> &str {
        &self.0
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        PostgresStore::connect(&self.0, Options::default()).await.unwrap()
    }

    /// From here on no statement of ours is answered, until the guard goes.
    pub async fn block(&self) -> Blocked {
        let (client, connection) = tokio_postgres::connect(&self.0, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
        client.batch_execute("begin; lock table taskyard.task in access exclusive mode").await.unwrap();
        Blocked { _client: client, _driver: driver }
    }
}

/// Closing the connection ends its transaction.
pub struct Blocked {
    _client: tokio_postgres::Client,
    _driver: tokio::task::JoinHandle<()>,
}
