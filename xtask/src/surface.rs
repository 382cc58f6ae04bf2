//! The public interface of the crate `taskyard`: every type that its documentation names can be named from it; and `cargo dev publish`.
//!
//! A type of another of our crates that is not re-exported shows as a link out of the crate's documentation.

use std::fs;
use std::path::Path;

use crate::step::{cargo, must};

/// Our crates that are not under semantic versioning.
const INNER: [&str; 5] =
    ["taskyard_core/", "taskyard_server/", "taskyard_postgres/", "taskyard_sqlite/", "taskyard_cron/"];

/// Refuses such links; the documentation has been made.
pub fn check() -> Result<(), String> {
    let mut found = Vec::new();
    look(Path::new("target/doc/taskyard"), &mut found)?;
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("the documentation of `taskyard` names what it does not export:\n{}", found.join("\n")))
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

/// `cargo dev publish`: packs every published crate, builds it from what was packed, and uploads nothing.
pub fn publish(arguments: &[String]) -> Result<(), String> {
    must(cargo(&["publish", "--workspace", "--dry-run"]).args(arguments))
}
