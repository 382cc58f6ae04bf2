//! A server's settings, and the handle by which they change while it runs.
//!
//! Names, environment variables and files are the caller's; here are only values. Every loop reads the settings anew
//! on each turn, so a change is in force at once.

use std::sync::Arc;
use std::time::Duration;

use taskyard_core::store::Retention;
use taskyard_core::{Error, Limits, QueueOrder, Result, queue_order};
use tokio::sync::watch;

use crate::children::ChildCommand;

/// How a server runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// A label for people; two servers may share it.
    pub name: String,
    /// The most workers for async tasks, and the most blocking bodies at once (default: the number of CPUs).
    pub workers: usize,
    /// Workers that stay even when idle (default 0).
    pub workers_min: usize,
    /// Async tasks that one worker runs at once (default 10).
    pub concurrency: usize,
    /// Serve these queues only; all if `None`.
    pub queues: Option<Vec<String>>,
    /// In what order they are served (default: by priority over all).
    pub queue_order: QueueOrder,
    /// How long one beat keeps this server's claims (default 30 s).
    pub lease: Duration,
    /// Time between beats (default 5 s).
    pub beat: Duration,
    /// Time between looks at other servers (default 5 s).
    pub scan: Duration,
    /// Time between looks for work while other processes cannot be heard (default 2 s).
    pub poll: Duration,
    /// Time between looks for work while they can (default 30 s).
    pub fallback_poll: Duration,
    /// Trust notifications (default); else poll every `poll`.
    pub use_notify: bool,
    /// How long running tasks may go on after a stop (default 25 s).
    pub shutdown_grace: Duration,
    /// How long a body may ignore its cancellation before its thread is given up or its process ended, and how long the
    /// other bodies of that process have to end (default 30 s).
    pub cancel_grace: Duration,
    /// How long a body may go on after its time limit before its thread is given up or its process ended (default 2 s).
    pub timeout_grace: Duration,
    /// How long an idle worker stays (default 60 s).
    pub worker_idle_timeout: Duration,
    /// At this many threads given up, the server drains and exits (default 8); in any case when all threads of the runtime
    /// that started it are given up.
    pub abandoned_max: usize,
    /// How long finished tasks are kept.
    pub retention: Retention,
    /// Time between prunings (default 60 s).
    pub prune_every: Duration,
    /// Sizes that results, contexts and log lines may have.
    pub limits: Limits,
    /// The most tasks one claim takes (default 1,000).
    pub claim_max: usize,
    /// How long the end of one attempt is tried again that the database refuses while it takes others, before it is set
    /// aside (default 60 s).
    pub refused_end_max: Duration,
    /// Whether this process runs Rust tasks (default). Takes effect at the start.
    pub lanes: bool,
    /// Claims nothing by itself, only what a child asks for (`Asked::Take` in `children/frame.rs`); one child is
    /// always there. Takes effect at the start.
    #[doc(hidden)]
    pub on_demand: bool,
    /// How child processes are started that run Python's tasks; none if `None`. Takes effect at the start.
    #[doc(hidden)]
    pub children: Option<ChildCommand>,
    /// Children run only functions that are declared as tasks (default: any function of the application).
    pub only_declared: bool,
    /// Further fields may come: a literal ends in `..Default::default()`.
    #[doc(hidden)]
    pub unlisted: taskyard_core::Unlisted,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: host_name(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers_min: 0,
            concurrency: 10,
            queues: None,
            queue_order: QueueOrder::Priority,
            lease: Duration::from_secs(30),
            beat: Duration::from_secs(5),
            scan: Duration::from_secs(5),
            poll: Duration::from_secs(2),
            fallback_poll: Duration::from_secs(30),
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
            lanes: true,
            on_demand: false,
            children: None,
            only_declared: false,
            unlisted: taskyard_core::Unlisted::default(),
        }
    }
}

impl ServerConfig {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: a queue that is named twice, an order that does not fit the queues.
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
    /// Shares these settings.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(config))))
    }

    /// The settings now.
    #[must_use]
    pub fn get(&self) -> Arc<ServerConfig> {
        self.0.borrow().clone()
    }

    /// Changes them. `name`, `queues`, `queue_order`, `lease` and `limits` take effect with the next claim, beat or write.
    pub fn update(&self, change: impl FnOnce(&mut ServerConfig)) {
        self.0.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// Hears of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.0.subscribe()
    }
}
