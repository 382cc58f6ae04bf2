//! Layers and hooks around bodies, hooks around additions, and hooks for dead letters.

use taskyard_core::client::PendingTask;
use taskyard_core::{TaskId, TaskRecord};
use taskyard_server::layer::{BodyEnd, TaskService};
use taskyard_server::{Registry, TaskContext, TaskError};
use tower_layer::Layer;
use tower_service::Service;

use super::Taskyard;

type HookResult<E> = std::result::Result<(), E>;

impl Taskyard {
    /// Wraps the bodies of all Rust tasks of servers started from now on, async and blocking, in a `tower::Layer`. The
    /// layer added last is outermost. [`crate::layer`] contains three layers; those of tower work as well.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::layer::{TimeoutWarningLayer, TraceLayer};
    ///
    /// let queue = queue.layer(TimeoutWarningLayer::at(0.5)).layer(TraceLayer::new());
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// queue.drain().await?; // or `serve`
    /// assert_eq!(task.wait().await?, 15);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskContext, Response = Vec<u8>> + Clone + Send + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<TaskError>,
        <L::Service as Service<TaskContext>>::Future: Send,
    {
        self.with_registry(|registry| registry.layer(layer))
    }

    /// Registers a hook that is called with each task that this queue is about to add, in the caller's context: see
    /// [`Client::on_pre_create`](crate::Client::on_pre_create).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # fn tenant() -> Option<u32> { None }
    /// let queue = queue.on_pre_create(|task| match tenant() {
    ///     Some(tenant) => task.set_context("tenant", tenant).map_err(|error| error.to_string()),
    ///     None => Err("there is no tenant".to_owned()),
    /// });
    /// let refused = queue.add(send("ada@example.org".into())).await.unwrap_err();
    /// assert!(refused.to_string().contains("there is no tenant"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_pre_create<F, E>(mut self, hook: F) -> Self
    where
        F: Fn(&mut PendingTask<'_>) -> HookResult<E> + Send + Sync + 'static,
        E: std::fmt::Display,
    {
        self.client = self.client.on_pre_create(hook);
        self
    }

    /// Registers a hook that is called with the id of each task that this queue has added, once it is stored: see
    /// [`Client::on_post_create`](crate::Client::on_post_create).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::sync::mpsc;
    ///
    /// let (sender, added) = mpsc::channel();
    /// let queue = queue.on_post_create(move |id| sender.send(id).unwrap_or_default());
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// assert_eq!(added.try_recv(), Ok(task.id()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_post_create<F>(mut self, hook: F) -> Self
    where
        F: Fn(TaskId) + Send + Sync + 'static,
    {
        self.client = self.client.on_post_create(hook);
        self
    }

    /// Registers a hook that is called before each run of a Rust task's body, in servers started from now on: see
    /// [`Registry::on_pre_run`].
    ///
    /// A hook that uses captured values clones them for each call:
    ///
    /// ```
    /// # use taskyard::TaskContext;
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[derive(Clone)] struct Pool;
    /// # impl Pool { async fn check(&self) -> std::io::Result<()> { Ok(()) } }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # let pool = Pool;
    /// let queue = queue.on_pre_run(move |_context: TaskContext| {
    ///     let pool = pool.clone();
    ///     async move { pool.check().await }
    /// });
    /// # queue.add(send("ada@example.org".into())).await?;
    /// # assert_eq!(queue.drain().await?, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_pre_run<F, Calling, E>(self, hook: F) -> Self
    where
        F: Fn(TaskContext) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = HookResult<E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.with_registry(|registry| registry.on_pre_run(hook))
    }

    /// Registers a hook that is called after each run of a Rust task's body, successful or not, in servers started from
    /// now on: see [`Registry::on_post_run`].
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::TaskContext;
    /// use taskyard::layer::BodyEnd;
    ///
    /// let queue = queue.on_post_run(async |context: TaskContext, end: BodyEnd| {
    ///     if let BodyEnd::Failed(failure) = end {
    ///         eprintln!("{} failed: {failure}", context.kind());
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// });
    /// # queue.add(send("ada@example.org".into())).await?;
    /// # assert_eq!(queue.drain().await?, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_post_run<F, Calling, E>(self, hook: F) -> Self
    where
        F: Fn(TaskContext, BodyEnd) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = HookResult<E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.with_registry(|registry| registry.on_post_run(hook))
    }

    /// Registers a hook that is called when a task has become a dead letter, in servers started from now on: see
    /// [`Registry::on_death`].
    ///
    /// ```
    /// # #[taskyard::task(max_retries = 0)] async fn fetch() -> Result<u32, String> { Err("no connection".into()) }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # // All samples are one program, in which other tasks take a state.
    /// # let queue = queue.skip_missing_state();
    /// use taskyard::TaskRecord;
    /// use tokio::sync::mpsc;
    ///
    /// let (sender, mut dead) = mpsc::unbounded_channel();
    /// let queue = queue.on_death(move |task: TaskRecord| {
    ///     let sender = sender.clone();
    ///     async move { sender.send(task.id) }
    /// });
    /// let server = queue.serve().await?;
    /// let task = queue.add(fetch()).await?;
    /// assert_eq!(dead.recv().await, Some(task.id()));
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_death<F, Calling, E>(self, hook: F) -> Self
    where
        F: Fn(TaskRecord) -> Calling + Send + Sync + 'static,
        Calling: Future<Output = HookResult<E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.with_registry(|registry| registry.on_death(hook))
    }

    fn with_registry(mut self, change: impl FnOnce(Registry) -> Registry) -> Self {
        self.registry = change(self.registry);
        self
    }
}
