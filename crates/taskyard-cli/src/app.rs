//! Parses the arguments, runs the command on a Tokio runtime and maps its result to an exit code.

use std::ffi::OsString;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use taskyard::Taskyard;
use taskyard_config::project::{self, Flags};
use taskyard_terminal::{Failure, Out, escape, remark_lines};

use crate::python::Python;
use crate::session::Session;
use crate::{commands, init, logging, settings_help};

/// Threads of the runtime beyond `max_workers`, for the engine itself and for task bodies that block.
const SPARE_THREADS: usize = 8;

/// Background tasks in the database that the application already has
#[derive(Debug, Parser)]
#[command(name = "taskyard", version, max_term_width = 120, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Top,
}

#[derive(Debug, Args)]
struct Global {
    /// The database: postgresql://user:password@host:5432/name, or a SQLite file
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// The project's root, trusted regardless of its owner [default: found upwards from the working directory]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<std::path::PathBuf>,
    /// Print JSON for programs on stdout, everything else on stderr
    #[arg(long, global = true)]
    json: bool,
    /// Set any setting, as --set name=value (see --help for their names)
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as name=value".into())
}

#[derive(Debug, Subcommand)]
enum Top {
    /// Servers and queues: start, status, stats, servers, retry, clear, pause, resume, limit, rate, ageing, drain, purge
    #[command(subcommand)]
    Queue(commands::queue::Queue),
    /// Single tasks: list, show, logs, cancel, stop, retry, priority, wait, add
    #[command(subcommand)]
    Task(commands::task::Task),
    /// Dead letters, the tasks whose retries are spent: list, count, show, edit, retry, purge
    #[command(subcommand)]
    Dead(commands::dead::Dead),
    /// Schedules: list, show, add, reschedule, remove, pause, resume, run, next
    #[command(subcommand)]
    Schedule(commands::schedule::Schedule),
    /// The database: migrate, makemigrations, status, query, check
    #[command(subcommand)]
    Db(commands::db::Db),
    /// Serve a Python web application, with --workers also its tasks
    Serve(commands::serve::Serve),
    /// Watch states, queues, servers, running tasks, dead letters and schedules
    Top(commands::top::Top),
    /// Run real tasks over the files of a directory and report on them
    Demo(taskyard_bench::Demo),
    /// Print the completions of a shell
    Completions(commands::completions::Completions),
    /// Measure enqueue, drain and pick-up latency on this database
    Bench(taskyard_bench::Bench),
}

/// Changes the queue before a server starts on it, for example to add states or functions.
type Configure = dyn Fn(Taskyard) -> Taskyard + Send + Sync;

/// The command line of a program, configured by its `main`.
#[derive(Clone)]
pub struct Commands {
    configure: Arc<Configure>,
    python: Option<Python>,
}

impl Default for Commands {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commands")
    }
}

impl Commands {
    /// Creates the command line with the tasks that are linked into this program.
    #[must_use]
    pub fn new() -> Self {
        Self { configure: Arc::new(|taskyard| taskyard), python: None }
    }

    /// Adds a function that prepares the queue before `queue start` serves it, for example `|yard| yard.state(mailer.clone())`.
    ///
    /// Several functions run in the order in which they were added.
    #[must_use]
    pub fn configure(self, configure: impl Fn(Taskyard) -> Taskyard + Send + Sync + 'static) -> Self {
        let before = self.configure;
        Self { configure: Arc::new(move |taskyard| configure(before(taskyard))), python: self.python }
    }

    /// Makes servers run the tasks of a Python application, in processes of this interpreter, instead of this program's tasks.
    #[must_use]
    pub fn python(self, python: Python) -> Self {
        Self { python: Some(python), ..self }
    }

    /// Runs the command line of this process.
    #[must_use]
    pub fn main(&self) -> ExitCode {
        self.run(std::env::args_os())
    }

    /// Runs a command line; the first argument is the program's name.
    #[must_use]
    pub fn run<I, T>(&self, arguments: I) -> ExitCode
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        ExitCode::from(self.exit_code(arguments))
    }

    /// Runs a command line and returns the exit code as a number, for callers that are not Rust.
    #[must_use]
    pub fn exit_code<I, T>(&self, arguments: I) -> u8
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let matches = match command().try_get_matches_from(&arguments) {
            Ok(matches) => matches,
            Err(error) => {
                if error.use_stderr() {
                    // clap repeats the arguments in its message: parse a concealed and escaped copy, so that no password is shown.
                    let shown = arguments.iter().map(|argument| {
                        let argument = argument.to_string_lossy();
                        escape::line(&taskyard::redact(&argument)).into_owned()
                    });
                    let of_shown = command().try_get_matches_from(shown).err();
                    let hidden =
                        || clap::Error::raw(error.kind(), "wrong argument (not shown: it may contain a password)\n");
                    remark_lines(&of_shown.unwrap_or_else(hidden).render().to_string());
                } else {
                    // Help and version go to stdout and are not errors; neither is a closed pipe.
                    let _ = error.print();
                }
                return u8::try_from(error.exit_code()).unwrap_or(2);
            }
        };
        self.dispatch(&matches).unwrap_or_else(|failure| {
            failure.print();
            failure.exit_code()
        })
    }

    fn dispatch(&self, matches: &clap::ArgMatches) -> Result<u8, Failure> {
        let wrong = |error: clap::Error| Failure::usage(error.to_string());
        let global = Global::from_arg_matches(matches).map_err(wrong)?;
        let mut flags =
            Flags { database: global.database, values: global.settings, root: global.root, ..Flags::default() };
        let out = Out::new(global.json);
        let command = Top::from_arg_matches(matches).map_err(wrong)?;
        if let Top::Completions(shell) = &command {
            return shell.print(&mut self::command());
        }
        // A server may run for months as the first process of a container.
        let is_server = matches!(&command, Top::Serve(_)) || matches!(&command, Top::Queue(queue) if queue.is_server());
        if is_server && let Some(code) = init::run_below()? {
            return Ok(code);
        }
        logging::start(match &command {
            Top::Queue(queue) if queue.is_server() => "info",
            Top::Serve(_) => "info",
            // The report names files that cannot be read; a warning would tear the progress bars.
            Top::Demo(_) => "error",
            _ => "warn",
        })?;
        if let Top::Queue(queue) = &command {
            flags.values.extend(queue.flags());
        }
        if let Top::Serve(serve) = &command {
            flags.values.extend(serve.flags());
        }
        self.on_runtime(out, &flags, async |session| match &command {
            Top::Queue(queue) => queue.run(session).await,
            Top::Task(task) => task.run(session).await,
            Top::Dead(dead) => dead.run(session).await,
            Top::Schedule(schedule) => schedule.run(session).await,
            Top::Db(db) => db.run(session).await,
            Top::Serve(serve) => serve.run(session).await,
            Top::Top(top) => top.run(session).await,
            Top::Demo(demo) => commands::demo::run(demo, session).await,
            Top::Bench(bench) => commands::bench::run(bench, session).await,
            Top::Completions(_) => Ok(0),
        })
    }

    fn on_runtime(
        &self,
        out: Out,
        flags: &Flags,
        body: impl AsyncFnOnce(&Session) -> Result<u8, Failure>,
    ) -> Result<u8, Failure> {
        let session =
            Session::new(out, project::find(flags)?, flags.clone(), Arc::clone(&self.configure), self.python.clone());
        // Task bodies of the application run on these threads. A body that blocks occupies its thread, and up to
        // `abandoned_max` threads may never be freed.
        let workers = session.settings().max_workers;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(std::thread::available_parallelism().map_or(1, NonZero::get)) + SPARE_THREADS)
            .enable_all()
            .build()
            .map_err(|error| Failure::work(format!("cannot start threads: {error}")))?;
        let end = runtime.block_on(async {
            let end = body(&session).await;
            session.close().await;
            end
        });
        // A thread that is still blocked in a task's body must not keep the command from ending.
        runtime.shutdown_background();
        end
    }
}

/// Returns the whole command line, with the table of settings in its long help.
fn command() -> clap::Command {
    Cli::command().after_help("`taskyard --help` also lists every setting").after_long_help(settings_help::table())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_commands_add_no_task_to_an_application() {
        assert!(taskyard::__private::registry().kinds().is_empty());
    }

    #[test]
    fn the_help_of_a_group_lists_its_commands() {
        for group in command().get_subcommands().filter(|group| group.has_subcommands()) {
            let about = group.get_about().unwrap().to_string();
            let (_, listed) = about.split_once(": ").unwrap();
            let visible = group.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
            let mut commands: Vec<&str> = visible.map(clap::Command::get_name).collect();
            let mut listed: Vec<&str> = listed.split(", ").collect();
            commands.sort_unstable();
            listed.sort_unstable();
            assert_eq!(listed, commands, "{}", group.get_name());
        }
    }

    #[test]
    fn the_long_help_names_every_setting() {
        let help = command().render_long_help().to_string();
        for setting in taskyard::SETTINGS {
            assert!(help.contains(setting.env) && help.contains(setting.name), "{}", setting.name);
        }
    }
}
