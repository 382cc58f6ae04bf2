//! `cargo dev`: the commands for developing Taskyard. Without arguments it lists them.
//!
//! This file owns the table of commands. `parts.rs` lists the parts of the tests, `machine.rs` the programs that a machine must
//! have, and `tidy.rs` the repository's own rules. The crate has no dependencies, because it must build within a second on a new
//! machine.

mod deny;
mod machine;
mod names;
mod neighbours;
mod nemesis;
mod parts;
mod postgres;
mod python;
mod step;
mod surface;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use step::{Steps, cargo};

/// Name, arguments, description, function.
type Row = (&'static str, &'static str, &'static str, fn(&[String]) -> Result<(), String>);

const COMMANDS: [Row; 13] = [
    ("run", "[ARGS]", "build and run the `taskyard` command", run),
    ("test", "[--only PART,..]", "everything: needed programs, lint, all tests", parts::test),
    ("test", "--postgres 13,14,..", "the PostgreSQL part alone, on these versions", parts::test),
    ("lint", "", "format, clippy, documentation and the repository's rules; changes nothing", lint),
    ("tidy", "", "only the repository's own rules, without a build", |_| tidy::check()),
    ("fix", "", "format, and apply clippy's automatic fixes", fix),
    ("nemesis", "[--seeds N] ..", "the nemesis of tests/faults: more seeds, or one run over many tasks", nemesis::run),
    (
        "neighbours",
        "",
        "applications with sqlx, SeaORM, diesel-async, deadpool and rusqlite: resolve, build, run",
        neighbours::run,
    ),
    ("bench", "[ARGS]", "`taskyard bench` in a release build", bench),
    ("deny", "[--no-advisories]", "licences, duplicates, sources and advisories of the dependencies", deny::run),
    ("publish", "[ARGS]", "pack and build every published crate; uploads nothing", surface::publish),
    ("docs", "[--open]", "build the documentation of all crates", docs),
    ("ci", "", "what the CI runs: `test`, of everything", ci),
];

fn main() -> ExitCode {
    // All paths are relative to the repository's root, independently of the caller's directory.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("cargo dev: {}: {error}", root.display());
        return ExitCode::from(2);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = arguments.first().filter(|name| !["help", "-h", "--help"].contains(&name.as_str())) else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    let Some((.., command)) = COMMANDS.iter().find(|row| row.0 == name) else {
        eprint!("cargo dev: unknown command `{}`\n\n{}", name.escape_debug(), help());
        return ExitCode::from(2);
    };
    match command(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cargo dev {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("cargo dev COMMAND\n\n");
    for (name, arguments, about, _) in COMMANDS {
        text += &format!("  {:<22} {about}\n", format!("{name} {arguments}"));
    }
    text + "\nParts for `test --only`:\n" + &parts::help()
}

fn run(arguments: &[String]) -> Result<(), String> {
    step::must(cargo(&["run", "--quiet", "--package", "taskyard-cli", "--bin", "taskyard", "--"]).args(arguments))
}

fn bench(arguments: &[String]) -> Result<(), String> {
    let mut command = cargo(&["run", "--release", "--package", "taskyard-cli", "--bin", "taskyard", "--", "bench"]);
    step::must(command.args(arguments))
}

fn lint(_: &[String]) -> Result<(), String> {
    machine::check(&[machine::RUSTFMT, machine::CLIPPY, machine::C_COMPILER])?;
    let mut steps = Steps::default();
    parts::lint(&mut steps);
    steps.finish()
}

fn fix(_: &[String]) -> Result<(), String> {
    machine::check(&[machine::RUSTFMT, machine::CLIPPY, machine::C_COMPILER])?;
    step::must(&mut cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"]))?;
    step::must(&mut cargo(&["fmt", "--all"]))
}

fn docs(arguments: &[String]) -> Result<(), String> {
    step::must(cargo(&["doc", "--workspace", "--no-deps", "--lib"]).args(arguments))
}

fn ci(_: &[String]) -> Result<(), String> {
    parts::test(&[])
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_lists_every_command_and_part() {
        let help = super::help();
        for (name, ..) in super::COMMANDS {
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
        for name in ["lint", "unit", "sqlite", "postgres", "model", "server", "e2e", "examples", "python", "faults"] {
            assert!(help.contains(name), "{name}");
        }
    }
}
