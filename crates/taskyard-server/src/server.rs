//! The life cycle of a server: register, run, drain, unregister.
//!
//! # Threads
//! There is one for the loops (fetcher, completer, recorder, upkeep, watchdog) and one for the heartbeat. Neither is
//! the caller's, so a busy web process does no harm. Async bodies run on the runtime that called [`Server::start`], if
//! it has several threads; those that cannot move between threads, and blocking ones, run on threads of the executor.
//!
//! # Stopping
//! [`ServerHandle::stop`] ends claiming at once, releases the tasks that have not started, lets running ones continue
//! for the grace period, then releases the rest without charging an attempt, and unregisters. The exit is on time even
//! if the database does not respond: the last writes are bounded in time, and whatever could not be written is settled
//! by the end of the lease.
//!
//! A server whose database is lost for good ([`Error::is_permanent`]) ends by itself within seconds: it interrupts
//! running tasks, writes nothing, and exits with [`ExitReason::DatabaseLost`], so that a supervisor starts a fresh
//! process.

mod exit;
mod shutdown;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::store::{Serves, Store};
use taskyard_core::{Client, Error, Result, ServerId};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use exit::{ExitReason, ServerExit};
pub use status::ServerStatus;

use crate::attempt::current;
use crate::execute::Executor;
use crate::execute::children::Children;
use crate::execute::in_process::{Pool, SharedRuntime};
use crate::execute::run_context::RunContext;
use crate::loops::fetcher::{self, Fetcher};
use crate::loops::state::{Phase, State};
use crate::loops::{completer, heartbeat, recorder};
use crate::primitives::panics;
use crate::{LiveConfig, Registry, ServerConfig, upkeep};
use taskyard_core::backoff::Backoff;

/// Interval at which bodies are checked from outside.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Interval at which a server checks whether its database is lost. Heartbeats detect that too.
const LOST_EVERY: Duration = Duration::from_secs(1);
/// Maximum time for which a shutdown waits for additions to be written.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Maximum time for which a server tries to register before it reports the database as unavailable.
const ENTER_MAX: Duration = Duration::from_secs(10);

/// Runs tasks; started by [`Server::start`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Registers with the database and starts running tasks: async bodies on the calling runtime, if that has several
    /// threads, otherwise on threads of their own. When that runtime is shut down, the server stops.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] if the calling runtime has no timer ([`tokio::runtime::Builder::enable_time`]), if
    ///   the registry or the configuration is invalid ([`Registry::check`], [`ServerConfig::check`]), or if the system
    ///   refuses a thread.
    /// - The store's error if the server cannot register; transient ones, such as [`Error::Connection`], are retried
    ///   for ten seconds.
    pub async fn start(
        store: Arc<dyn Store>,
        client: Client,
        registry: impl Into<Arc<Registry>>,
        config: ServerConfig,
    ) -> Result<ServerHandle> {
        let registry: Arc<Registry> = registry.into();
        // State values are taken only by bodies that run in this process.
        if config.run_rust {
            registry.check()?
        } else {
            registry.check_kinds()?
        }
        let registry = registry.without_skipped();
        config.check()?;
        panics::record_locations(current::is_current);
        current::install();
        let caller = SharedRuntime::of_caller()?;
        let runtime = OwnRuntime::new()?;
        let id = ServerId::generate();
        let run_context = RunContext::new(registry, LiveConfig::new(config), Some(store.clone()), Some(client));
        run_context.host.hook_tasks.run_on(tokio::runtime::Handle::try_current().ok());
        let serves = run_context.serves();
        enter(store.as_ref(), id, &run_context.settings.get(), &serves).await?;
        let mut executors: Vec<Box<dyn Executor>> = Vec::new();
        if run_context.settings.get().run_rust {
            executors.push(Box::new(Pool::new(run_context.clone(), caller, runtime.get().handle())));
        }
        if let Some(command) = run_context.settings.get().children.clone() {
            executors.push(Box::new(Children::new(run_context.clone(), command, runtime.get().handle().clone())));
        }
        let state = Arc::new(State::new(run_context, store, executors, id));
        state.note_serves(id, serves);
        let (exit_tx, exit) = watch::channel(None);
        let (stop_beat, beat_stopped) = watch::channel(false);
        heartbeat::spawn(state.clone(), beat_stopped).map_err(|error| thread_error(&error))?;
        let loops = state.clone();
        std::thread::Builder::new()
            .name("taskyard-server".into())
            .spawn(move || {
                let exit = runtime.get().block_on(live(&loops, &stop_beat));
                stop_beat.send_replace(true);
                for executor in &loops.executors {
                    executor.close();
                }
                loops.run_context.host.outbox.records.take();
                loops.run_context.host.outbox.ends.take();
                drop(runtime);
                exit_tx.send_replace(Some(exit));
            })
            .map_err(|error| thread_error(&error))?;
        tracing::info!(server = %id, "the server is running");
        Ok(ServerHandle { state, exit })
    }
}

/// The runtime of the server's own thread. Unlike [`Runtime`], which waits for its threads, it may be dropped in async
/// code.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> Result<Self> {
        let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self(Some(made.map_err(|error| thread_error(&error))?)))
    }

    fn get(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn thread_error(error: &std::io::Error) -> Error {
    Error::InvalidArgument { what: "server", why: format!("the system refuses a thread: {error}") }
}

async fn enter(store: &dyn Store, id: ServerId, config: &ServerConfig, serves: &Serves) -> Result<()> {
    let (began, mut backoff) = (Instant::now(), Backoff::default());
    loop {
        failpoint!("server_enter", Before);
        let entered = store.server_enter(&heartbeat::newcomer(id, config, serves.clone())).await;
        failpoint!("server_enter", After);
        match entered {
            // A duplicate id means that the reply to an earlier attempt was lost: the row exists.
            Ok(()) | Err(Error::DuplicateId(_)) => return Ok(()),
            Err(error) if error.is_transient() && began.elapsed() < ENTER_MAX => {
                tracing::warn!(%error, "cannot register in the database; trying again");
                backoff.pause().await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Runs all loops until the server ends.
async fn live(state: &Arc<State>, stop_beat: &watch::Sender<bool>) -> ServerExit {
    let (mut fetchers, mut loops) = (JoinSet::new(), JoinSet::new());
    for executor in 0..state.executors.len() {
        let fetcher = Fetcher::new(state.clone(), executor);
        if state.config().on_demand {
            fetchers.spawn(fetcher.run_on_demand());
        } else {
            fetchers.spawn(fetcher.run());
        }
    }
    loops.spawn(completer::run(state.clone()));
    loops.spawn(recorder::run(state.run_context.host.clone(), state.store.clone()));
    loops.spawn(watch_bodies(state.clone()));
    loops.spawn(upkeep::run(state.clone()));
    loops.spawn(upkeep::deaths::run(state.clone()));
    let reason = tokio::select! {
        () = state.reached(Phase::Aborted) => return ServerExit::new(ExitReason::Aborted, state),
        error = state.database_lost() => return shutdown::give_up(state, &error).await,
        () = state.reached(Phase::Draining) => ExitReason::Stopped,
        why = broken(&mut loops, &mut fetchers) => {
            tracing::error!(why, "a background loop of the server failed; the server drains and exits");
            state.advance(Phase::Draining);
            ExitReason::Broken
        }
    };
    tokio::select! {
        () = state.reached(Phase::Aborted) => ServerExit::new(ExitReason::Aborted, state),
        error = state.database_lost() => shutdown::give_up(state, &error).await,
        () = shutdown::shut_down(state, &mut fetchers, stop_beat) => {
            let worn_out = state.worn_out.load(std::sync::atomic::Ordering::Acquire);
            ServerExit::new(if worn_out { ExitReason::Abandoned } else { reason }, state)
        }
    }
}

/// Returns when a loop panicked; no loop ends by itself before the server stops.
async fn broken(loops: &mut JoinSet<()>, fetchers: &mut JoinSet<()>) -> String {
    loop {
        let ended = tokio::select! {
            Some(ended) = loops.join_next() => ended,
            Some(ended) = fetchers.join_next() => ended,
            else => std::future::pending().await,
        };
        if let Err(error) = ended {
            return error.to_string();
        }
    }
}

/// Checks bodies from outside, counts the abandoned threads, and detects that the database is lost.
async fn watch_bodies(state: Arc<State>) {
    let mut lost_checked = Instant::now();
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let now = Instant::now();
        if now.duration_since(lost_checked) >= LOST_EVERY {
            lost_checked = now;
            state.store.lost().iter().for_each(|error| state.note(error));
        }
        for executor in &state.executors {
            executor.watch(now);
        }
        fetcher::give_back_late(&state);
        if state.phase() != Phase::Running {
            continue;
        }
        let max = state.config().abandoned_max;
        if let Some(abandoned) = state.executors.iter().find_map(|executor| executor.worn_out(max)) {
            tracing::error!(abandoned, "too many threads were given up: the server drains and exits");
            state.worn_out.store(true, std::sync::atomic::Ordering::Release);
            state.advance(Phase::Draining);
        } else if state.executors.iter().any(|executor| executor.has_lost_its_runtime()) {
            tracing::warn!("the runtime that started the server was shut down: the server stops");
            state.advance(Phase::Draining);
        }
    }
}

/// A running server. Clones refer to the same server; dropping them does not stop it.
#[derive(Clone)]
pub struct ServerHandle {
    state: Arc<State>,
    exit: watch::Receiver<Option<ServerExit>>,
}

impl ServerHandle {
    /// Returns the server's current id, which changes if another server declares it dead.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.state.id()
    }

    /// Returns the settings, which can be read and changed while the server runs.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let server = queue.serve().await?;
    /// server.settings().update(|config| config.queues = Some(vec!["mail".into()])); // from the next claim on
    /// assert_eq!(server.settings().get().queues, Some(vec!["mail".into()]));
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn settings(&self) -> LiveConfig {
        self.state.run_context.settings.clone()
    }

    /// Begins a graceful stop: see the module.
    pub fn stop(&self) {
        self.state.advance(Phase::Draining);
    }

    /// Stops gracefully, waits until the server has ended, and then at most five seconds until the additions made
    /// through its client are written. Writing the remaining ones continues in the background; those that are lost are
    /// logged. The client can be used afterwards: close it last ([`Client::close`]).
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use std::time::Duration;
    /// use taskyard::ExitReason;
    ///
    /// let server = queue.serve().await?;
    /// queue.add_later(send("ada@example.org".into()))?;
    /// let exit = server.shutdown().await;
    /// assert_eq!(exit.reason, ExitReason::Stopped);
    /// queue.close(Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self) -> ServerExit {
        self.stop();
        let exit = self.wait().await;
        if let Some(client) = &self.state.run_context.client {
            // Fails if the client is closed; then nothing waits to be written.
            let _ = tokio::time::timeout(FLUSH_MAX, client.flush()).await;
        }
        exit
    }

    /// Ends the grace period at once (the second signal).
    pub fn hasten(&self) {
        self.state.advance(Phase::Hastened);
    }

    /// Replaces the child processes by new ones, which load the current code of the application. Tasks that run in the
    /// old processes continue there to their end.
    pub fn renew_children(&self) {
        for executor in &self.state.executors {
            executor.renew();
        }
    }

    /// Drops everything without a write, as a kill would; for tests.
    pub fn abort(&self) {
        self.state.advance(Phase::Aborted);
    }

    /// Waits until the server has ended.
    pub async fn wait(&self) -> ServerExit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(|| ServerExit::new(ExitReason::Broken, &self.state)),
            // The server's thread ended without sending its exit.
            Err(_) => ServerExit::new(ExitReason::Broken, &self.state),
        }
    }

    /// Returns true once the server has ended, on request or by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.exit.borrow().is_some() || self.exit.has_changed().is_err()
    }

    /// Returns the server's current activity and its counters.
    ///
    /// ```
    /// # #[taskyard::task] async fn send(to: String) -> usize { to.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// let server = queue.serve().await?;
    /// queue.add(send("ada@example.org".into())).await?.wait().await?;
    /// println!("{:?}", server.status());
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        status::status(&self.state)
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").field("id", &self.id()).field("status", &self.status()).finish_non_exhaustive()
    }
}
