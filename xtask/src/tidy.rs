//! The repository's own rules, which no standard tool checks.
//!
//! - A Rust file begins with a `//!` header that describes it.
//! - No file is longer than 600 lines, except documents and the generated `schema.sql`.
//! - No notes of work to be done later in the source; these belong in issues.
//! - No path of a developer's machine.
//! - The two stores have the same tables, and every SQL file is used (`tidy/twins.rs`).
//! - The packages that the Python tests install are pinned (`tidy/pins.rs`).
//! - The functions of PostgreSQL have a build number, raised with every change of their text (`tidy/builds.rs`).
//! - No function or statement of PostgreSQL depends on the caller's search path (`tidy/search_path.rs`).
//! - No literal of PostgreSQL's functions depends on `standard_conforming_strings` (`tidy/literals.rs`).
//! - No retired identifier comes back (`tidy/retired.rs`).
//! - Comments and documentation are written in the language of the house, as far as a program can tell (`tidy/prose.rs`).
//! - No circle of imports is new or grows (`tidy/circles.rs`).

mod builds;
mod circles;
mod imports;
mod literals;
mod pins;
mod prose;
mod retired;
mod search_path;
mod text;
mod twins;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 600;
/// Description of a migrated database, written by a test of its store.
const GENERATED: &str = "schema.sql";
/// Markers of later work; written in two halves, so that this file does not break the rule.
const LATER: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];
const SOURCES: [&str; 8] = ["rs", "sql", "toml", "md", "py", "js", "html", "css"];

/// Checks every file of the repository.
///
/// # Errors
/// A line for each breach.
pub fn check() -> Result<(), String> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    walk(Path::new("."), &mut files).map_err(|error| format!("tidy: {error}"))?;
    for path in &files {
        // Files that are not UTF-8 text are skipped.
        if let Ok(text) = fs::read_to_string(path) {
            problems.extend(breaches(path, &text));
        }
    }
    problems.extend(builds::check().map_err(|error| format!("tidy: {error}"))?);
    problems.extend(literals::check().map_err(|error| format!("tidy: {error}"))?);
    problems.extend(pins::check().map_err(|error| format!("tidy: {error}"))?);
    problems.extend(search_path::check().map_err(|error| format!("tidy: {error}"))?);
    problems.extend(twins::check().map_err(|error| format!("tidy: {error}"))?);
    let files = tracked()?;
    problems.extend(circles::check(&files));
    problems.extend(prose::check(&files));
    problems.extend(retired::check(&files));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// A text file of the repository.
struct File {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

/// Returns the text files that git tracks or does not ignore, sorted by their paths: a new file counts before it is added.
fn tracked() -> Result<Vec<File>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let paths = String::from_utf8_lossy(&output.stdout).into_owned();
    // Files that were deleted, or that are not UTF-8 text, are skipped.
    let file = |path: &str| Some(File { path: path.to_owned(), text: fs::read_to_string(path).ok()? });
    let mut files: Vec<File> = paths.split_terminator('\0').filter_map(file).collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
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
        found.push(format!("{shown}:1: add a `//!` header that says what this file owns"));
    }
    let is_exempt = path.extension().is_some_and(|extension| extension == "md") || path.ends_with(GENERATED);
    if lines > LINES_MAX && !is_exempt {
        found.push(format!("{shown}: {lines} lines, over {LINES_MAX}: split the file"));
    }
    for (at, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", at + 1);
        if let Some(word) = LATER.iter().find(|word| line.contains(*word)) {
            found.push(format!("{place}: `{word}`: do it, or open an issue"));
        }
        if let Some(machine) = MACHINE_PATHS.iter().find(|machine| line.contains(*machine)) {
            found.push(format!("{place}: `{machine}` is a path of a developer's machine"));
        }
    }
    found
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
        let long = "select 1;\n".repeat(LINES_MAX + 1);
        assert_eq!(breaches(Path::new("a.sql"), &long).len(), 1);
        assert!(breaches(Path::new("a/schema.sql"), &long).is_empty() && breaches(Path::new("a.md"), &long).is_empty());
    }
}
