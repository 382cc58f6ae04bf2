//! The context of one run of a command: the settings in force, the output, and the databases that it opened.
//!
//! Every database that was opened here is closed at the command's end, within a bounded time.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskyard::{Store, Taskyard};
use taskyard_config::project::{Flags, Found, ProjectKeys, ROOT, Root, make_directory};
use taskyard_config::{DatabaseKind, database_kind};
use taskyard_core::settings::{Setting, Settings};
use taskyard_terminal::{Failure, Out};
use tokio::process::Command;

use crate::python::Python;

/// Longest time to wait for a database to close.
const CLOSE_BOUND: Duration = Duration::from_secs(5);

/// Access of a command to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read only: creates and changes neither a file nor the schema.
    Read,
    /// Requires an existing database and migrates its schema.
    Existing,
    /// Creates a missing SQLite file and migrates the schema.
    Create,
}

type Configure = dyn Fn(Taskyard) -> Taskyard + Send + Sync;

/// The context of one run of a command.
pub(crate) struct Session {
    out: Out,
    found: Found,
    flags: Flags,
    configure: Arc<Configure>,
    python: Option<Python>,
    opened: Mutex<Vec<Arc<dyn Store>>>,
}

impl Session {
    pub(crate) fn new(out: Out, found: Found, flags: Flags, configure: Arc<Configure>, python: Option<Python>) -> Self {
        Self { out, found, flags, configure, python, opened: Mutex::default() }
    }

    /// Returns the Python installation if this is the command of the Python package.
    pub(crate) fn python(&self) -> Option<&Python> {
        self.python.as_ref()
    }

    /// Returns a command that starts this program once more with the same settings; for the Python package, through its
    /// interpreter.
    ///
    /// # Errors
    /// An I/O error if the path of this program is not known.
    pub(crate) fn own_command(&self) -> io::Result<Command> {
        let mut command = match &self.python {
            Some(python) => {
                let mut command = Command::new(&python.program);
                command.args(["-m", "taskyard"]);
                command
            }
            None => Command::new(std::env::current_exe()?),
        };
        command.envs(environment_for(self));
        Ok(command)
    }

    /// Returns the output.
    pub(crate) fn out(&self) -> Out {
        self.out
    }

    /// Returns the project's root.
    pub(crate) fn root(&self) -> &Root {
        &self.found.root
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.found.settings
    }

    /// Returns the database given by `--database`, if any.
    pub(crate) fn database_flag(&self) -> Option<&str> {
        self.flags.database.as_deref()
    }

    /// Returns the database's address for messages: with an absolute path, without a password.
    pub(crate) fn address(&self) -> String {
        shown(self.found.settings.database.as_deref().unwrap_or_default())
    }

    /// Opens the database of the settings.
    ///
    /// # Errors
    /// With [`Access::Read`] and [`Access::Existing`], a failure with exit code 3 if the SQLite file does not exist; with
    /// [`Access::Read`] also if the schema is missing or older than this program's. Otherwise the error of opening it, by variant.
    pub(crate) async fn store(&self, access: Access) -> Result<Arc<dyn Store>, Failure> {
        if access != Access::Read {
            return Ok(self.store_with(&self.found.settings, access).await??);
        }
        let settings = Settings { auto_migrate: false, ..self.found.settings.clone() };
        self.store_with(&settings, access).await?.map_err(|error| self.not_readable(error))
    }

    /// Maps an outdated or missing schema to a failure with a hint for commands that only read.
    fn not_readable(&self, error: taskyard::Error) -> Failure {
        let (what, done) = match error {
            taskyard::Error::SchemaTooOld { found: 0, .. } => {
                ("this database contains no queue yet: the schema of Taskyard is missing".to_owned(), "creates it")
            }
            taskyard::Error::SchemaTooOld { .. } => (error.to_string(), "brings it up to date"),
            other => return other.into(),
        };
        let start = if self.found.settings.auto_migrate { ", and so does a server that starts" } else { "" };
        Failure::usage(format!("{}: {what}", self.address()))
            .with_exit(3)
            .with_hint(format!("`taskyard db migrate` {done}{start}; this command changes nothing"))
    }

    /// Opens the same database with other settings.
    ///
    /// # Errors
    /// The outer error if the file does not exist or its directory cannot be created; the inner [`taskyard::Error`] if opening
    /// the database failed, so that callers can handle it by variant.
    pub(crate) async fn store_with(
        &self,
        settings: &Settings,
        access: Access,
    ) -> Result<taskyard::Result<Arc<dyn Store>>, Failure> {
        if let DatabaseKind::File(path) = database_kind(settings.database.as_deref().unwrap_or_default())? {
            taskyard_config::check_place(settings.database.as_deref().unwrap_or_default())?;
            self.prepare(&path, access)?;
        }
        Ok(self.try_open(settings).await)
    }

    /// Opens the database of the settings for a server. The inner error is separate, because the server retries transient ones.
    ///
    /// # Errors
    /// As [`Session::store_with`].
    pub(crate) async fn taskyard_of_server(&self) -> Result<taskyard::Result<Taskyard>, Failure> {
        let keys = ProjectKeys::new(&self.found.settings, &self.found.root)?;
        let store = self.store_with(&self.found.settings, Access::Create).await?;
        Ok(store.map(|store| self.bind(store, self.found.settings.clone()).keys(Arc::new(keys))))
    }

    /// Opens the database of the settings as a queue, with what the application configured and the project's keys.
    ///
    /// # Errors
    /// As [`Session::store`].
    pub(crate) async fn taskyard(&self, access: Access) -> Result<Taskyard, Failure> {
        let keys = ProjectKeys::new(&self.found.settings, &self.found.root)?;
        Ok(self.bind(self.store(access).await?, self.found.settings.clone()).keys(Arc::new(keys)))
    }

    /// Opens the database of other settings, without a check of its path.
    ///
    /// # Errors
    /// The error of opening it, by variant of [`taskyard::Error`].
    pub(crate) async fn open(&self, settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
        Ok(self.try_open(settings).await?)
    }

    async fn try_open(&self, settings: &Settings) -> taskyard::Result<Arc<dyn Store>> {
        let store = taskyard::open(settings).await?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        Ok(store)
    }

    /// Creates the queue on a store, with what the application configured.
    pub(crate) fn bind(&self, store: Arc<dyn Store>, settings: Settings) -> Taskyard {
        (self.configure)(Taskyard::on(store, settings))
    }

    fn prepare(&self, path: &Path, access: Access) -> Result<(), Failure> {
        match access {
            Access::Read | Access::Existing if !path.exists() => {
                Err(Failure::usage(format!("there is no database yet at {}", absolute(path))).with_exit(3).with_hint(
                    "`taskyard queue start` or `taskyard db migrate` creates it; use --database for another one",
                ))
            }
            Access::Create if self.found.is_default_database => Ok(make_directory(&self.found.root).map(drop)?),
            _ => Ok(()),
        }
    }

    /// Closes every database that was opened.
    pub(crate) async fn close(&self) {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for store in opened {
            if tokio::time::timeout(CLOSE_BOUND, store.close()).await.is_err() {
                tracing::warn!("the database's connections did not close in time");
            }
        }
    }
}

/// Returns the environment variables with which a child process finds the same database and the settings of the command line.
pub(crate) fn environment_for(session: &Session) -> Vec<(String, String)> {
    let flags = session
        .flags
        .values
        .iter()
        .filter_map(|(name, value)| Setting::find(name).map(|setting| (setting.env.to_owned(), value.clone())));
    let database = session.settings().database.as_deref().map(|address| match database_kind(address) {
        Ok(DatabaseKind::File(path)) => absolute(&path),
        Ok(DatabaseKind::Server) | Err(_) => address.to_owned(),
    });
    let root = session.root().is_named().then(|| (ROOT.to_owned(), session.root().path.display().to_string()));
    flags.chain(root).chain(database.map(|address| ("TASKYARD_DATABASE_URL".to_owned(), address))).collect()
}

/// Returns an address for messages: a file with its absolute path, a server without its password.
pub(crate) fn shown(address: &str) -> String {
    match database_kind(address) {
        Ok(DatabaseKind::File(path)) => absolute(&path),
        Ok(DatabaseKind::Server) | Err(_) => taskyard::redacted(address),
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
