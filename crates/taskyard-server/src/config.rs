//! A server's settings, and the handle to change them while it runs.
//!
//! Reading names, environment variables and files is up to the caller. Every loop reads the settings anew on each turn,
//! so a change takes effect at once. Imports nothing of the crate.

mod child_command;
mod embedded;

use std::sync::Arc;
use std::time::Duration;

use taskyard_core::store::Retention;
use taskyard_core::{Error, Limits, QueueOrder, Result, queue_order};
use tokio::sync::watch;

pub use child_command::ChildCommand;
pub use embedded::Embedded;

/// The settings of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// A label for display (default: the host name); two servers may share it.
    pub name: String,
    /// Maximum number of workers for async tasks, and of blocking bodies at once (default: the number of CPUs).
    pub max_workers: usize,
    /// Number of workers that stay even when idle (default 0).
    pub workers_min: usize,
    /// Maximum number of async tasks that one worker runs at once (default 10).
    pub concurrency: usize,
    /// The queues to serve; `None` (default) for all.
    pub queues: Option<Vec<String>>,
    /// The order in which queues are served (default: by priority over all).
    pub queue_order: QueueOrder,
    /// Validity of this server's claims after a heartbeat (default 30 s).
    pub lease: Duration,
    /// Interval between heartbeats (default 5 s).
    pub heartbeat_interval: Duration,
    /// Interval between checks for dead servers (default 5 s).
    pub rescue_interval: Duration,
    /// Interval between claims while no notifications of other processes are received (default 2 s).
    pub polling_interval: Duration,
    /// Interval between claims while notifications are received (default 30 s).
    pub fallback_polling_interval: Duration,
    /// Whether to rely on notifications (default true); otherwise polls every `polling_interval`.
    pub use_notify: bool,
    /// Grace period: time for which running tasks may continue after a stop (default 25 s).
    pub shutdown_grace: Duration,
    /// Time for which a body may ignore its cancellation before its thread is abandoned or its process killed, and how
    /// long the other bodies of that process have to end (default 30 s).
    pub cancel_grace: Duration,
    /// Time for which a body may continue after its time limit before its thread is abandoned or its process killed
    /// (default 2 s).
    pub timeout_grace: Duration,
    /// Time after which an idle worker ends (default 60 s).
    pub worker_idle_timeout: Duration,
    /// Number of abandoned threads at which the server drains and exits (default 8; 0 = never). It does so in any case
    /// when all threads of the runtime that started it are abandoned.
    pub abandoned_max: usize,
    /// Retention of finished tasks.
    pub retention: Retention,
    /// Interval between prunings (default 60 s).
    pub prune_every: Duration,
    /// Size limits of results, contexts and log lines.
    pub limits: Limits,
    /// Maximum number of tasks in one claim (default 1,000).
    pub claim_max: usize,
    /// Time for which the end of an attempt that the database refuses, while it accepts others, is retried before it is
    /// set aside (default 60 s).
    pub refused_end_max: Duration,
    /// Whether this process runs Rust tasks (default true). Takes effect at the start.
    pub run_rust: bool,
    /// Claims only tasks that a child requests (`ChildRequest::Take` in `children/frame.rs`); one child always runs. Takes
    /// effect at the start.
    #[doc(hidden)]
    pub on_demand: bool,
    /// Configuration of the child processes that run Python tasks; `None` for no child processes. Takes effect at the
    /// start.
    #[doc(hidden)]
    pub children: Option<ChildCommand>,
    /// Whether children run only functions that are declared as tasks (default: any function of the application).
    pub only_declared: bool,
    /// Further fields may be added: a literal ends in `..Default::default()`.
    #[doc(hidden)]
    pub unlisted: taskyard_core::Unlisted,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: host_name(),
            max_workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers_min: 0,
            concurrency: 10,
            queues: None,
            queue_order: QueueOrder::Priority,
            lease: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(5),
            rescue_interval: Duration::from_secs(5),
            polling_interval: Duration::from_secs(2),
            fallback_polling_interval: Duration::from_secs(30),
            use_notify: true,
            shutdown_grace: Duration::from_secs(25),
            cancel_grace: Duration::from_secs(30),
            timeout_grace: Duration::from_secs(2),
            worker_idle_timeout: Duration::from_secs(60),
            abandoned_max: 8,
            retention: Retention::default(),
            prune_every: Duration::from_secs(60),
            limits: Limits::default(),
            claim_max: 1_000,
            refused_end_max: Duration::from_secs(60),
            run_rust: true,
            on_demand: false,
            children: None,
            only_declared: false,
            unlisted: taskyard_core::Unlisted::default(),
        }
    }
}

impl ServerConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a queue is listed twice, or if `queue_order` does not fit `queues`.
    pub fn check(&self) -> Result<()> {
        queue_order::check(self.queues.as_deref(), &self.queue_order)
            .map_err(|why| Error::InvalidArgument { what: "queues", why })
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// The settings of one running server; clones share them.
#[derive(Clone, Debug)]
pub struct LiveConfig(Arc<watch::Sender<Arc<ServerConfig>>>);

impl LiveConfig {
    /// Wraps settings for sharing.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(config))))
    }

    /// Returns the current settings.
    #[must_use]
    pub fn get(&self) -> Arc<ServerConfig> {
        self.0.borrow().clone()
    }

    /// Changes the settings. `name`, `queues`, `queue_order`, `lease` and `limits` take effect with the next claim,
    /// heartbeat or write.
    pub fn update(&self, change: impl FnOnce(&mut ServerConfig)) {
        self.0.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// Returns a receiver that is notified of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.0.subscribe()
    }
}
