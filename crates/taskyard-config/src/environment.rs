//! The settings of a program that reads its environment and no files.
//!
//! Which variables are settings is decided by [`taskyard_core::settings`].

use std::ffi::OsString;

use taskyard_core::settings::{Layer, Settings};
use taskyard_core::{Error, Result};

use crate::address::of_application;

/// Returns the settings among environment variables (`std::env::vars_os()`). The database is `TASKYARD_DATABASE_URL`,
/// otherwise `DATABASE_URL` if that is PostgreSQL's.
///
/// # Errors
/// [`Error::Setting`] if no variable names a database, or a variable has an invalid value.
pub fn settings_of_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Settings> {
    let environment = Layer::of_environment(variables)?;
    let application = environment.application_database().and_then(of_application);
    let mut settings = Settings::from_layers(&[environment])?;
    settings.database = settings.database.or(application);
    if settings.database.is_none() {
        return Err(Error::Setting {
            name: "database (the environment)".into(),
            why: "set TASKYARD_DATABASE_URL to a PostgreSQL address (or DATABASE_URL, if the application uses the same one), or to a file \
                  for an embedded queue (sqlite:queue.db)"
                .into(),
        });
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        settings_of_environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn the_environment_names_the_database_and_every_other_setting() {
        let (ours, application) =
            (("TASKYARD_DATABASE_URL", "sqlite:q.db"), ("DATABASE_URL", "postgresql+asyncpg://h/d"));
        assert_eq!(read(&[ours, application]).expect("ours").database.as_deref(), Some(ours.1));
        let settings = read(&[application, ("QUEUE_MAX_RETRIES", "7"), ("HOME", "/"), ("lease", "99")]).expect("both");
        assert_eq!((settings.database.as_deref(), settings.max_retries), (Some(application.1), 7));
        for missing in [&[][..], &[("DATABASE_URL", "sqlite:app.db")], &[("DATABASE_URL", "")]] {
            let error = read(missing).map(drop).expect_err("no database").to_string();
            assert!(error.contains("TASKYARD_DATABASE_URL"), "{error}");
        }
        let error = read(&[application, ("QUEUE_MAX_RETRIES", "many")]).map(drop).expect_err("no number").to_string();
        assert!(error.contains("QUEUE_MAX_RETRIES (the environment)"), "{error}");
    }
}
