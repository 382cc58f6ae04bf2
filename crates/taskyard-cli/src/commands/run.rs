//! What runs until it is told to stop: a server, a web application, or both.
//!
//! The first SIGTERM, SIGINT or SIGHUP stops it gracefully, a second one hastens it, and SIGQUIT does both at once; all end
//! with exit code 0. Exit code 75 asks a supervisor for a new process: too many bodies held on to their threads, or the SQLite
//! file is gone. If the web application ends, the server ends with it, and its exit code is the command's.

use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use taskyard_server::children::ChildCommand;
use taskyard_server::{ExitReason, ServerHandle};
use tokio::process::Child;

use crate::commands::reload::Reload;
use crate::commands::{Interrupt, Interrupts};
use crate::failure::Failure;
use crate::out::remark;
use crate::project;
use crate::python::{self, Python};
use crate::session::Session;

/// `EX_TEMPFAIL` of sysexits.h: the same call may succeed.
const EXIT_AGAIN: u8 = 75;
/// The exit code of a Python program that has lost tasks.
const EXIT_LOST: u8 = 120;

/// While the database is away at the start: between two tries, and between two lines of the log about it.
const TRIED_EVERY: Duration = Duration::from_millis(500);
const SAID_EVERY: Duration = Duration::from_secs(10);

/// How many workers, and which tasks.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// Workers at most [default: CPU count]
    #[arg(short = 'w', long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Async tasks that one worker runs at once [default: 10]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Serve these queues only, separated by commas; with weights as in critical:3,default:1 [default: all]
    #[arg(long, value_name = "A,B")]
    queues: Option<String>,
    /// Serve them by priority over all, strict (as they are named) or by weights [default: priority]
    #[arg(long, value_name = "ORDER")]
    queue_order: Option<String>,
    /// The server's label [default: host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Also run functions of these Python modules, separated by commas (setting `include`)
    #[arg(long, value_name = "MODULES")]
    include: Option<String>,
    /// Start workers and the web application anew when a Python file of the project changes; for development
    #[arg(long)]
    pub(crate) reload: bool,
}

impl Workers {
    /// The settings that these flags say.
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

/// Starts the web application's process.
pub(crate) type StartWeb<'a> = dyn Fn() -> Result<Child, Failure> + 'a;

/// A web application that is replaced may take so long to answer what it has begun.
const REPLACE_MAX: Duration = Duration::from_secs(3);

/// What runs.
pub(crate) struct Run {
    interrupts: Interrupts,
    server: Option<ServerHandle>,
    /// How the server's workers are started, if they are Python processes.
    worker: Option<(Python, ChildCommand)>,
    web: Option<Child>,
    /// When the web application's process is killed that a newer one is to replace.
    replaced: Option<tokio::time::Instant>,
    reload: Option<Reload>,
}

impl Run {
    /// Signals are heard from here on.
    ///
    /// # Errors
    /// The system has no room for a handler.
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

    /// Watches the project's Python files: what runs is started anew when one changes.
    ///
    /// # Errors
    /// This program runs no Python, or the files cannot be watched.
    pub(crate) async fn reload(&mut self, session: &Session) -> Result<(), Failure> {
        let python = session.python().ok_or_else(|| {
            Failure::usage("--reload watches Python files, and this program runs Rust tasks only")
                .with_hint("build and start it anew by a tool such as cargo-watch")
        })?;
        let (directory, root) = (project::working_directory()?, &session.root().path);
        let directory = if directory.starts_with(root) { root } else { &directory };
        self.reload = Some(Reload::start(python, directory).await?);
        remark(format_args!("reload: Python files below {}", directory.display()));
        Ok(())
    }

    /// Adds a server; `app` is what the command line names, a function that makes the application with `is_factory`.
    ///
    /// # Errors
    /// The database's, or the application's.
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
        // A Python application's functions are found when their names are met.
        let functions = session.python().is_none().then(|| taskyard.registry().kinds().len());
        if let Some(python) = session.python() {
            let mut app = python::application(app, session)?;
            if let Some(app) = app.as_mut().filter(|app| is_factory && !python::split_factory(app).1) {
                app.push_str(if app.contains(':') { "()" } else { ":app()" });
            }
            match &app {
                Some(app) => remark(format_args!("application: {app}")),
                None if session.settings().include.is_empty() => {
                    return Err(Failure::usage("there is no application to run tasks of").with_hint(
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
                tracing::error!("{failure}; it is tried again when a file changes");
                tokio::select! {
                    changed = reload.changed() => drop(changed.ok_or(failure)?),
                    _ = self.interrupts.next() => return Err(Failure::quiet(130)),
                }
            }
            config.children = Some(worker.clone());
            config.lanes = false;
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

    /// Tries again while the database is away, as a service must whose database starts after it: until it is there, or a signal comes. Says why
    /// at once, and every ten seconds.
    ///
    /// # Errors
    /// Errors that do not pass: a wrong address or password, another version of the schema. After a signal, a failure without a message.
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
                    tracing::warn!("{error}; waiting for the database, SIGTERM or Ctrl-C ends that");
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

    /// Starts the web application if there is one, and waits for the end of it all; returns the exit code.
    ///
    /// # Errors
    /// The web application cannot be started, or what exit code 75 means, in words.
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
                        "put its files in order and start the server again: a fresh process opens what is there then",
                    ))
            }
            (Some(EXIT_AGAIN), _) => {
                Err(Failure::work("the server gave its work back and ended: it needs a fresh process")
                    .with_exit(EXIT_AGAIN)
                    .with_hint("start it again; `taskyard dead list` names tasks that held on to their threads"))
            }
            (_, Some(status)) if asked == 0 && !status.success() => Ok(status.code().map_or(1, |code| code as u8)),
            // The web application has stopped as it was asked to, and has lost tasks.
            (None | Some(0), Some(status)) if status.code() == Some(i32::from(EXIT_LOST)) => Ok(EXIT_LOST),
            (exit, _) => Ok(exit.unwrap_or(0)),
        }
    }

    /// Starts workers and web application anew, unless the application cannot be loaded: then what runs goes on. A signal
    /// that comes meanwhile is returned.
    async fn replace(&mut self, web: Option<&StartWeb<'_>>) -> Result<Option<Interrupt>, Failure> {
        if let (Some(server), Some((python, worker))) = (&self.server, &self.worker) {
            tokio::select! {
                checked = python.check(worker) => if checked.is_err() {
                    tracing::error!("the application cannot be loaded; what runs goes on until the next change");
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

    /// What ends from now on is not started again.
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
                "stopping: nothing new starts, what runs may end; another signal hastens it"
            );
        } else {
            tracing::info!(signal, "hastening: what runs is given back now");
            self.server.iter().for_each(ServerHandle::hasten);
        }
        // On a second SIGINT, and on no other signal, uvicorn drops open requests.
        self.signal_web(if is_graceful { Signal::TERM } else { Signal::INT });
    }

    /// Passes a SIGTERM on: uvicorn then answers what it has begun.
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
