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
use taskyard_config::project::{Root, plain};
use taskyard_terminal::{Failure, Out, remark};

use begin::Run;
use home::Home;
use watch::Watch;

/// Run real tasks over the files of a directory and report on them
///
/// For every regular file one task computes its SHA-256, its size, its lines (as `wc -l` counts them) and its size
/// under gzip; a last task, which waits for all of them, reports totals, the largest, duplicates and failures. Links
/// are not followed; pipes, sockets and devices are counted and never opened; directories named .git, target,
/// node_modules and .taskyard are left out. Ctrl-C stops gracefully, and the same command continues; after a finished run
/// it starts again. Exit code 1 if a file failed.
#[derive(Debug, Args)]
pub struct Demo {
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
    /// Finds the demo's own directory and locks it. `settings` are the project's, with a database only if the demo must use that
    /// one and not its own.
    ///
    /// # Errors
    /// A failure with exit code 2 if the directory cannot be used, 4 if another demo runs on it; [`taskyard::Error::File`] if the
    /// demo's own directory cannot be written.
    pub fn prepare(&self, settings: &Settings, project: &Root) -> Result<PreparedDemo, Failure> {
        let root = directory(&self.directory)?;
        let home = Home::find(&root, project)?;
        if home.is_elsewhere {
            remark(format_args!(
                "{} cannot be written or is not trusted; the demo stores its files in a directory of this user",
                root.display()
            ));
        }
        let settings = own_settings(settings, &home);
        Ok(PreparedDemo { settings, root, home })
    }
}

/// A demo whose directory is locked by this process, until this is dropped.
#[derive(Debug)]
pub struct PreparedDemo {
    /// The settings with which the demo's queue is to be opened.
    pub settings: Settings,
    root: PathBuf,
    home: Home,
}

impl PreparedDemo {
    /// Runs the demo or continues it, and prints its report; returns the exit code.
    ///
    /// `interrupted` waits for the next signal that requests the end, and returns the name of the signal.
    ///
    /// # Errors
    /// A failure with exit code 1 if the directory cannot be walked or the report cannot be written; otherwise the error of the
    /// database, by variant of [`taskyard::Error`].
    pub async fn run(
        self,
        out: Out,
        queue: Taskyard,
        mut interrupted: impl AsyncFnMut() -> &'static str,
    ) -> Result<u8, Failure> {
        let Self { root, home, .. } = self;
        let directory = tasks::Directory { root: root.clone(), report: home.report_path() };
        let taskyard = queue.task_set(&tasks::DEMO_TASKS).state(directory);
        let run = tokio::select! {
            run = begin::run(&taskyard, &root, &home) => run?,
            name = interrupted() => {
                remark(format_args!("{name}: stopped before any task had started"));
                return Ok(130);
            }
        };
        match work(&taskyard, &run, interrupted).await? {
            End::Interrupted => Ok(130),
            End::Finished(end) => finished(out, &home, end),
        }
    }
}

/// Runs a server until the report is written or a signal interrupts the run.
async fn work(
    taskyard: &Taskyard,
    run: &Run,
    mut interrupted: impl AsyncFnMut() -> &'static str,
) -> Result<End, Failure> {
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
            name = interrupted() => {
                asked += 1;
                if asked == 1 {
                    watch.say(&format!("{name}: stopping; running tasks are given back"));
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

fn finished(out: Out, home: &Home, end: taskyard::Final) -> Result<u8, Failure> {
    if end.state != TaskState::Done {
        let why = end.error.map_or_else(|| end.state.to_string(), |error| error.message);
        return Err(Failure::work(format!("the report could not be written: {why}"))
            .with_hint("run the same command to start again"));
    }
    let result = end.result.unwrap_or_default();
    let summary: report::Summary = serde_json::from_slice(&result)
        .map_err(|error| Failure::work(format!("the report's summary cannot be read: {error}")))?;
    let text = summary.read(&home.report_path())?;
    show::print(out, &summary, &text)?;
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
fn own_settings(settings: &Settings, home: &Home) -> Settings {
    let own = || home.database_path().display().to_string();
    Settings {
        database: Some(settings.database.clone().unwrap_or_else(own)),
        queues: vec![tasks::QUEUE.to_owned()],
        lease: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(2),
        rescue_interval: Duration::from_secs(2),
        shutdown_grace: Duration::from_secs(5),
        auto_migrate: true,
        // The tasks belong to this command and not to the project, so they have no namespace.
        namespace: None,
        ..settings.clone()
    }
}
