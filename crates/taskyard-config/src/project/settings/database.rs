//! Chooses the database: the one set for Taskyard, else the application's if it is PostgreSQL, else the project's own file.

use std::path::Path;

use taskyard_core::settings::{Setting, Settings};

use crate::address::{DatabaseKind, database_kind, of_application};
use crate::project::root::DIRECTORY;

/// Resolves a relative path of the database in a settings file from the project's root.
pub(super) fn from_root(values: &mut [(String, String)], root: &Path) {
    for (name, value) in values {
        if Setting::find(name).is_none_or(|setting| setting.name != "database") || value.trim().is_empty() {
            continue;
        }
        if let Ok(DatabaseKind::File(path)) = database_kind(value)
            && path.is_relative()
        {
            let path = root.join(path).display().to_string();
            // The parameters of the address (`mode=rw`) are preserved.
            *value = match value.trim().split_once('?').filter(|(address, _)| address.starts_with("sqlite:")) {
                Some((_, parameters)) => {
                    format!("sqlite:{}?{parameters}", path.replace('%', "%25").replace('?', "%3F"))
                }
                None => path,
            };
        }
    }
}

/// Sets the database if no layer did; returns whether it is the project's own file.
pub(super) fn decide(settings: &mut Settings, application: Option<&str>, root: &Path) -> bool {
    if settings.database.is_some() {
        return false;
    }
    settings.database = application.and_then(of_application);
    if settings.database.is_some() {
        return false;
    }
    settings.database = Some(root.join(DIRECTORY).join("queue.db").display().to_string());
    true
}
