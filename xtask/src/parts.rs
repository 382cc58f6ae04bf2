//! The parts of the tests: a table that maps names to the cargo commands that run them.
//!
//! A complete run consists of `lint`, a single `cargo test --workspace` (which builds once and includes every crate) and `python`.
//! The other rows select subsets of the same tests for quick results. A new suite is a new row of this table.

use crate::machine::{self, Need};
use crate::names;
use crate::neighbours;
use crate::postgres;
use crate::python;
use crate::step::{Steps, cargo, side_by_side};
use crate::surface;
use crate::tidy;

/// Arguments of a `cargo test` run.
type Run = &'static [&'static str];

/// Name, description, and runs (empty if the part has steps of its own).
const PARTS: [(&str, &str, &[Run]); 10] = [
    ("lint", "format, clippy, documentation, the repository's rules", &[]),
    ("unit", "the unit tests of all crates", &[&["--workspace", "--lib", "--bins"]]),
    ("sqlite", "the SQLite store: conformance and its own tests", &[&["--package", "taskyard-sqlite"]]),
    ("postgres", "the PostgreSQL store: conformance and its own tests", &[&["--package", "taskyard-postgres"]]),
    ("model", "the protocol's model, and both stores against it", &[&["--package", "taskyard-testkit"]]),
    (
        "server",
        "the server and the client: adding, claiming, running, stopping",
        &[&["--package", "taskyard-server", "--package", "taskyard"]],
    ),
    (
        "e2e",
        "the command and whole processes",
        &[&[
            "--package",
            "taskyard-cli",
            "--package",
            "taskyard-bench",
            "--package",
            "taskyard-config",
            "--package",
            "taskyard-terminal",
        ]],
    ),
    (
        "examples",
        "the examples, and the samples of the documentation",
        &[&["--package", "*-example"], &["--workspace", "--doc"]],
    ),
    ("python", "the Python package: its wheel, lint, types and tests", &[]),
    ("faults", "killed processes, restarted databases, lost connections", &[&["--package", "taskyard-faults"]]),
];

const NEEDS: [Need; 5] = [machine::C_COMPILER, machine::RUSTFMT, machine::CLIPPY, machine::POSTGRES, machine::PYTHON];

/// Returns the table as text.
pub fn help() -> String {
    PARTS.iter().map(|(name, about, _)| format!("  {name:<22} {about}\n")).collect()
}

/// `cargo dev test [--only PART[,PART]]`, or `--postgres VERSION[,VERSION]`.
pub fn test(arguments: &[String]) -> Result<(), String> {
    let versions = match arguments {
        [flag, list] if flag == "--postgres" => Some(list.as_str()),
        [flag] => flag.strip_prefix("--postgres="),
        _ => None,
    };
    if let Some(versions) = versions {
        let part = PARTS.iter().find(|(name, ..)| *name == "postgres").map_or(&[][..], |(.., runs)| runs[0]);
        return postgres::run(versions, part);
    }
    let wanted = wanted(arguments)?;
    machine::check(&NEEDS)?;
    let mut steps = Steps::default();
    if wanted.is_empty() {
        lint(&mut steps);
        run_tests(&mut steps, "tests", &["--workspace"]);
        python::run(&mut steps, true);
        return steps.finish();
    }
    for (name, _, runs) in PARTS.iter().filter(|(name, ..)| wanted.iter().any(|wanted| wanted == name)) {
        match *name {
            "lint" => lint(&mut steps),
            "python" => python::run(&mut steps, false),
            _ => {}
        }
        for run in *runs {
            run_tests(&mut steps, name, run);
        }
    }
    steps.finish()
}

/// Runs the checks other than tests.
pub fn lint(steps: &mut Steps) {
    steps.check("tidy", tidy::check);
    steps.check("neighbours", neighbours::resolve);
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    steps.command("clippy", &mut cargo(&clippy));
    let mut docs = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--lib"]);
    // Module headers link to private modules.
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    // Stale pages of removed types would be checked as well.
    let _ = std::fs::remove_dir_all("target/doc/taskyard");
    steps.command("docs", docs.env("RUSTDOCFLAGS", flags));
    steps.check("interface", surface::check);
    steps.check("names", names::check);
}

fn run_tests(steps: &mut Steps, name: &str, run: &[&str]) {
    // A failed test target must not hide the results of the others.
    let mut tests = cargo(&[&["test", "--no-fail-fast"], run].concat());
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        tests.env("RUST_TEST_THREADS", side_by_side());
    }
    steps.command(name, &mut tests);
}

fn wanted(arguments: &[String]) -> Result<Vec<String>, String> {
    let list = match arguments {
        [] => return Ok(Vec::new()),
        [flag, list] if flag == "--only" => list.as_str(),
        [flag] if flag.starts_with("--only=") => &flag["--only=".len()..],
        _ => return Err(format!("usage: cargo dev test [--only PART,..] [--postgres VERSION,..]\n{}", help())),
    };
    let wanted: Vec<String> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
    match wanted.iter().find(|wanted| !PARTS.iter().any(|(name, ..)| name == wanted)) {
        Some(unknown) => Err(format!("unknown part `{}`; the parts are:\n{}", unknown.escape_debug(), help())),
        None if wanted.is_empty() => Err(format!("--only names no part; the parts are:\n{}", help())),
        None => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    fn wanted(arguments: &[&str]) -> Result<Vec<String>, String> {
        super::wanted(&arguments.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parts_are_chosen_by_name() {
        assert_eq!(wanted(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(wanted(&["--only", "lint,sqlite"]).unwrap(), ["lint", "sqlite"]);
        assert_eq!(wanted(&["--only=model"]).unwrap(), ["model"]);
        for bad in [&["--only", "lint,nothing"][..], &["--only"], &["--only", ""], &["lint"], &["--ony", "lint"]] {
            assert!(wanted(bad).is_err(), "{bad:?}");
        }
    }
}
