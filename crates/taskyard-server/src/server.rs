//! The life of a server: enter, run, drain, leave.
//!
//! # Threads
//! One for the loops (fetcher, completer, recorder, upkeep, watchdog), and one for the heartbeat. Neither is the caller's, so a
//! web process may be busy without harm. Async bodies run on the runtime that called [`Server::start`], if it has several
//! threads; those that cannot move between threads, and blocking ones, on threads of the executor.
//!
//! # Stopping
//! [`ServerHandle::stop`] ends claiming at once, gives back what has not started, lets what runs go on for the grace
//! period, then releases the rest uncharged, and leaves. The exit is on time even if the database does not answer:
//! the last writes are bounded, and what they could not say is settled by the lease.
//!
//! A server whose database is lost for good ([`Error::is_permanent`]) ends by itself within seconds: it interrupts what runs,
//! writes nothing, and exits with [`ExitReason::DatabaseLost`], so that a supervisor starts a fresh process.

mod drain;
mod exit;
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

use crate::backoff::Backoff;
use crate::children::Children;
use crate::engine::Engine;
use crate::executor::{Executor, Pool, SharedRuntime};
use crate::fetcher::{self, Fetcher};
use crate::state::{Phase, State};
use crate::{LiveConfig, Registry, ServerConfig, completer, heartbeat, panics, recorder, task_context, upkeep};

/// How often bodies are looked at from outside.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// How often a server checks whether its database is lost; its heartbeats notice that, too.
const LOST_EVERY: Duration = Duration::from_secs(1);
/// How long a shutdown waits for additions to be written.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long a server tries to enter before it says that the database is away.
const ENTER_MAX: Duration = Duration::from_secs(10);

/// Runs tasks; made by [`Server::start`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Enters the database and starts running tasks: async bodies on the calling runtime, if that has several threads, else
    /// on threads of their own. When that runtime is shut down, the server stops.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the calling runtime has no timer ([`tokio::runtime::Builder::enable_time`]). Of the registry ([`Registry::check`]), of the configuration ([`ServerConfig::check`]), of the database if it cannot be entered within ten seconds, or of the
    /// system if no thread can be started.
    pub async fn start(
        store: Arc<dyn Store>,
        client: Client,
        registry: impl Into<Arc<Registry>>,
        config: ServerConfig,
    ) -> Result<ServerHandle> {
        let registry: Arc<Registry> = registry.into();
        // Without bodies of this process, nothing takes a state.
        if config.lanes {
            registry.check()?
        } else {
            registry.check_kinds()?
        }
        let registry = registry.without_skipped();
        config.check()?;
        panics::watch_places();
        task_context::install();
        let caller = SharedRuntime::of_caller()?;
        let runtime = OwnRuntime::new()?;
        let id = ServerId::generate();
        let engine = Engine::new(registry, LiveConfig::new(config), Some(store.clone()), Some(client));
        engine.hook_tasks.run_on(tokio::runtime::Handle::try_current().ok());
        let serves = engine.serves();
        enter(store.as_ref(), id, &engine.settings.get(), &serves).await?;
        let mut executors: Vec<Box<dyn Executor>> = Vec::new();
        if engine.settings.get().lanes {
            executors.push(Box::new(Pool::new(engine.clone(), caller, runtime.get().handle())));
        }
        if let Some(command) = engine.settings.get().children.clone() {
            executors.push(Box::new(Children::new(engine.clone(), command, runtime.get().handle().clone())));
        }
        let state = Arc::new(State::new(engine, store, executors, id));
        state.say(id, serves);
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
                loops.engine.records.take();
                loops.engine.ends.take();
                drop(runtime);
                exit_tx.send_replace(Some(exit));
            })
            .map_err(|error| thread_error(&error))?;
        tracing::info!(server = %id, "the server is running");
        Ok(ServerHandle { state, exit })
    }
}

/// The runtime of the server's own thread. Unlike [`Runtime`], which waits for its threads, it may be dropped in async code.
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
            // An answer that was lost: the row is there.
            Ok(()) | Err(Error::DuplicateId(_)) => return Ok(()),
            Err(error) if error.is_transient() && began.elapsed() < ENTER_MAX => {
                tracing::warn!(%error, "cannot enter the database; trying again");
                backoff.pause().await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// All loops until the end.
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
    loops.spawn(recorder::run(state.engine.clone(), state.store.clone()));
    loops.spawn(watch_bodies(state.clone()));
    loops.spawn(upkeep::run(state.clone()));
    loops.spawn(upkeep::deaths::run(state.clone()));
    let reason = tokio::select! {
        () = state.reached(Phase::Aborted) => return ServerExit::new(ExitReason::Aborted, state),
        error = state.database_lost() => return drain::give_up(state, &error).await,
        () = state.reached(Phase::Draining) => ExitReason::Stopped,
        why = broken(&mut loops, &mut fetchers) => {
            tracing::error!(why, "a loop of the server broke; it drains and exits");
            state.advance(Phase::Draining);
            ExitReason::Broken
        }
    };
    tokio::select! {
        () = state.reached(Phase::Aborted) => ServerExit::new(ExitReason::Aborted, state),
        error = state.database_lost() => drain::give_up(state, &error).await,
        () = drain::drain(state, &mut fetchers, stop_beat) => {
            let worn_out = state.worn_out.load(std::sync::atomic::Ordering::Acquire);
            ServerExit::new(if worn_out { ExitReason::Abandoned } else { reason }, state)
        }
    }
}

/// Returns when a loop panicked: none of them ends by itself before the server stops.
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

/// Looks after bodies from outside, counts the threads given up, and notices that the database is lost.
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
            tracing::error!(abandoned, "too many threads had to be given up: the server drains and exits");
            state.worn_out.store(true, std::sync::atomic::Ordering::Release);
            state.advance(Phase::Draining);
        } else if state.executors.iter().any(|executor| executor.has_lost_its_runtime()) {
            tracing::warn!("the runtime that started the server was shut down: the server stops");
            state.advance(Phase::Draining);
        }
    }
}

/// A running server; clones mean the same one. Dropping it does not stop the server.
#[derive(Clone)]
pub struct ServerHandle {
    state: Arc<State>,
    exit: watch::Receiver<Option<ServerExit>>,
}

impl ServerHandle {
    /// Its id now; it changes if another server declares it dead.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.state.id()
    }

    /// Its settings, to read and to change while it runs.
    #[must_use]
    pub fn settings(&self) -> LiveConfig {
        self.state.engine.settings.clone()
    }

    /// Begins a graceful stop: see the module.
    pub fn stop(&self) {
        self.state.advance(Phase::Draining);
    }

    /// Stops gracefully, waits until the server has ended, and then until what was added through its queue is written, for five
    /// seconds at most; what is not written by then is tried on, and logged if it is lost. The queue can be used afterwards:
    /// close it last ([`Client::close`]).
    pub async fn shutdown(&self) -> ServerExit {
        self.stop();
        let exit = self.wait().await;
        if let Some(client) = &self.state.engine.client {
            // It fails when the queue is closed: then nothing waits.
            let _ = tokio::time::timeout(FLUSH_MAX, client.flush()).await;
        }
        exit
    }

    /// Cuts the grace period short (the second signal).
    pub fn hasten(&self) {
        self.state.advance(Phase::Hastened);
    }

    /// Replaces the child processes by new ones, which load the application's code as it is now. What runs in the old
    /// ones goes on there to its end.
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
            // The thread is gone without a word.
            Err(_) => ServerExit::new(ExitReason::Broken, &self.state),
        }
    }

    /// Whether it has ended, stopped or by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.exit.borrow().is_some() || self.exit.has_changed().is_err()
    }

    /// What it does now, and has done.
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
