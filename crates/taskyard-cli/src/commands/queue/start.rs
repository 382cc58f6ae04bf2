//! `queue start`: a server of the tasks that are linked into this program.
//!
//! The first SIGTERM or SIGINT stops it gracefully, a second one hastens it; both end with exit code 0. Exit code 75
//! asks a supervisor for a new process: too many bodies held on to their threads.

use clap::Args;

use crate::commands::Interrupts;
use crate::failure::Failure;
use crate::out::remark;
use crate::session::{Access, Session};

/// `EX_TEMPFAIL` of sysexits.h: the same call may succeed.
const EXIT_AGAIN: u8 = 75;

/// Run a server
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Workers at most [default: CPU count]
    #[arg(short = 'w', long, value_name = "N")]
    workers: Option<usize>,
    /// Async tasks that one worker runs at once [default: 10]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Serve these queues only, separated by commas [default: all]
    #[arg(long, value_name = "A,B")]
    queues: Option<String>,
    /// The server's label [default: host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A Python application (module:attribute); this program runs Rust tasks only
    #[arg(long, value_name = "MODULE:ATTRIBUTE", hide = true)]
    app: Option<String>,
}

impl Start {
    pub(super) fn flags(&self) -> Vec<(String, String)> {
        [
            ("max_workers", self.workers.map(|number| number.to_string())),
            ("concurrency", self.concurrency.map(|number| number.to_string())),
            ("queues", self.queues.clone()),
            ("server_name", self.name.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }

    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        if self.app.is_some() {
            return Err(Failure::usage("--app names a Python application, and this program runs Rust tasks only")
                .with_hint("start the server with the `taskyard` command of the Python package"));
        }
        let mut interrupts = Interrupts::listen()?;
        let taskyard = session.taskyard(Access::Create).await?;
        remark(format_args!("database: {}", session.address()));
        let kinds = taskyard.registry().kinds().len();
        let server = taskyard.serve().await?;
        tracing::info!(
            server = %server.id(),
            workers = session.settings().max_workers,
            kinds,
            "the server runs; SIGTERM or Ctrl-C stops it"
        );
        let mut asked = 0_u32;
        let exit = loop {
            tokio::select! {
                exit = server.wait() => break exit,
                name = interrupts.next() => {
                    asked += 1;
                    if asked == 1 {
                        tracing::info!(
                            signal = name,
                            grace = ?session.settings().shutdown_grace,
                            "stopping: nothing new starts, what runs may end; another signal hastens it"
                        );
                        server.stop();
                    } else {
                        tracing::info!(signal = name, "hastening: what runs is given back now");
                        server.hasten();
                    }
                }
            }
        };
        match exit.exit_code() {
            EXIT_AGAIN => Err(Failure::work("the server gave its work back and ended: it needs a fresh process")
                .with_exit(EXIT_AGAIN)
                .with_hint("start it again; `taskyard dead list` names tasks that held on to their threads")),
            exit => Ok(exit),
        }
    }
}
