//! What the `taskyard` command of the Python package adds: workers and the web application are Python processes.
//!
//! How they are started is said by the package ([`Python`]); which application they load is found here, the same for
//! `queue start` and `serve`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use taskyard_server::children::ChildCommand;
use tokio::process::Command;

use crate::failure::Failure;
use crate::project::{self, Root};
use crate::secret::WITHHELD;
use crate::session::{Session, environment_for};
use crate::trust::Distrust;

/// The exit code of a check whose application adds its tasks to another database (`taskyard.worker`).
const EXIT_OTHER_DATABASE: i32 = 5;
/// The same of one that lacks the function that was asked for.
const EXIT_UNKNOWN: i32 = 6;
/// How long an application may take to load that is only asked for a function.
const KNOWS_MAX: Duration = Duration::from_secs(20);

/// What a Python process that the command starts must not see.
const HIDDEN: [&str; 2] = ["TASKYARD_SECRET", "TASKYARD_SECRETS_ACCEPTED"];

/// How Python is started.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter.
    pub program: OsString,
}

impl Python {
    /// How a worker process is started that runs the functions of `app`, if there is one, and of what is included.
    pub(crate) fn worker(&self, app: Option<&str>, session: &Session) -> ChildCommand {
        let settings = session.settings();
        let mut args = vec!["-m".to_owned(), "taskyard.worker".to_owned()];
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

    /// Loads the application once, so that what is wrong with it shows at the start and not at the first task.
    ///
    /// # Errors
    /// It cannot be loaded; the interpreter has said why.
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
                "the application's database is not the one that is served; its addresses are above",
            ));
        }
        Err(Failure::work(format!("the application cannot be loaded ({status}); its own words are above"))
            .with_hint("--app is module:attribute, as for uvicorn; it is imported from the working directory"))
    }

    /// Whether the application that such a worker would load has the function of this name; `None` if it cannot be loaded.
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

    /// A worker's command that is not one: it loads the application and ends.
    fn checking(&self, worker: &ChildCommand) -> Command {
        let mut command = Command::new(&worker.program);
        command.envs(worker.env.iter().map(|(name, value)| (name, value)));
        command.args(&worker.args).arg("--check").stdin(std::process::Stdio::null()).kill_on_drop(true);
        for name in HIDDEN {
            command.env_remove(name);
        }
        command
    }

    /// The process that reports changes of Python files below `directory`.
    pub(crate) fn watcher(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // A group of its own: a Ctrl-C on the terminal is for the server.
        command.args(["-m", "taskyard._reload"]).arg(directory).process_group(0).kill_on_drop(true);
        command
    }

    /// The web application's process.
    pub(crate) fn web(&self, app: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "taskyard._web", app]).args(arguments).kill_on_drop(true);
        command
    }
}

/// The application that the command line or the settings name, else the one that stands where such stand.
///
/// # Errors
/// The working directory, from which Python imports, or a file of the application or of what is included, is not trusted.
pub(crate) fn application(given: Option<&str>, session: &Session) -> Result<Option<String>, Failure> {
    let directory = project::working_directory()?;
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

/// Whether a module's file and the packages that it lies in are trusted, where they lie below the directory. Workers look at what
/// they import from there besides (`_trust.py`).
fn check(module: &str, directory: &Path, root: &Root) -> Result<(), Distrust> {
    let mut path = directory.to_owned();
    for part in module.split(':').next().unwrap_or_default().split('.') {
        path.push(part);
        for looked in [&path, &path.join("__init__.py"), &path.with_extension("py")] {
            root.check(looked)?;
        }
    }
    Ok(())
}

/// An application's name as uvicorn takes it, and whether it is a function that makes the application: `module:make()`.
pub(crate) fn split_factory(app: &str) -> (&str, bool) {
    app.strip_suffix("()").map_or((app, false), |name| (name, true))
}

/// The places in which FastAPI's own command looks, too.
const PLACES: [&str; 6] = ["main", "app", "api", "app/main", "app/app", "app/api"];

fn find(directory: &Path, root: &Root) -> Result<Option<String>, Failure> {
    let Some(place) = PLACES.iter().find(|place| directory.join(format!("{place}.py")).is_file()) else {
        return Ok(None);
    };
    let file = directory.join(format!("{place}.py"));
    for path in [file.parent().unwrap_or(directory), &file] {
        root.check(path)?;
    }
    let text = std::fs::read_to_string(&file).map_err(|error| project::file_error(&file, &error))?;
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
