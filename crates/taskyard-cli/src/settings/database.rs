//! Which database: what someone chose for us, else the application's if it is PostgreSQL, else the project's own file.
//!
//! An application's SQLite address is never used: another library's handle on the same file is unsupported.

use std::path::{Path, PathBuf};

use taskyard_core::settings::{Setting, Settings};

use crate::project;

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An embedded file.
    File(PathBuf),
    /// A server.
    Server,
}

/// What an address names, as [`taskyard::open`] reads it.
pub(crate) fn place_of(address: &str) -> Place {
    if let Some(rest) = address.strip_prefix("sqlite:") {
        return Place::File(rest.strip_prefix("//").unwrap_or(rest).into());
    }
    let is_scheme = |scheme: &str| {
        scheme.len() > 1 && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
    };
    match address.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => Place::Server,
        _ => Place::File(address.into()),
    }
}

/// Makes the relative path of a file in a settings file one from the project's root.
pub(super) fn from_root(values: &mut [(String, String)], root: &Path) {
    for (name, value) in values {
        if Setting::find(name).is_none_or(|setting| setting.name != "database") || value.trim().is_empty() {
            continue;
        }
        if let Place::File(path) = place_of(value.trim())
            && path.is_relative()
        {
            *value = root.join(path).display().to_string();
        }
    }
}

/// Fills in the database if no layer chose one; answers whether it is the project's own file.
pub(super) fn decide(settings: &mut Settings, application: Option<&str>, root: &Path) -> bool {
    if settings.database.is_some() {
        return false;
    }
    if let Some(address) = application.map(str::trim).filter(|address| is_postgres(address)) {
        settings.database = Some(address.to_owned());
        return false;
    }
    settings.database = Some(root.join(project::DIRECTORY).join("queue.db").display().to_string());
    true
}

fn is_postgres(address: &str) -> bool {
    address
        .split_once("://")
        .is_some_and(|(scheme, _)| matches!(scheme.split('+').next(), Some("postgres" | "postgresql")))
}
