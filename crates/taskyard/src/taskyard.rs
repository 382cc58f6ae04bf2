//! [`Taskyard`]: client and servers of one program.

mod around;

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "postgres")]
use taskyard_core::TaskRef;
use taskyard_core::client::{Call, Client, ClientConfig};
use taskyard_core::settings::Settings;
#[cfg(feature = "postgres")]
use taskyard_core::store::Added;
use taskyard_core::{Error, QueueOrder, Result, Store};
use taskyard_server::{
    Registry, Server, ServerConfig, ServerHandle, StateType, TaskContext, TaskDef, TaskError, TaskFailure,
};

/// The queue: all operations of [`Client`], and servers in this process. Cheap to clone.
#[derive(Clone)]
pub struct Taskyard {
    client: Client,
    settings: Arc<Settings>,
    registry: Registry,
}

impl std::fmt::Debug for Taskyard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taskyard").field("store", self.client.store()).finish_non_exhaustive()
    }
}

impl Deref for Taskyard {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A value that the server supplies to a task: declared as a parameter, provided with [`Taskyard::state`].
///
/// ```
/// use taskyard::{State, task};
///
/// #[derive(Clone)]
/// struct Mailer;
///
/// #[task]
/// async fn send(to: String, State(_mailer): State<Mailer>) -> usize {
///     to.len()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct State<T>(pub T);

impl Taskyard {
    /// Opens the database at an address, with default settings.
    ///
    /// An address is `postgresql://user:password@host:5432/name`, libpq's keyword form (`host=… dbname=…`), or an
    /// SQLite file: `sqlite:///absolute/path`, `sqlite:relative/path` or a plain path.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("queue.db");
    /// # let path = path.display();
    /// use taskyard::Taskyard;
    ///
    /// let queue = Taskyard::connect(&format!("sqlite:{path}")).await?; // creates the file if there is none
    /// assert!(queue.queues().await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for an invalid address; [`Error::Connection`], [`Error::Refused`], [`Error::File`],
    /// [`Error::SchemaTooNew`] or another [database error](Client#database-errors) if the database cannot be used.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::with_settings(Settings { database: Some(address.to_owned()), ..Settings::default() }).await
    }

    /// Opens the database named in the environment: `TASKYARD_DATABASE_URL`, otherwise `DATABASE_URL` if that is
    /// PostgreSQL's (the SQLite file of another library is never used). All other settings are read from their
    /// variables as well (`taskyard --help` lists them).
    ///
    /// Files (`taskyard.toml`, `.env`) are read only by the command; a program that needs them reads them into its
    /// environment.
    ///
    /// ```no_run
    /// # async fn example() -> taskyard::Result<()> {
    /// // TASKYARD_DATABASE_URL=postgresql://localhost/shop QUEUE_MAX_RETRIES=7
    /// let queue = taskyard::Taskyard::from_env().await?;
    /// assert_eq!(queue.settings().max_retries, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] if no variable names a database, or a variable has an invalid value; and those of
    /// [`Taskyard::with_settings`].
    pub async fn from_env() -> Result<Self> {
        Self::with_settings(taskyard_config::settings_of_environment(std::env::vars_os())?).await
    }

    /// Opens the database of the settings.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let address = format!("sqlite:{}", directory.path().join("queue.db").display());
    /// use taskyard::{Settings, Taskyard};
    ///
    /// let settings = Settings { database: Some(address), max_retries: 7, ..Settings::default() };
    /// let queue = Taskyard::with_settings(settings).await?;
    /// assert_eq!(queue.config().max_retries, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Taskyard::connect`], and [`Error::SchemaTooOld`] if the schema is outdated and `auto_migrate` is off.
    pub async fn with_settings(settings: Settings) -> Result<Self> {
        let store = crate::open(&settings).await?;
        Ok(Self::on(store, settings))
    }

    /// Creates a queue on an open store.
    #[doc(hidden)]
    #[must_use]
    pub fn on(store: Arc<dyn Store>, settings: Settings) -> Self {
        let client = Client::new(store, client_config(&settings));
        let registry = crate::__private::registry().in_namespace(settings.namespace.clone());
        Self { client, settings: Arc::new(settings), registry }
    }

    /// Sets the keys that sign bytes from another language's serialiser, and verify them in servers.
    #[doc(hidden)]
    #[must_use]
    pub fn keys(mut self, keys: Arc<dyn taskyard_core::seal::Keys>) -> Self {
        self.client = self.client.with_keys(keys);
        self
    }

    /// Supplies the tasks of servers started from now on with a value, by its type: the value of a parameter
    /// `State<T>`.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{State, task};
    ///
    /// #[derive(Clone)]
    /// struct Greeting(String);
    ///
    /// #[task]
    /// async fn greet(name: String, State(greeting): State<Greeting>) -> String {
    ///     format!("{} {name}", greeting.0)
    /// }
    ///
    /// let queue = queue.state(Greeting("Hello".into()));
    /// let task = queue.add(greet("Ada".into())).await?;
    /// queue.drain().await?;
    /// assert_eq!(task.wait().await?, "Hello Ada");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn state<T: Any + Clone + Send + Sync>(mut self, value: T) -> Self {
        self.registry = self.registry.state(value);
        self
    }

    /// Leaves tasks whose [`State`] was not provided to other servers. Applies to servers started from now on.
    ///
    /// Without this, such a task is an error of [`Taskyard::serve`], which checks every task that the program links,
    /// whatever queues it serves, because each task can be added to any queue. Tasks of a set that was not given
    /// ([`Taskyard::task_set`]) are not checked.
    ///
    /// ```no_run
    /// # async fn example(queue: taskyard::Taskyard) -> taskyard::Result<()> {
    /// // The web process runs the quick tasks; those that need the renderer run on the machines that have one.
    /// let server = queue.skip_missing_state().serve().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn skip_missing_state(mut self) -> Self {
        self.registry = self.registry.skip_missing_state();
        self
    }

    /// Adds the tasks of a set declared by [`task_set!`](crate::task_set) to those that servers started from now on
    /// run.
    #[must_use]
    pub fn task_set(mut self, set: &'static [TaskDef]) -> Self {
        self.registry = self.registry.extend(set);
        self
    }

    /// Adds a task in a transaction of the caller on the queue's PostgreSQL database: the task exists if and only if
    /// that transaction commits, and starts after the commit.
    ///
    /// Every option of the call is stored. Parents must be stored already, or be added in the same transaction.
    /// `connection` is a `&mut` reference to a transaction or connection of sqlx (with the feature `sqlx`) or
    /// tokio-postgres, or to a type that dereferences to one of tokio-postgres (deadpool's: `&mut *transaction`). For
    /// any other library see [`Client::enqueue_statement`].
    ///
    /// No other connection sees the task before the commit: until then [`TaskRef::wait`] returns [`Error::NotFound`].
    /// If another task holds the unique key, the reference is to that task, and [`TaskRef::existing`] returns `true`.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlx")]
    /// # async fn example(pool: sqlx::PgPool, queue: taskyard::Taskyard) -> Result<(), Box<dyn std::error::Error>> {
    /// # let send_welcome = |to: String| taskyard::Call::<()>::new("mail::send_welcome", &(to,));
    /// let mut transaction = pool.begin().await?;
    /// sqlx::query("INSERT INTO customer (email) VALUES ($1)").bind("ada@example.org").execute(&mut *transaction).await?;
    /// let welcome = queue.add_in(&mut transaction, send_welcome("ada@example.org".into())).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for a call that cannot be
    /// stored; [`Error::DuplicateId`]; [`Error::Refused`] if the queue is in an SQLite file, or if the transaction is
    /// read-only or on a database without the queue; and [database errors](Client#database-errors). As after any failed
    /// statement, the transaction must then be rolled back.
    #[cfg(feature = "postgres")]
    pub async fn add_in<T>(&self, connection: impl crate::CallerConnection, call: Call<T>) -> Result<TaskRef<T>> {
        let statement = self.client.enqueue_statement(call)?;
        let id = taskyard_postgres::enqueue_with(connection, &statement).await?;
        Ok(self.client.added_in(Added { id, existing: id != statement.id() }))
    }

    /// Returns the functions that servers of this program run.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the settings with which it was opened.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the configuration of a server with these settings, to be changed and passed to [`Taskyard::serve_with`].
    #[must_use]
    pub fn server_config(&self) -> ServerConfig {
        server_config(&self.settings)
    }

    /// Starts a server in this process that runs this program's tasks. [`ServerHandle::shutdown`] ends it.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # // All samples are one program, in which other tasks take a state.
    /// # let queue = queue.skip_missing_state();
    /// let server = queue.serve().await?;
    /// let task = queue.add(send("ada@example.org".into())).await?;
    /// assert_eq!(task.wait().await?, 15);
    ///
    /// let exit = server.shutdown().await; // running tasks may end first
    /// assert_eq!(exit.exit_code(), 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the program has no tasks, two functions of one kind, or a task that takes a
    /// [`State`] which was not provided ([`Taskyard::state`], [`Taskyard::skip_missing_state`]); [`Error::ShutDown`] if
    /// the runtime in which the queue was opened has ended; and other [database errors](Client#database-errors).
    pub async fn serve(&self) -> Result<ServerHandle> {
        self.serve_with(self.server_config()).await
    }

    /// Starts a server with its own configuration: see [`Taskyard::serve`] and [`Taskyard::server_config`].
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// # // All samples are one program, in which other tasks take a state.
    /// # let queue = queue.skip_missing_state();
    /// use taskyard::ServerConfig;
    ///
    /// let config = ServerConfig { queues: Some(vec!["mail".into()]), concurrency: 100, ..queue.server_config() };
    /// let server = queue.serve_with(config).await?; // only this queue
    /// let task = queue.add(send("ada@example.org".into()).queue("mail")).await?;
    /// assert_eq!(task.wait().await?, 15);
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Taskyard::serve`].
    pub async fn serve_with(&self, config: ServerConfig) -> Result<ServerHandle> {
        if config.run_rust && config.children.is_none() && !self.registry.serves_any() {
            let why = if self.registry.kinds().is_empty() {
                "this program has no tasks to run: declare functions with `#[task]`; if they are in a library that the program \
                       names nowhere else, the linker leaves it out: write `use my_tasks as _;`"
            } else {
                "each of this program's tasks takes a `State` that the queue was not given, and is skipped: call `.state(value)` before `serve`"
            };
            return Err(Error::InvalidArgument { what: "server", why: why.into() });
        }
        self.client.check_runtime()?;
        Server::start(Arc::clone(self.client.store()), self.client.clone(), self.registry.clone(), config).await
    }

    /// Runs a call's body in place, without storing the call. For tests.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::task;
    ///
    /// #[task]
    /// async fn divide(left: i64, right: i64) -> Result<i64, String> {
    ///     left.checked_div(right).ok_or_else(|| "division by zero".to_owned())
    /// }
    ///
    /// assert_eq!(queue.run_inline(divide(6, 3)).await?, 2);
    /// assert_eq!(queue.run_inline(divide(6, 0)).await.unwrap_err().message(), "division by zero");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The body's error; one of type `NoState` if the task takes a [`State`] that was not provided.
    pub async fn run_inline<T: serde::de::DeserializeOwned>(
        &self,
        call: Call<T>,
    ) -> std::result::Result<T, TaskFailure> {
        let run = async {
            let task = self.client.new_task(call, &self.client.config())?;
            let result = taskyard_server::run_inline(&Arc::new(self.registry.clone()), &task).await?;
            serde_json::from_slice(&result).map_err(TaskError::from)
        };
        run.await.map_err(TaskError::into_error)
    }

    /// Runs the runnable tasks in this process until none is left, and returns the number of attempts. For tests.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let first = queue.add(send("ada@example.org".into())).await?;
    /// queue.add(send("grace@example.org".into()).parent(&first)).await?; // runs after the first
    /// assert_eq!(queue.drain().await?, 2);
    /// assert_eq!(first.wait().await?, 15);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors); [`Error::InvalidArgument`] if a runnable task takes a [`State`] that
    /// was not provided: that task stays in the queue.
    pub async fn drain(&self) -> Result<usize> {
        self.client.flush().await?;
        taskyard_server::drain(Arc::clone(self.client.store()), self.client.clone(), self.registry.clone()).await
    }
}

/// Returns the configuration of a client with these settings.
fn client_config(settings: &Settings) -> ClientConfig {
    ClientConfig {
        limits: settings.limits,
        namespace: settings.namespace.clone(),
        max_retries: settings.max_retries,
        timeout: settings.task_timeout,
        polling_interval: settings.polling_interval,
        fallback_polling_interval: settings.fallback_polling_interval,
        ..ClientConfig::default()
    }
}

/// Returns the configuration of a server with these settings.
fn server_config(settings: &Settings) -> ServerConfig {
    let defaults = ServerConfig::default();
    ServerConfig {
        name: settings.server_name.clone().unwrap_or(defaults.name.clone()),
        max_workers: settings.max_workers,
        workers_min: settings.min_workers,
        concurrency: settings.concurrency,
        queues: (!settings.queues.is_empty()).then(|| settings.queues.clone()),
        // Settings read from a layer are consistent; others are refused when a server starts.
        queue_order: settings.order().unwrap_or(QueueOrder::Weights(Vec::new())),
        lease: settings.lease,
        heartbeat_interval: settings.heartbeat_interval,
        rescue_interval: settings.rescue_interval,
        polling_interval: settings.polling_interval,
        fallback_polling_interval: settings.fallback_polling_interval,
        shutdown_grace: settings.shutdown_grace,
        cancel_grace: settings.cancel_grace,
        timeout_grace: settings.timeout_grace,
        worker_idle_timeout: settings.worker_idle_timeout,
        retention: settings.retention,
        limits: settings.limits,
        only_declared: settings.only_declared,
        ..defaults
    }
}

impl<T: Any + Clone + Send + Sync> crate::__private::checks::Supplied for State<T> {
    fn supply(context: &TaskContext) -> std::result::Result<Self, TaskError> {
        context.require_state::<T>().map(State).map_err(TaskError::from)
    }

    fn state() -> Option<StateType> {
        Some(StateType::of::<T>())
    }
}
