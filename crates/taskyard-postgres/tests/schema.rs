//! Compares `schema.sql` with a migrated database.
//!
//! The file describes what all migrations together create, in a form for readers: similar to the statements that would
//! create the objects, but not for running. It is generated from the system catalogs, because the output of `pg_dump`
//! differs between versions of PostgreSQL. Function bodies and the queries of views are left out; the file names their
//! sources. Contents of tables are not described.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use taskyard_testkit::generated;
use taskyard_testkit::postgres::shared;

mod harness;

const RELATIONS: &str = include_str!("schema/relations.sql");
const FUNCTIONS: &str = include_str!("schema/functions.sql");
const PRIVILEGES: &str = include_str!("schema/privileges.sql");

const HEADER: &str = "\
-- A migrated PostgreSQL database, for reading, not for running. Generated from the system catalogs by tests/schema.rs.
-- Each function names the file of its body. The queries of the views are in src/sql/view/views.sql.";
const OTHERS: &str = "-- The owner has all privileges. Other roles have these:";
/// Maximum length of a line that can be broken.
const COLUMNS_MAX: usize = 140;

#[tokio::test]
async fn the_file_describes_a_migrated_database() {
    let url = harness::database().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeMap::new();
    find_sources(root, &root.join("src/sql"), &mut sources);
    let mut functions = String::new();
    for line in shared().psql_in(&url, FUNCTIONS).lines() {
        match line.rsplit_once("; -- ") {
            None => functions += &broken(line, ", "),
            Some((attributes, name)) => {
                let source = sources.get(name).unwrap_or_else(|| panic!("no file in src/sql creates {name}"));
                functions += &broken(&format!("{attributes}; -- {source}"), " SET ");
            }
        }
    }
    let relations: String = shared().psql_in(&url, RELATIONS).lines().map(|line| broken(line, ", ")).collect();
    let privileges = shared().psql_in(&url, PRIVILEGES);
    let text = format!("{HEADER}\n\nCREATE SCHEMA taskyard;\n\n{relations}\n{functions}\n{OTHERS}\n{privileges}\n");
    generated::compare(&root.join("schema.sql"), &text, "--package taskyard-postgres --test schema");
}

/// Collects the file of each function, relative to `root`.
fn find_sources(root: &Path, directory: &Path, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_sources(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            let text = fs::read_to_string(&path).unwrap();
            for head in text.split("CREATE OR REPLACE FUNCTION taskyard.").skip(1) {
                let name = head.split('(').next().unwrap().to_owned();
                let file = path.strip_prefix(root).unwrap().display().to_string();
                assert_eq!(sources.insert(name.clone(), file), None, "two files create {name}");
            }
        }
    }
}

/// Returns a line and its end, broken before or after `separator` where it is too long.
fn broken(line: &str, separator: &str) -> String {
    let mut rest = line.to_owned();
    let mut text = String::new();
    while rest.len() > COLUMNS_MAX {
        let indent = rest.len() - rest.trim_start().len();
        let places = rest.match_indices(separator).map(|(at, _)| at).filter(|at| *at > indent);
        let Some(at) = places.take_while(|at| *at < COLUMNS_MAX).last() else { break };
        // A comma stays on the first line.
        let (first, second) = rest.split_at(at + separator.find(' ').unwrap());
        text += first;
        text.push('\n');
        rest = format!("        {}", second.trim_start());
    }
    text + &rest + "\n"
}
