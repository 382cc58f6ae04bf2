//! `taskyard demo [DIR]`: real tasks over the files of a directory, on a queue of its own.
//!
//! One task per regular file reads it (`tasks`, `read`); one joining task with all of them as parents writes the report
//! (`report`). A run is found again by its joining task, so an interrupted one goes on where it was and a finished one
//! is followed by a new one (`begin`). Where its files lie is decided in `home`; what is shown meanwhile is in `watch`.

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

use crate::commands::Interrupts;
use crate::failure::Failure;
use crate::out::remark;
use crate::project;
use crate::session::{Session, shown};
use begin::Run;
use home::Home;
use watch::Watch;

/// Run real tasks over the files of a directory and report on them
///
/// For every regular file one task computes its SHA-256, its size, its lines (as `wc -l` counts them) and its size
/// under gzip; a last task, which waits for all of them, reports totals, the largest, duplicates and failures. Links
/// are not followed; pipes, sockets and devices are counted and never opened; directories named .git, target,
/// node_modules and .taskyard are left out. Ctrl-C stops gracefully and the same command goes on; after a finished run
/// it starts anew. Exit code 1 if a file failed.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The directory
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

/// How a run ended.
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
                "{} cannot be written or is not trusted; what belongs to the demo lies elsewhere",
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
                remark(format_args!("{name}: nothing had started yet"));
                return Ok(130);
            }
        };
        match work(&taskyard, &run, &mut interrupts).await? {
            End::Interrupted => Ok(130),
            End::Finished(end) => finished(session, &home, end),
        }
    }
}

/// Serves the run until its report is written, or until someone interrupts it.
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
                    watch.say(&format!("{}: stopping; what runs is given back", interrupt.name));
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
            remark(format_args!("{}; the same command goes on from here", watch.words()));
            Ok(End::Interrupted)
        }
        None => Err(Failure::work(format!("{}, and someone stopped the others", watch.words()))
            .with_hint("the same command retries them and goes on")),
    }
}

fn finished(session: &Session, home: &Home, end: taskyard::Final) -> Result<u8, Failure> {
    if end.state != TaskState::Done {
        let why = end.error.map_or_else(|| end.state.to_string(), |error| error.message);
        return Err(
            Failure::work(format!("the report could not be written: {why}")).with_hint("the same command starts anew")
        );
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
        Failure::usage(format!("{}: {}", given.display(), project::plain(&error))).with_hint("name a directory")
    })?;
    if root.is_dir() {
        Ok(root)
    } else {
        Err(Failure::usage(format!("{} is no directory", given.display())).with_hint("name a directory"))
    }
}

/// The settings in force, on the demo's own queue, with a lease short enough that a killed run is resumed soon.
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
        // Its tasks are this command's own, and not the project's.
        namespace: None,
        ..session.settings().clone()
    }
}
