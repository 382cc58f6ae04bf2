//! Runs a server, a web application, or both, until a signal stops them.
//!
//! The first SIGTERM, SIGINT or SIGHUP stops them gracefully, a second signal stops them at once, and so does a first SIGQUIT; all
//! end with exit code 0. Exit code 75 requests a restart from a supervisor: too many bodies did not free their threads, or the
//! SQLite file is lost. If the web application ends, the server is stopped too, and the application's exit code is returned.

use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use taskyard_config::project::working_directory;
use taskyard_server::children::ChildCommand;
use taskyard_server::{ExitReason, ServerHandle};
use taskyard_terminal::{Failure, remark};
use tokio::process::Child;

use crate::commands::reload::Reload;
use crate::commands::{Interrupt, Interrupts};
use crate::python::{self, Python};
use crate::session::Session;

/// Exit code that requests a restart: `EX_TEMPFAIL` of sysexits.h.
const EXIT_AGAIN: u8 = 75;
/// Exit code of a Python program that has lost tasks.
const EXIT_LOST: u8 = 120;

/// Time between two attempts to reach the database at the start.
const TRIED_EVERY: Duration = Duration::from_millis(500);
/// Time between two log lines about a database that cannot be reached at the start.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Flags for the number of workers and the tasks that they run.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// Most workers [default: CPU count]
    #[arg(short = 'w', long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Async tasks that a worker runs at once [default: 10]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Serve these queues only, separated by commas; with weights as in critical:3,default:1 [default: all]
    #[arg(long, value_name = "A,B")]
    queues: Option<String>,
    /// Serve them by priority over all, strict (in the given order) or by weights [default: priority]
    #[arg(long, value_name = "ORDER")]
    queue_order: Option<String>,
    /// The server's label [default: host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Also run functions of these Python modules, separated by commas (setting `include`)
    #[arg(long, value_name = "MODULES")]
    include: Option<String>,
    /// Restart workers and the web application when a Python file of the project changes; for development
    #[arg(long)]
    pub(crate) reload: bool,
}

impl Workers {
    /// Returns the settings given by these flags.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        [
            ("max_workers", self.workers.map(|number| number.to_string())),
            ("concurrency", self.concurrency.map(|number| number.to_string())),
            ("queues", self.queues.clone()),
            ("queue_order", self.queue_order.clone()),
            ("server_name", self.name.clone()),
            ("include", self.include.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// A function that starts the web application's process.
pub(crate) type StartWeb<'a> = dyn Fn() -> Result<Child, Failure> + 'a;

/// Longest time for a web application that is being replaced to finish its requests.
const REPLACE_MAX: Duration = Duration::from_secs(3);

/// A server, a web application, or both, while they run.
pub(crate) struct Run {
    interrupts: Interrupts,
    server: Option<ServerHandle>,
    /// The command of the server's workers if they are Python processes.
    worker: Option<(Python, ChildCommand)>,
    web: Option<Child>,
    /// When the web application's old process is killed; set while it is being replaced.
    replaced: Option<tokio::time::Instant>,
    reload: Option<Reload>,
}

impl Run {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// A failure with exit code 1 if a handler cannot be installed.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            interrupts: Interrupts::listen()?,
            server: None,
            worker: None,
            web: None,
            replaced: None,
            reload: None,
        })
    }

    /// Watches the project's Python files, to restart workers and web application when one changes.
    ///
    /// # Errors
    /// A usage failure (exit code 2) if this program runs no Python tasks; the errors of [`Reload::start`].
    pub(crate) async fn reload(&mut self, session: &Session) -> Result<(), Failure> {
        let python = session.python().ok_or_else(|| {
            Failure::usage("--reload watches Python files, and this program runs Rust tasks only")
                .with_hint("use a tool such as cargo-watch to rebuild and restart it")
        })?;
        let (directory, root) = (working_directory()?, &session.root().path);
        let directory = if directory.starts_with(root) { root } else { &directory };
        self.reload = Some(Reload::start(python, directory).await?);
        remark(format_args!("reload: Python files below {}", directory.display()));
        Ok(())
    }

    /// Starts a server. `app` is the application on the command line; with `is_factory` it names a function that creates it.
    ///
    /// # Errors
    /// [`taskyard::Error`] of the database unless it is transient; a failure if there is no application or it cannot be loaded; a
    /// failure without a message after a signal.
    pub(crate) async fn server(
        &mut self,
        session: &Session,
        app: Option<&str>,
        workers: &Workers,
        is_factory: bool,
    ) -> Result<(), Failure> {
        remark(format_args!("database: {}", session.address()));
        let taskyard = self.until_there(async || session.taskyard_of_server().await).await?;
        let mut config = taskyard.server_config();
        // The number of a Python application's functions is unknown, because they are looked up when first claimed.
        let functions = session.python().is_none().then(|| taskyard.registry().kinds().len());
        if let Some(python) = session.python() {
            let mut app = python::application(app, session)?;
            if let Some(app) = app.as_mut().filter(|app| is_factory && !python::split_factory(app).1) {
                app.push_str(if app.contains(':') { "()" } else { ":app()" });
            }
            match &app {
                Some(app) => remark(format_args!("application: {app}")),
                None if session.settings().include.is_empty() => {
                    return Err(Failure::usage("there is no application whose tasks could be run").with_hint(
                        "name it: --app module:attribute, TASKYARD_APP, or app = \"…\" under [tool.taskyard] in pyproject.toml",
                    ));
                }
                None => {}
            }
            let worker = python.worker(app.as_deref(), session);
            loop {
                let checked = tokio::select! {
                    checked = python.check(&worker) => checked,
                    _ = self.interrupts.next() => return Err(Failure::quiet(130)),
                };
                let Err(failure) = checked else { break };
                let Some(reload) = &mut self.reload else { return Err(failure) };
                tracing::error!("{failure}; it is loaded again when a file changes");
                tokio::select! {
                    changed = reload.changed() => drop(changed.ok_or(failure)?),
                    _ = self.interrupts.next() => return Err(Failure::quiet(130)),
                }
            }
            config.children = Some(worker.clone());
            config.run_rust = false;
            self.worker = Some((python.clone(), worker));
        } else if app.is_some() || workers.include.is_some() {
            return Err(Failure::usage(
                "--app and --include name Python modules, and this program runs Rust tasks only",
            )
            .with_hint("start the server with the `taskyard` command of the Python package"));
        }
        let server = self.until_there(async || Ok(taskyard.serve_with(config.clone()).await)).await?;
        tracing::info!(
            server = %server.id(),
            workers = session.settings().max_workers,
            functions,
            "the server runs; SIGTERM or Ctrl-C stops it"
        );
        self.server = Some(server);
        Ok(())
    }

    /// Repeats `attempt` until the database can be reached or a signal arrives, because a service may be started before its database.
    /// Logs the reason at once and then every ten seconds.
    ///
    /// # Errors
    /// The first error that is not transient: a wrong address or password, another version of the schema. After a signal, a failure
    /// without a message and with exit code 0.
    async fn until_there<T>(
        &mut self,
        attempt: impl AsyncFn() -> Result<taskyard::Result<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut said: Option<tokio::time::Instant> = None;
        loop {
            let tried = async {
                let error = match attempt().await? {
                    Ok(there) => return Ok(Some(there)),
                    Err(error) if error.is_transient() => error,
                    Err(error) => return Err(error.into()),
                };
                if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                    said = Some(tokio::time::Instant::now());
                    tracing::warn!("{error}; waiting for the database; SIGTERM or Ctrl-C stops the server");
                }
                tokio::time::sleep(TRIED_EVERY).await;
                Ok::<_, Failure>(None)
            };
            tokio::select! {
                there = tried => if let Some(there) = there? {
                    return Ok(there);
                },
                Interrupt { name: signal, .. } = self.interrupts.next() => {
                    tracing::info!(signal, "stopping: no server has started");
                    return Err(Failure::quiet(0));
                }
            }
        }
    }

    /// Starts the web application if given, and waits until everything has ended; returns the exit code.
    ///
    /// # Errors
    /// A failure if the web application cannot be started; a failure with exit code 75 and the reason if the server must be
    /// restarted.
    pub(crate) async fn until_ended(mut self, session: &Session, web: Option<&StartWeb<'_>>) -> Result<u8, Failure> {
        let mut asked = 0_u32;
        let (mut exit, mut web_exit) = (None, None);
        self.web = web.map(|start| start()).transpose()?;
        while self.server.is_some() || self.web.is_some() || self.reload.is_some() {
            tokio::select! {
                ended = ended(self.server.as_ref()) => {
                    exit = Some(ended);
                    self.server = None;
                    self.replace_nothing();
                    self.stop_web();
                }
                status = exited(self.web.as_mut()) => {
                    self.web = None;
                    if self.replaced.take().is_some() {
                        self.web = web.map(|start| start()).transpose()?;
                        continue;
                    }
                    if self.reload.is_some() {
                        tracing::error!(%status, "the web application has ended; it starts again when a file changes");
                        continue;
                    }
                    web_exit = Some(status);
                    if asked == 0 {
                        tracing::error!(%status, "the web application has ended; the server stops too");
                    }
                    self.server.iter().for_each(ServerHandle::stop);
                }
                files = changed(self.reload.as_mut()) => match files {
                    Some(files) => {
                        tracing::info!(files, "reloading");
                        if let Some(interrupt) = self.replace(web).await? {
                            asked += 1;
                            self.asked(session, interrupt, asked);
                        }
                    }
                    None => self.reload = None,
                },
                () = passed(self.replaced) => {
                    self.replaced = Some(tokio::time::Instant::now() + REPLACE_MAX);
                    if let Some(web) = &mut self.web {
                        let _ = web.start_kill();
                    }
                }
                interrupt = self.interrupts.next() => {
                    asked += 1;
                    self.asked(session, interrupt, asked);
                }
            }
        }
        let lost = exit.as_ref().is_some_and(|exit| exit.reason == ExitReason::DatabaseLost);
        match (exit.map(|exit| exit.exit_code()), web_exit) {
            (Some(EXIT_AGAIN), _) if lost => {
                Err(Failure::work(format!("the database {} is lost, and the server has ended", session.address()))
                    .with_exit(EXIT_AGAIN)
                    .with_hint(
                        "restore its files and start the server again; a new process opens the files that are there then",
                    ))
            }
            (Some(EXIT_AGAIN), _) => {
                Err(Failure::work("the server has given its tasks back and ended: too many threads are blocked, so a new process is needed")
                    .with_exit(EXIT_AGAIN)
                    .with_hint("start the server again; `taskyard dead list` shows the tasks that did not free their threads"))
            }
            (_, Some(status)) if asked == 0 && !status.success() => Ok(status.code().map_or(1, |code| code as u8)),
            // The web application was asked to stop, and has lost tasks.
            (None | Some(0), Some(status)) if status.code() == Some(i32::from(EXIT_LOST)) => Ok(EXIT_LOST),
            (exit, _) => Ok(exit.unwrap_or(0)),
        }
    }

    /// Replaces workers and web application; keeps the running ones if the new application cannot be loaded. Returns a signal that
    /// arrives in the meantime.
    async fn replace(&mut self, web: Option<&StartWeb<'_>>) -> Result<Option<Interrupt>, Failure> {
        if let (Some(server), Some((python, worker))) = (&self.server, &self.worker) {
            tokio::select! {
                checked = python.check(worker) => if checked.is_err() {
                    tracing::error!("the application cannot be loaded; the running processes continue until the next change");
                    return Ok(None);
                },
                interrupt = self.interrupts.next() => return Ok(Some(interrupt)),
            }
            server.renew_children();
        }
        if self.web.is_some() {
            self.replaced.get_or_insert_with(|| tokio::time::Instant::now() + REPLACE_MAX);
            self.stop_web();
        } else {
            self.web = web.map(|start| start()).transpose()?;
        }
        Ok(None)
    }

    /// Ends reloading: processes that end from now on are not started again.
    fn replace_nothing(&mut self) {
        self.reload = None;
        self.replaced = None;
    }

    fn asked(&mut self, session: &Session, Interrupt { name: signal, at_once, .. }: Interrupt, times: u32) {
        self.replace_nothing();
        self.server.iter().for_each(ServerHandle::stop);
        let is_graceful = times == 1 && !at_once;
        if is_graceful {
            let grace = session.settings().shutdown_grace;
            tracing::info!(
                signal,
                ?grace,
                "stopping: no further task starts, running tasks may finish; another signal stops at once"
            );
        } else {
            tracing::info!(signal, "stopping at once: running tasks are given back");
            self.server.iter().for_each(ServerHandle::hasten);
        }
        // uvicorn drops open requests only on SIGINT.
        self.signal_web(if is_graceful { Signal::TERM } else { Signal::INT });
    }

    /// Sends SIGTERM to the web application: uvicorn then finishes open requests.
    fn stop_web(&self) {
        self.signal_web(Signal::TERM);
    }

    fn signal_web(&self, signal: Signal) {
        let id = self.web.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            let _ = kill_process(id, signal);
        }
    }
}

async fn ended(server: Option<&ServerHandle>) -> taskyard::ServerExit {
    match server {
        Some(server) => server.wait().await,
        None => std::future::pending().await,
    }
}

async fn changed(reload: Option<&mut Reload>) -> Option<String> {
    match reload {
        Some(reload) => reload.changed().await,
        None => std::future::pending().await,
    }
}

async fn passed(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn exited(web: Option<&mut Child>) -> ExitStatus {
    match web {
        Some(web) => web.wait().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
