//! Checks that the two stores have the same tables, and that every SQL file is used.
//!
//! Both have the same tables, and the tables of tasks have the same columns; `one_sided.txt` lists the exceptions with reasons. Their
//! statements differ by design: PostgreSQL processes sets with a function per operation, SQLite processes rows in its only writer.
//! An unused SQL file would misrepresent the behaviour of the store.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const STORES: [&str; 2] = ["sqlite", "postgres"];

/// Returns a line for each breach.
pub fn check() -> std::io::Result<Vec<String>> {
    let [sqlite, postgres] = STORES.map(|store| {
        let mut text = String::new();
        for path in files(&source(store).join("migrations"), "sql")? {
            text += &fs::read_to_string(path)?;
        }
        std::io::Result::Ok(shape(&text))
    });
    let mut problems = one_sided(&sqlite?, &postgres?, include_str!("one_sided.txt"));
    for store in STORES {
        problems.extend(unused(store)?);
    }
    Ok(problems)
}

fn source(store: &str) -> PathBuf {
    PathBuf::from(format!("crates/taskyard-{store}/src"))
}

pub(super) fn files(directory: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns `table NAME` for every table, and `column task.NAME` for every column of the table of tasks.
fn shape(migrations: &str) -> BTreeSet<String> {
    let lines = migrations.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
    let mut shape = BTreeSet::new();
    for (at, _) in text.match_indices("create table ") {
        let rest = text[at + "create table ".len()..].trim_start().trim_start_matches("if not exists ");
        let Some((name, rest)) = rest.split_once('(') else { continue };
        // Only the name in `a partition of b for …`.
        let name = name.split_whitespace().next().unwrap_or_default();
        let name = name.trim_start_matches("taskyard.").trim_start_matches("ty_").to_owned();
        if name == "task" {
            shape.extend(columns(rest).map(|column| format!("column task.{column}")));
        }
        shape.insert(format!("table {name}"));
    }
    for words in text.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>()) {
        if let ["alter", "table", "ty_task" | "taskyard.task", "add", "column", column, ..] = words[..] {
            shape.insert(format!("column task.{column}"));
        }
    }
    shape
}

/// Returns the column names of a table: the first words of its definitions, up to the closing parenthesis.
fn columns(body: &str) -> impl Iterator<Item = String> {
    let (mut depth, mut definitions, mut current) = (1, Vec::new(), String::new());
    for letter in body.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if depth == 0 {
            break;
        }
        if letter == ',' && depth == 1 {
            definitions.push(std::mem::take(&mut current));
        } else {
            current.push(letter);
        }
    }
    definitions.push(current);
    let firsts = definitions.into_iter().filter_map(|definition| definition.split_whitespace().next().map(Into::into));
    firsts.filter(|word: &String| !["primary", "unique", "check", "foreign", "constraint"].contains(&word.as_str()))
}

/// Returns items that only one store has and that are not listed, and listed items that both stores or none have.
fn one_sided(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>, listed: &str) -> Vec<String> {
    let mut actual: BTreeSet<String> =
        sqlite.difference(postgres).map(|item| format!("{} {item}", STORES[0])).collect();
    actual.extend(postgres.difference(sqlite).map(|item| format!("{} {item}", STORES[1])));
    let entries = listed.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let listed: BTreeSet<String> = entries.filter(|entry| !entry.is_empty()).map(Into::into).collect();
    let missing = actual.difference(&listed).map(|entry| {
        format!("xtask/src/tidy/one_sided.txt: `{entry}` is missing in the other store and not listed: add it there, or list it with a reason")
    });
    let stale = listed.difference(&actual).map(|entry| {
        format!("xtask/src/tidy/one_sided.txt: `{entry}` is listed, but both stores or none have it: remove the line")
    });
    missing.chain(stale).collect()
}

/// Returns the SQL files of a store that none of its Rust files includes.
fn unused(store: &str) -> std::io::Result<Vec<String>> {
    let mut code = String::new();
    for path in files(&source(store), "rs")? {
        code += &fs::read_to_string(path)?;
    }
    let root = source(store).join("sql");
    let mut problems = Vec::new();
    for path in files(&root, "sql")? {
        let relative = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
        let name = relative.trim_end_matches(".sql");
        if !code.contains(&format!("\"{name}\"")) && !code.contains(&relative) {
            problems.push(format!("{}: no Rust file of this store includes it", path.display()));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn tables_and_columns_are_read_from_either_dialect() {
        let sqlite = "create table ty_task (\n  id blob not null unique, -- key, of course\n  n integer check (n in (1, 2)),
            primary key (id, n)\n) without rowid;\ncreate table ty_edge (a int);\nalter table ty_task add column m text;";
        let postgres =
            "CREATE TABLE IF NOT EXISTS taskyard.task (id uuid PRIMARY KEY, n int, m text) WITH (fillfactor = 40);
            CREATE TABLE taskyard.edge (a int);";
        let expected = set(&["column task.id", "column task.m", "column task.n", "table edge", "table task"]);
        assert_eq!(shape(sqlite), expected);
        assert_eq!(shape(postgres), expected);
    }

    #[test]
    fn they_are_compared_both_ways() {
        let (sqlite, postgres) = (set(&["table a", "table b"]), set(&["table a", "table c"]));
        assert_eq!(one_sided(&sqlite, &postgres, "").len(), 2);
        assert!(one_sided(&sqlite, &postgres, "sqlite table b # why\n\npostgres table c").is_empty());
        assert_eq!(one_sided(&sqlite, &sqlite, "sqlite table b").len(), 1);
    }
}
