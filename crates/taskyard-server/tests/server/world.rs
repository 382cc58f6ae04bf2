//! The test environment: a fresh database, a client, and servers with short times; and waits with a bounded deadline.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use taskyard_core::client::{Call, ClientConfig};
use taskyard_core::{Client, Store, TaskRecord, TaskRef};
use taskyard_server::{Registry, Server, ServerConfig, ServerHandle};
use tokio::runtime::Runtime;

use crate::bodies::{Stage, registry};
use crate::database::Database;

/// Maximum time for which a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub store: Arc<dyn Store>,
    pub client: Client,
    pub stage: Stage,
    pub database: Database,
}

impl World {
    pub async fn new() -> Self {
        Self::on(Database::new()).await
    }

    pub async fn on(database: Database) -> Self {
        let store = database.open().await;
        store.migrate().await.unwrap();
        let client = Client::new(store.clone(), ClientConfig::default());
        Self { store, client, stage: Stage::default(), database }
    }

    pub async fn server(&self, change: impl FnOnce(&mut ServerConfig)) -> TestServer {
        let mut config = quick();
        change(&mut config);
        self.start(registry(&self.stage), config).await
    }

    pub async fn start(&self, registry: Registry, config: ServerConfig) -> TestServer {
        TestServer::start(self.store.clone(), self.client.clone(), registry, config).await
    }

    pub fn add<A: Serialize, T>(&self, kind: &str, args: &A, options: impl FnOnce(Call<T>) -> Call<T>) -> TaskRef<T> {
        self.client.add_later(options(Call::new(kind, args))).unwrap()
    }

    /// Runs several tasks; fails if one of them began while another ran.
    pub async fn tasks_run_one_by_one(&self) {
        let tasks: Vec<TaskRef<usize>> = (0..20).map(|_| self.add("beside", &(), |call| call)).collect();
        for task in &tasks {
            assert_eq!(within("one of several", task.wait()).await.unwrap(), 0, "it began beside another");
        }
    }

    pub async fn record<T>(&self, task: &TaskRef<T>) -> TaskRecord {
        task.record().await.unwrap()
    }
}

/// A server that is aborted with its test: it has threads of its own, and would otherwise poll beside the tests that
/// follow.
pub struct TestServer {
    handle: ServerHandle,
    /// The runtime that started it, if that is not the test's: a stuck body of one test must not block a thread of
    /// another.
    pub runtime: Option<Runtime>,
}

impl TestServer {
    pub async fn start(store: Arc<dyn Store>, client: Client, registry: Registry, config: ServerConfig) -> Self {
        Self::start_on(crate::runtime(), store, client, registry, config).await
    }

    /// As [`Self::start`], on the given runtime.
    pub async fn start_on(
        runtime: Option<Runtime>,
        store: Arc<dyn Store>,
        client: Client,
        registry: Registry,
        config: ServerConfig,
    ) -> Self {
        let starting = Server::start(store, client, registry, config);
        match runtime {
            Some(runtime) => {
                let handle = runtime.spawn(starting).await.unwrap().unwrap();
                Self { handle, runtime: Some(runtime) }
            }
            None => Self { handle: starting.await.unwrap(), runtime: None },
        }
    }
}

impl Deref for TestServer {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.abort();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns settings with short times, so that a test shows in a second what otherwise takes a minute.
pub fn quick() -> ServerConfig {
    ServerConfig {
        name: "test".into(),
        max_workers: 2,
        concurrency: 10,
        lease: Duration::from_secs(2),
        heartbeat_interval: Duration::from_millis(200),
        rescue_interval: Duration::from_millis(200),
        polling_interval: Duration::from_millis(200),
        shutdown_grace: Duration::from_secs(5),
        timeout_grace: Duration::from_millis(300),
        cancel_grace: Duration::from_millis(300),
        ..ServerConfig::default()
    }
}

/// Waits until a condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Limits the time of a wait.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
