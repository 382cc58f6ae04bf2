//! The parts of the tests: a table from names to the cargo commands that run them.
//!
//! All of them together are `lint`, one `cargo test --workspace`, which builds once and misses nothing, and `python`. The other
//! rows are cuts through the same tests for a quick answer; a new suite is a row more here, not a new way to run it.

use crate::machine::{self, Need};
use crate::neighbours;
use crate::postgres;
use crate::python;
use crate::step::{Steps, cargo, side_by_side};
use crate::surface;
use crate::tidy;

/// Cargo's arguments for one run of tests.
type Run = &'static [&'static str];

/// Name, what it shows, the runs (none: it has steps of its own).
const PARTS: [(&str, &str, &[Run]); 10] = [
    ("lint", "format, clippy, documentation, the repository's rules", &[]),
    ("unit", "the tests beside the code, of all crates", &[&["--workspace", "--lib", "--bins"]]),
    ("sqlite", "the SQLite store: conformance and its own tests", &[&["--package", "taskyard-sqlite"]]),
    ("postgres", "the PostgreSQL store: conformance and its own tests", &[&["--package", "taskyard-postgres"]]),
    ("model", "the protocol's model, and both stores against it", &[&["--package", "taskyard-testkit"]]),
    (
        "server",
        "the server and the client: adding, claiming, running, stopping",
        &[&["--package", "taskyard-server", "--package", "taskyard"]],
    ),
    ("e2e", "the command and whole processes", &[&["--package", "taskyard-cli"]]),
    (
        "examples",
        "the examples, and the samples of the documentation",
        &[&["--package", "*-example"], &["--workspace", "--doc"]],
    ),
    ("python", "the Python package: its wheel, lint, types and tests", &[]),
    ("faults", "killed processes, restarted databases, lost connections", &[&["--package", "taskyard-faults"]]),
];

const NEEDS: [Need; 5] = [machine::C_COMPILER, machine::RUSTFMT, machine::CLIPPY, machine::POSTGRES, machine::PYTHON];

/// The table for people.
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

/// What needs no test to be seen.
pub fn lint(steps: &mut Steps) {
    steps.check("tidy", tidy::check);
    steps.check("neighbours", neighbours::resolve);
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    steps.command("clippy", &mut cargo(&clippy));
    let mut docs = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--lib"]);
    // A header says where to read next, and that is often a private module.
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    // Pages of types that are gone would be read as well.
    let _ = std::fs::remove_dir_all("target/doc/taskyard");
    steps.command("docs", docs.env("RUSTDOCFLAGS", flags));
    steps.check("interface", surface::check);
}

fn run_tests(steps: &mut Steps, name: &str, run: &[&str]) {
    // One failed test target should not hide what the others would say.
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
        Some(unknown) => Err(format!("there is no part `{}`; there are:\n{}", unknown.escape_debug(), help())),
        None if wanted.is_empty() => Err(format!("--only names no part; there are:\n{}", help())),
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
