//! Checks that the crate `taskyard` exports every type in its public interface; also `cargo dev publish`.
//!
//! A type of an inner crate that is not re-exported appears in the crate's documentation as a link to another crate.

use std::fs;
use std::path::Path;

use crate::step::{cargo, must};

/// Crates that do not follow semantic versioning, so that their types must be re-exported.
const INNER: [&str; 6] = [
    "taskyard_config/",
    "taskyard_core/",
    "taskyard_server/",
    "taskyard_postgres/",
    "taskyard_sqlite/",
    "taskyard_cron/",
];

/// Searches the documentation, which must have been built, for links to inner crates.
///
/// # Errors
/// The pages with such links.
pub fn check() -> Result<(), String> {
    let mut found = Vec::new();
    look(Path::new("target/doc/taskyard"), &mut found)?;
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("the documentation of `taskyard` names types that the crate does not export:\n{}", found.join("\n")))
}

fn look(directory: &Path, found: &mut Vec<String>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_dir() {
            look(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "html") {
            let page = fs::read_to_string(&path).map_err(wrong)?;
            for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let place = link.trim_start_matches("../");
                if place != link && INNER.iter().any(|inner| place.starts_with(inner)) {
                    found.push(format!("{}: {place}", path.display()));
                }
            }
        }
    }
    Ok(())
}

/// `cargo dev publish`: packs every published crate and builds it from the package; uploads nothing.
pub fn publish(arguments: &[String]) -> Result<(), String> {
    must(cargo(&["publish", "--workspace", "--dry-run"]).args(arguments))
}
