//! `taskyard demo [DIR]`: real tasks over the files of a directory, on a queue of its own.
//!
//! A task per regular file reads it (`tasks`, `read`); a joining task with all of them as parents writes the report
//! (`report`). A run is identified by its joining task: an unfinished run is resumed, and after a finished one a new one starts
//! (`begin`). `home` decides where the demo's files are stored; `watch` shows the progress.

mod begin;
mod exact;
mod home;
mod meter;
mod read;
mod report;
mod show;
mod tasks;
mod walk;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use taskyard::{Settings, TaskState, Taskyard};
use taskyard_config::plain;

use crate::commands::Interrupts;
use crate::session::{Session, shown};
use begin::Run;
use home::Home;
use taskyard_terminal::{Failure, remark};
use watch::Watch;

/// Run real tasks over the files of a directory and report on them
///
/// For every regular file one task computes its SHA-256, its size, its lines (as `wc -l` counts them) and its size
/// under gzip; a last task, which waits for all of them, reports totals, the largest, duplicates and failures. Links
/// are not followed; pipes, sockets and devices are counted and never opened; directories named .git, target,
/// node_modules and .taskyard are left out. Ctrl-C stops gracefully, and the same command continues; after a finished run
/// it starts again. Exit code 1 if a file failed.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The directory
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

/// The end of a run.
enum End {
    Finished(taskyard::Final),
    Interrupted,
}

impl Demo {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let root = directory(&self.directory)?;
        let home = Home::find(&root, session.root())?;
        let settings = settings(session, &home);
        let address = settings.database.clone().unwrap_or_default();
        if home.is_elsewhere {
            remark(format_args!(
                "{} cannot be written or is not trusted; the demo stores its files in a directory of this user",
                root.display()
            ));
        }
        remark(format_args!("database: {}", shown(&address)));
        let mut interrupts = Interrupts::listen()?;
        let store = session.open(&settings).await?;
        let taskyard = session
            .bind(store, settings)
            .task_set(&tasks::DEMO_TASKS)
            .state(tasks::Directory { root: root.clone(), report: home.report_path() });
        let run = tokio::select! {
            run = begin::run(&taskyard, &root, &home) => run?,
            interrupt = interrupts.next() => {
                let name = interrupt.name;
                remark(format_args!("{name}: stopped before any task had started"));
                return Ok(130);
            }
        };
        match work(&taskyard, &run, &mut interrupts).await? {
            End::Interrupted => Ok(130),
            End::Finished(end) => finished(session, &home, end),
        }
    }
}

/// Runs a server until the report is written or a signal interrupts the run.
async fn work(taskyard: &Taskyard, run: &Run, interrupts: &mut Interrupts) -> Result<End, Failure> {
    let mut watch = Watch::new(run);
    let server = taskyard.serve().await?;
    let report = run.report.outcome();
    tokio::pin!(report);
    let mut asked = 0_u32;
    let end = loop {
        tokio::select! {
            end = &mut report => break Some(end),
            _ = server.wait() => break None,
            looked = watch.look(taskyard.store().as_ref()) => if looked == watch::Seen::Stuck {
                break None;
            },
            interrupt = interrupts.next() => {
                asked += 1;
                if asked == 1 {
                    watch.say(&format!("{}: stopping; running tasks are given back", interrupt.name));
                    server.stop();
                } else {
                    server.hasten();
                }
            }
        }
    };
    watch.end();
    server.stop();
    server.wait().await;
    match end {
        Some(end) => Ok(End::Finished(end?)),
        None if asked > 0 => {
            remark(format_args!("{}; run the same command to continue from here", watch.words()));
            Ok(End::Interrupted)
        }
        None => Err(Failure::work(format!("{}; the other tasks were stopped by hand", watch.words()))
            .with_hint("run the same command to retry them and continue")),
    }
}

fn finished(session: &Session, home: &Home, end: taskyard::Final) -> Result<u8, Failure> {
    if end.state != TaskState::Done {
        let why = end.error.map_or_else(|| end.state.to_string(), |error| error.message);
        return Err(Failure::work(format!("the report could not be written: {why}"))
            .with_hint("run the same command to start again"));
    }
    let result = end.result.unwrap_or_default();
    let summary: report::Summary = serde_json::from_slice(&result)
        .map_err(|error| Failure::work(format!("the report's summary cannot be read: {error}")))?;
    let text = summary.read(&home.report_path())?;
    show::print(session.out(), &summary, &text)?;
    Ok(u8::from(summary.failed > 0))
}

fn directory(given: &Path) -> Result<PathBuf, Failure> {
    let root = given.canonicalize().map_err(|error| {
        Failure::usage(format!("{}: {}", given.display(), plain(&error))).with_hint("name a directory")
    })?;
    if root.is_dir() {
        Ok(root)
    } else {
        Err(Failure::usage(format!("{} is not a directory", given.display())).with_hint("name a directory"))
    }
}

/// Returns the settings of the demo: its own database and queue, and a lease short enough that a killed run is resumed soon.
fn settings(session: &Session, home: &Home) -> Settings {
    let own = || home.database_path().display().to_string();
    Settings {
        database: Some(session.database_flag().map_or_else(own, str::to_owned)),
        queues: vec![tasks::QUEUE.to_owned()],
        lease: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(2),
        rescue_interval: Duration::from_secs(2),
        shutdown_grace: Duration::from_secs(5),
        auto_migrate: true,
        // The tasks belong to this command and not to the project, so they have no namespace.
        namespace: None,
        ..session.settings().clone()
    }
}
