//! Settings in the environment: which variables are read, and the layer of settings that they form.

use std::ffi::OsString;

use super::Layer;
use crate::{Error, Result};

/// Variable with the application's own database address, as most frameworks name it.
const APPLICATION_DATABASE: &str = "DATABASE_URL";

impl Layer {
    /// Returns whether a variable of this name is read. The lower-case names of the settings table are too common to be
    /// read from the environment.
    #[must_use]
    pub fn reads(name: &str) -> bool {
        let ours = ["TASKYARD_", "QUEUE_", "QUEUED_TASK_"];
        name == APPLICATION_DATABASE || ours.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Returns the settings among environment variables (`std::env::vars_os()`), and `DATABASE_URL`, which is not the
    /// name of a setting.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value that is not UTF-8.
    pub fn of_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self> {
        let mut values = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| Self::reads(name)) else { continue };
            let value = value.into_string().map_err(|_| Error::Setting {
                name: format!("{name} (the environment)"),
                why: "its value is not UTF-8".into(),
            })?;
            values.push((name.to_owned(), value));
        }
        // `QUEUE_…` after `QUEUED_TASK_…`, in whatever order the system lists them: the documented name takes
        // precedence.
        values.sort_by_key(|(name, _)| !name.starts_with("QUEUED_TASK_"));
        Ok(Self { place: "the environment".into(), values, strict: false })
    }

    /// Returns the application's database address in this layer, if it is set.
    #[must_use]
    pub fn application_database(&self) -> Option<&str> {
        let mut values = self.values.iter();
        values.find(|(name, value)| name == APPLICATION_DATABASE && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}
