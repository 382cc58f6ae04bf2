//! The repository's own rules, which no tool of the language knows.
//!
//! - A Rust file begins with a `//!` header that says what it owns.
//! - No file is longer than 600 lines.
//! - No note of work to be done later: it is done, or it is an issue.
//! - No path of the machine on which it was written.
//! - The two stores hold the same list of SQL files; `tidy/one_sided.txt` names the exceptions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;
/// Written in two halves, so that this file obeys its own rule.
const LATER: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];
const SOURCES: [&str; 8] = ["rs", "sql", "toml", "md", "py", "js", "html", "css"];
const STORES: [&str; 2] = ["sqlite", "postgres"];

/// Checks every file of the repository; the error has a line for each breach.
pub fn check() -> Result<(), String> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    walk(Path::new("."), &mut files).map_err(|error| format!("tidy: {error}"))?;
    for path in &files {
        // What is not text is nothing to us.
        if let Ok(text) = fs::read_to_string(path) {
            problems.extend(breaches(path, &text));
        }
    }
    let listed = include_str!("tidy/one_sided.txt");
    problems.extend(one_sided(&sql_files(STORES[0]), &sql_files(STORES[1]), listed));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = ["target", "node_modules", "dist", "__pycache__"].contains(&name.as_str());
        if skipped || (name.starts_with('.') && ![".ci", ".cargo"].contains(&name.as_str())) {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| SOURCES.iter().any(|known| extension == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

fn breaches(path: &Path, text: &str) -> Vec<String> {
    let shown = path.strip_prefix(".").unwrap_or(path).display();
    let mut found = Vec::new();
    let lines = text.lines().count();
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    if is_rust && !text.trim_start().starts_with("//!") {
        found.push(format!("{shown}:1: no `//!` header says what this file owns"));
    }
    if lines > LINES_MAX && path.extension().is_none_or(|extension| extension != "md") {
        found.push(format!("{shown}: {lines} lines, over {LINES_MAX}: a subject that outgrew its file"));
    }
    for (at, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", at + 1);
        if let Some(word) = LATER.iter().find(|word| line.contains(*word)) {
            found.push(format!("{place}: `{word}`: do it, or open an issue"));
        }
        if let Some(machine) = MACHINE_PATHS.iter().find(|machine| line.contains(*machine)) {
            found.push(format!("{place}: `{machine}` is a path of one machine"));
        }
    }
    found
}

/// The SQL files of a store, as `entity/verb.sql`.
fn sql_files(store: &str) -> BTreeSet<String> {
    let root = PathBuf::from(format!("crates/taskyard-{store}/src/sql"));
    let mut files = Vec::new();
    // A store without SQL files has none to compare.
    let _ = walk(&root, &mut files);
    let relative = files.iter().filter_map(|path| path.strip_prefix(&root).ok());
    relative.map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Files that only one store has and that are not listed, and listed ones that both have, or neither.
fn one_sided(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>, listed: &str) -> Vec<String> {
    let line = |store: &str, file: &String| format!("{store} {file}");
    let mut actual: BTreeSet<String> = sqlite.difference(postgres).map(|file| line(STORES[0], file)).collect();
    actual.extend(postgres.difference(sqlite).map(|file| line(STORES[1], file)));
    let listed: BTreeSet<String> = listed
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(Into::into)
        .collect();
    let missing = actual.difference(&listed).map(|entry| {
        format!("xtask/src/tidy/one_sided.txt: `{entry}` has no twin in the other store and is not listed")
    });
    let stale = listed
        .difference(&actual)
        .map(|entry| format!("xtask/src/tidy/one_sided.txt: `{entry}` is listed but has a twin, or is gone"));
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaches_are_found_with_their_place() {
        let text = format!("fn a() {{}}\n// {}: later\nlet p = \"{}x\";\n", LATER[0], MACHINE_PATHS[0]);
        let found = breaches(Path::new("./a.rs"), &text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a.rs:1:") && found[1].starts_with("a.rs:2:") && found[2].starts_with("a.rs:3:"));
        assert!(breaches(Path::new("a.rs"), "//! Owns a.\n").is_empty());
        assert_eq!(breaches(Path::new("a.sql"), &"select 1;\n".repeat(LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn twins_are_compared_both_ways() {
        let set = |files: &[&str]| files.iter().map(|&file| file.to_owned()).collect::<BTreeSet<String>>();
        let (sqlite, postgres) = (set(&["task/add.sql", "task/get.sql"]), set(&["task/add.sql", "task/copy.sql"]));
        assert_eq!(one_sided(&sqlite, &postgres, "").len(), 2);
        assert!(one_sided(&sqlite, &postgres, "sqlite task/get.sql # why\n\npostgres task/copy.sql").is_empty());
        assert_eq!(one_sided(&sqlite, &sqlite, "sqlite task/get.sql").len(), 1);
    }
}
