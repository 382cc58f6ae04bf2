//! Checks that no name in PostgreSQL's functions is resolved by the caller's search path, where other roles may have placed code.
//!
//! Every function in `sql` sets its own search path, except those in [`UNPINNED`]: SQL functions that the planner must inline, and
//! the clock, which is called too often. These are called from functions that set it, or qualify every name that an overload could
//! hide. Statements of the engine, in files of their own, qualify every builtin function in [`POLYMORPHIC`].

use std::fs;
use std::path::Path;

use super::twins::files;

const SOURCE: &str = "crates/taskyard-postgres/src/sql";
const CLAUSE: &str = "SET search_path = pg_catalog, pg_temp";
/// Functions that do not set a search path.
const UNPINNED: [&str; 8] =
    ["limit_of", "micros_until", "now", "rate_free", "rate_missing", "shown_state", "task_is_leaf", "uuid7_from"];
/// Builtin functions that an overload with the exact argument types would hide.
const POLYMORPHIC: [&str; 12] = [
    "array_agg",
    "array_length",
    "array_position",
    "cardinality",
    "count",
    "json_to_recordset",
    "max",
    "min",
    "octet_length",
    "set_config",
    "sum",
    "unnest",
];

/// Returns a line for each breach.
pub fn check() -> std::io::Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in files(Path::new(SOURCE), "sql")? {
        let text = fs::read_to_string(&path)?;
        let shown = path.display();
        if text.contains("CREATE OR REPLACE FUNCTION") {
            problems.extend(unpinned(&text).map(|name| {
                format!("{shown}: the function {name} has no `{CLAUSE}`: add it, or list the function in UNPINNED (tidy/search_path.rs)")
            }));
        } else if !text.contains("CREATE OR REPLACE VIEW") {
            problems.extend(unqualified(&text).map(|name| format!("{shown}: `{name}(`: write `pg_catalog.{name}(`")));
        }
    }
    Ok(problems)
}

/// Returns the functions without the clause.
fn unpinned(text: &str) -> impl Iterator<Item = &str> {
    let heads = text.split("CREATE OR REPLACE FUNCTION ").skip(1).filter_map(|rest| rest.split_once("$$"));
    heads.filter_map(|(head, _)| {
        let name = head.split('(').next().unwrap_or_default().trim_start_matches("taskyard.").trim();
        (!head.contains(CLAUSE) && !UNPINNED.contains(&name)).then_some(name)
    })
}

/// Returns the polymorphic builtins that are called without their schema. `unnest` of several arrays is a construct of the parser.
fn unqualified(text: &str) -> impl Iterator<Item = &'static str> {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ");
    POLYMORPHIC.into_iter().filter(move |name| {
        code.match_indices(&format!("{name}(")).any(|(at, call)| {
            let is_own_word = !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || "._".contains(letter));
            let arguments = code[at + call.len()..].split(')').next().unwrap_or_default();
            is_own_word && !(*name == "unnest" && arguments.contains(','))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_without_a_path_of_their_own_are_found() {
        let text = format!(
            "CREATE OR REPLACE FUNCTION taskyard.a() RETURNS void LANGUAGE plpgsql {CLAUSE} AS $$ BEGIN END $$;
             CREATE OR REPLACE FUNCTION taskyard.b(p int) RETURNS void LANGUAGE sql AS $$ SELECT 1 $$;
             CREATE OR REPLACE FUNCTION taskyard.shown_state(p int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;"
        );
        assert_eq!(unpinned(&text).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn calls_without_a_schema_are_found() {
        let text = "-- count(*)\nSELECT pg_catalog.count(*), my_sum(1), max(a) FROM unnest($1, $2), unnest($3)";
        assert_eq!(unqualified(text).collect::<Vec<_>>(), ["max", "unnest"]);
    }
}
