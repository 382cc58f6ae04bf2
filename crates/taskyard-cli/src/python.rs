//! The `taskyard` command of the Python package: workers and the web application run in Python processes.
//!
//! The package provides the interpreter ([`Python`]). This module builds the commands of the processes and finds the application
//! that they load, in the same way for `queue start` and `serve`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use taskyard_config::project::{Root, Untrusted, WITHHELD, file_error, working_directory};
use taskyard_server::children::ChildCommand;
use taskyard_terminal::Failure;
use tokio::process::Command;

use crate::session::{Session, environment_for};

/// Exit code of a check if the application adds its tasks to another database (`taskyard._worker`).
const EXIT_OTHER_DATABASE: i32 = 5;
/// Exit code of a check if the application lacks the requested function.
const EXIT_UNKNOWN: i32 = 6;
/// Longest time for an application to load when it is only checked for a function.
const KNOWS_MAX: Duration = Duration::from_secs(20);

/// Environment variables that are withheld from Python worker processes.
const HIDDEN: [&str; 2] = ["TASKYARD_SECRET", "TASKYARD_SECRETS_ACCEPTED"];

/// The Python installation that runs an application's tasks.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter.
    pub program: OsString,
}

impl Python {
    /// Returns the command of a worker process that runs the functions of `app`, if given, and of the setting `include`.
    pub(crate) fn worker(&self, app: Option<&str>, session: &Session) -> ChildCommand {
        let settings = session.settings();
        let mut args = vec!["-m".to_owned(), "taskyard._worker".to_owned()];
        if let Some(app) = app {
            args.extend(["--app".to_owned(), app.to_owned()]);
        }
        for include in &settings.include {
            args.extend(["--include".to_owned(), include.clone()]);
        }
        if settings.worker_memory_limit > 0 {
            args.extend(["--memory-limit".to_owned(), settings.worker_memory_limit.to_string()]);
        }
        let mut command = ChildCommand::new(&self.program, args);
        command.tasks_max = settings.worker_tasks_max;
        command.memory_bytes_max = (settings.worker_memory_max > 0).then_some(settings.worker_memory_max);
        command.env = environment_for(session).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        command.env.retain(|(name, _)| !HIDDEN.iter().any(|hidden| name == hidden));
        if settings.secret.is_some() {
            command.env.push((WITHHELD.into(), session.root().path.clone().into_os_string()));
        }
        command.env_hidden = HIDDEN.iter().map(OsString::from).collect();
        command
    }

    /// Loads the application once, so that its errors are shown at the start and not at the first task.
    ///
    /// # Errors
    /// A failure with exit code 1 if the interpreter cannot be started or the application cannot be loaded (the interpreter has
    /// printed the reason); with exit code 2 if the application adds its tasks to another database.
    pub(crate) async fn check(&self, worker: &ChildCommand) -> Result<(), Failure> {
        let status =
            self.checking(worker).status().await.map_err(|error| {
                Failure::work(format!("cannot start {}: {error}", worker.program.to_string_lossy()))
            })?;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(EXIT_OTHER_DATABASE) {
            return Err(Failure::usage(
                "the application adds its tasks to another database than this server serves; both addresses are above",
            ));
        }
        Err(Failure::work(format!("the application cannot be loaded ({status}); its error is above"))
            .with_hint("--app is module:attribute, as for uvicorn; it is imported from the working directory"))
    }

    /// Returns whether the application of this worker has a function of this name; `None` if it cannot be loaded in time.
    pub(crate) async fn knows(&self, worker: &ChildCommand, name: &str) -> Option<bool> {
        use std::process::Stdio;
        let mut command = self.checking(worker);
        command.args(["--knows", name]).stdout(Stdio::null()).stderr(Stdio::null());
        match tokio::time::timeout(KNOWS_MAX, command.status()).await.ok()?.ok()?.code()? {
            0 => Some(true),
            EXIT_UNKNOWN => Some(false),
            _ => None,
        }
    }

    /// Returns the command of a process that loads the application as the worker would, and exits.
    fn checking(&self, worker: &ChildCommand) -> Command {
        let mut command = Command::new(&worker.program);
        command.envs(worker.env.iter().map(|(name, value)| (name, value)));
        command.args(&worker.args).arg("--check").stdin(std::process::Stdio::null()).kill_on_drop(true);
        for name in HIDDEN {
            command.env_remove(name);
        }
        command
    }

    /// Returns the command of the process that reports changes of Python files below `directory`.
    pub(crate) fn watcher(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // Its own process group, so that a Ctrl-C on the terminal reaches only the server.
        command.args(["-m", "taskyard._reload"]).arg(directory).process_group(0).kill_on_drop(true);
        command
    }

    /// Returns the command of the web application's process.
    pub(crate) fn web(&self, app: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "taskyard._web", app]).args(arguments).kill_on_drop(true);
        command
    }
}

/// Returns the application named on the command line or in the settings, else the one found in the usual files ([`PLACES`]).
///
/// # Errors
/// A usage failure (exit code 2) if the working directory, from which Python imports, or a file of the application or of an
/// included module is not trusted.
pub(crate) fn application(given: Option<&str>, session: &Session) -> Result<Option<String>, Failure> {
    let directory = working_directory()?;
    session.root().check(&directory)?;
    for included in &session.settings().include {
        check(included, &directory, session.root())?;
    }
    match given.map(str::to_owned).or_else(|| session.settings().app.clone()) {
        Some(application) => {
            check(&application, &directory, session.root())?;
            Ok(Some(application))
        }
        None => find(&directory, session.root()),
    }
}

/// Checks that a module's file and the packages that contain it are trusted, as far as they lie below the directory. Workers
/// check the other modules that they import from there (`_trust.py`).
fn check(module: &str, directory: &Path, root: &Root) -> Result<(), Untrusted> {
    let mut path = directory.to_owned();
    for part in module.split(':').next().unwrap_or_default().split('.') {
        path.push(part);
        for looked in [&path, &path.join("__init__.py"), &path.with_extension("py")] {
            root.check(looked)?;
        }
    }
    Ok(())
}

/// Splits an application's name into the name for uvicorn and whether it names a factory: `module:make()`.
pub(crate) fn split_factory(app: &str) -> (&str, bool) {
    app.strip_suffix("()").map_or((app, false), |name| (name, true))
}

/// Modules in which an application is looked for, as FastAPI's command does.
const PLACES: [&str; 6] = ["main", "app", "api", "app/main", "app/app", "app/api"];

fn find(directory: &Path, root: &Root) -> Result<Option<String>, Failure> {
    let Some(place) = PLACES.iter().find(|place| directory.join(format!("{place}.py")).is_file()) else {
        return Ok(None);
    };
    let file = directory.join(format!("{place}.py"));
    for path in [file.parent().unwrap_or(directory), &file] {
        root.check(path)?;
    }
    let text = std::fs::read_to_string(&file).map_err(|error| file_error(&file, &error))?;
    let defines = |name: &str| {
        text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with([':', '='])))
    };
    let attribute = ["app", "api"].into_iter().find(|name| defines(name));
    let module = place.replace('/', ".");
    Ok(Some(attribute.map_or(module.clone(), |attribute| format!("{module}:{attribute}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_is_found_where_such_stand() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::above(directory.path()).unwrap();
        let found = || find(directory.path(), &root).unwrap();
        assert_eq!(found(), None);
        std::fs::create_dir(directory.path().join("app")).unwrap();
        std::fs::write(directory.path().join("app/main.py"), "from x import y\napi: FastAPI = make()\n").unwrap();
        assert_eq!(found().as_deref(), Some("app.main:api"));
        let main = directory.path().join("main.py");
        std::fs::write(&main, "import tasks\n").unwrap();
        assert_eq!(found().as_deref(), Some("main"));
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(find(directory.path(), &root).unwrap_err().to_string().contains("main.py: everybody may write"));
        assert!(find(directory.path(), &Root::named(directory.path()).unwrap()).is_ok());
    }
}
