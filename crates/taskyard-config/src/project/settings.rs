//! Collects the settings, in rising order of precedence, from `taskyard.toml`, `[tool.taskyard]` in pyproject.toml, `.env` (all
//! three in the project's root, which must be trusted), the environment and the flags of the command line.
//!
//! Names, types and defaults are in the table of [`taskyard_core::settings`].

mod database;
mod dotenv;
mod file;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use taskyard_core::Error;
use taskyard_core::settings::{Layer, Settings};

use crate::address::{DatabaseKind, database_kind};
use crate::project::error::{ConfigError, plain};
use crate::project::root::{Root, working_directory};
use crate::project::text;

/// Environment variable that names the project's root, as `--root` does.
pub const ROOT: &str = "TASKYARD_ROOT";

/// Settings on the command line, or of a program that opens the project.
#[derive(Clone, Debug)]
pub struct Flags {
    /// `--database`.
    pub database: Option<String>,
    /// Names of settings and their values, from `--set` and from flags of single commands.
    pub values: Vec<(String, String)>,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// Where the values come from, for messages.
    pub place: &'static str,
}

impl Default for Flags {
    fn default() -> Self {
        Self { database: None, values: Vec::new(), root: None, place: "the command line" }
    }
}

/// The settings in force and the project's root.
#[derive(Clone, Debug)]
pub struct Found {
    /// The settings; `database` is always set.
    pub settings: Settings,
    /// The project's root.
    pub root: Root,
    /// Whether no database was configured, so that it is the project's own file.
    pub is_default_database: bool,
}

/// Reads all settings of the project that contains the working directory, or of the root that is named.
///
/// # Errors
/// [`ConfigError`], with exit code 2, if the root or a file is not trusted, if a file cannot be read, or for an unknown name or
/// a wrong value; the message names the file, variable or flag.
pub fn find(flags: &Flags) -> Result<Found, ConfigError> {
    let named =
        flags.root.clone().or_else(|| std::env::var_os(ROOT).filter(|root| !root.is_empty()).map(PathBuf::from));
    let root = match named {
        Some(root) => Root::named(&root)?,
        None => Root::above(&working_directory()?)?,
    };
    find_in(root, std::env::vars_os(), flags)
}

fn find_in(
    root: Root,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &Flags,
) -> Result<Found, ConfigError> {
    let dotenv_path = root.path.join(".env");
    let dotenv = dotenv::read(&root, &dotenv_path)?;
    let environment = Layer::of_environment(environment)?;
    let dotenv = Layer { place: dotenv_path.display().to_string(), values: dotenv, strict: false };
    let application = environment.application_database().or(dotenv.application_database()).map(str::to_owned);

    let mut layers = file::layers(&root)?;
    layers.push(dotenv);
    for layer in &mut layers {
        database::from_root(&mut layer.values, &root.path);
    }
    let of_the_project = layers.len();
    layers.push(environment);
    let mut values = flags.values.clone();
    values.extend(flags.database.clone().map(|address| ("database".to_owned(), address)));
    layers.push(Layer { place: flags.place.into(), values, strict: true });

    let mut settings = Settings::from_layers(&layers)?;
    let by_the_user = Settings::from_layers(&layers[of_the_project..])?.database;
    let is_default_database = database::decide(&mut settings, application.as_deref(), &root.path);
    // A database file named in the environment or a flag is the user's choice; any other must be trusted as the root is.
    if by_the_user.is_none()
        && let Ok(DatabaseKind::File(path)) = database_kind(settings.database.as_deref().unwrap_or_default())
    {
        if let Some(directory) = path.parent().filter(|_| is_default_database) {
            root.check(directory)?;
        }
        root.check(&path)?;
    }
    Ok(Found { settings, root, is_default_database })
}

/// Reads a text file of the project; `None` if it does not exist.
fn read_optional(root: &Root, path: &Path) -> Result<Option<String>, ConfigError> {
    root.check(path)?;
    let wrong = |why: String| Error::Setting { name: path.display().to_string(), why };
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(text::decode(bytes).map_err(wrong)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(plain(&error)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_with(files: &[(&str, &str)], environment: &[(&str, &str)], flags: &Flags) -> Result<Found, ConfigError> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(root.path().join(name), text).unwrap();
        }
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        find_in(Root::above(root.path()).unwrap(), environment, flags)
    }

    #[test]
    fn each_place_wins_over_the_one_before() {
        let files = [
            (
                "taskyard.toml",
                "max_retries = 1\nmax_workers = 1\nconcurrency = 1\nlease = \"20\"\nserver_name = \"toml\"\n",
            ),
            (
                "pyproject.toml",
                "[tool.taskyard]\napp = \"web:app\"\nmax_retries = 2\nmax_workers = 2\nconcurrency = 2\nlease = 21\n",
            ),
            (
                ".env",
                "QUEUE_MAX_RETRIES=3\nexport QUEUE_MAX_WORKERS='3'\nTASKYARD_CONCURRENCY=\"3\" # why\nOTHER=${x}\n",
            ),
        ];
        let environment =
            [("QUEUE_MAX_RETRIES", "4"), ("QUEUED_TASK_MAX_WORKERS", "4"), ("HOME", "/"), ("lease", "99")];
        let flags = Flags { values: vec![("max_retries".into(), "5".into())], ..Flags::default() };
        let settings = find_with(&files, &environment, &flags).unwrap().settings;
        assert_eq!(settings.max_retries, 5);
        assert_eq!(settings.max_workers, 4);
        assert_eq!(settings.concurrency, 3);
        assert_eq!(settings.lease.as_secs(), 21);
        assert_eq!(settings.server_name.as_deref(), Some("toml"));
    }

    #[test]
    fn an_address_in_place_of_a_name_is_not_repeated() {
        for text in [
            "'postgresql://u:s3cret@h/d' = 1",
            "'postgresql://u:s3cret@h/d' = { a = 1 }",
            "['postgresql://u:s3cret@h/d']\na = 1",
            "'postgresql://u:s3cret@h/d' = 1\n'postgresql://u:s3cret@h/d' = 1",
            "'*:*:*:u:s3cret' = 1",
            "postgresql://u:s3cret@h/d = 1",
        ] {
            let project = text.replace("['", "[tool.taskyard.'");
            let project = if project == text { format!("[tool.taskyard]\n{text}") } else { project };
            for file in [("taskyard.toml", text), ("pyproject.toml", &project)] {
                let failure = find_with(&[file], &[], &Flags::default()).map(drop).unwrap_err();
                let said = format!("{failure:?}");
                assert!(said.contains(file.0) && !said.contains("cret"), "{text}: {said}");
            }
        }
    }

    #[test]
    fn the_original_names_win_over_the_newer_prefix() {
        for order in
            [["QUEUE_MAX_RETRIES", "QUEUED_TASK_MAX_RETRIES"], ["QUEUED_TASK_MAX_RETRIES", "QUEUE_MAX_RETRIES"]]
        {
            let environment = order.map(|name| (name, if name == "QUEUE_MAX_RETRIES" { "7" } else { "8" }));
            assert_eq!(find_with(&[], &environment, &Flags::default()).unwrap().settings.max_retries, 7);
        }
    }

    #[test]
    fn wrong_files_and_values_name_their_place() {
        for (files, environment, part) in [
            (&[("taskyard.toml", "max_workers = [")][..], &[][..], "taskyard.toml"),
            (&[("taskyard.toml", "no_such = 1")], &[], "no_such"),
            (&[("pyproject.toml", "[tool.taskyard]\nlimits = {a = 1}")], &[], "limits"),
            (&[(".env", "QUEUE_MAX_WORKERS=many")], &[], ".env"),
            (&[("taskyard.toml", "namespace = \"a/b\"")], &[], "namespace"),
            (&[], &[("TASKYARD_NAMESPACE", "")], "it is empty"),
            (&[], &[("QUEUE_POLLING_INTERVAL", "0")], "the environment"),
        ] {
            let failure = find_with(files, environment, &Flags::default()).unwrap_err();
            assert!(failure.to_string().contains(part), "{failure}");
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn the_database_is_the_first_that_was_chosen() {
        let found = |files: &[(&str, &str)], environment: &[(&str, &str)], flag: Option<&str>| {
            let flags = Flags { database: flag.map(str::to_owned), ..Flags::default() };
            find_with(files, environment, &flags).unwrap()
        };
        let toml = [("taskyard.toml", "database = \"jobs/a.db\"")];
        let ours = ("TASKYARD_DATABASE_URL", "postgres://h/ours");
        let application = ("DATABASE_URL", "postgresql+asyncpg://h/application");
        let chosen = |found: &Found| found.settings.database.clone().unwrap();

        assert_eq!(chosen(&found(&toml, &[ours, application], Some("flag.db"))), "flag.db");
        assert_eq!(chosen(&found(&toml, &[ours, application], None)), ours.1);
        assert_eq!(chosen(&found(&[], &[application], None)), application.1);
        assert_eq!(chosen(&found(&[(".env", "DATABASE_URL=postgres://h/dotenv")], &[], None)), "postgres://h/dotenv");

        // A malformed PostgreSQL address is chosen, so that it is refused later, and not ignored.
        let meant = found(&[], &[("DATABASE_URL", "postgresql:/h/d")], None);
        assert_eq!((chosen(&meant).as_str(), meant.is_default_database), ("postgresql:/h/d", false));
        let keywords = found(&[], &[("DATABASE_URL", "host=h dbname=d")], None);
        assert_eq!(chosen(&keywords), "host=h dbname=d");

        // A path in a file of the project is relative to its root.
        let in_file = found(&toml, &[application], None);
        assert_eq!(Path::new(&chosen(&in_file)), in_file.root.path.join("jobs/a.db"));

        for environment in [&[][..], &[("DATABASE_URL", "sqlite:///app.db")], &[("DATABASE_URL", "mysql://h/d")]] {
            let own = found(&[], environment, None);
            assert!(own.is_default_database);
            assert_eq!(Path::new(&chosen(&own)), own.root.path.join(".taskyard/queue.db"));
        }
    }
}
