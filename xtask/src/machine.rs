//! Programs that a machine must have for the tests, and how to install them.
//!
//! A missing program is installed if that needs no permission (as root, or with a `sudo` that asks for no password), and a line
//! reports it. Otherwise the command stops with a line that names the program to install. No test is skipped because a program
//! is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::succeeds;

/// Environment variable with the directory of PostgreSQL's programs; the test kit reads it, too.
const POSTGRES_BIN: &str = "TASKYARD_TEST_POSTGRES_BIN";

/// A program that a machine must have.
#[derive(Clone, Copy)]
pub struct Need {
    name: &'static str,
    present: fn() -> bool,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    /// A package of Debian and its derivatives.
    Apt(&'static str),
    /// A component of the Rust toolchain.
    Rustup(&'static str),
    /// A program installed by cargo.
    Cargo(&'static str),
}

/// cargo-deny, for `cargo dev deny`.
pub const CARGO_DENY: Need = Need {
    name: "cargo-deny",
    present: || succeeds("cargo", &["deny", "--version"]),
    source: Source::Cargo("cargo-deny"),
};

/// npm, which downloads other versions of PostgreSQL.
pub const NPM: Need = Need { name: "npm", present: || succeeds("npm", &["--version"]), source: Source::Apt("npm") };

/// `cargo fmt`.
pub const RUSTFMT: Need =
    Need { name: "rustfmt", present: || succeeds("cargo", &["fmt", "--version"]), source: Source::Rustup("rustfmt") };

/// `cargo clippy`.
pub const CLIPPY: Need =
    Need { name: "clippy", present: || succeeds("cargo", &["clippy", "--version"]), source: Source::Rustup("clippy") };

/// A C compiler, for the bundled SQLite.
pub const C_COMPILER: Need =
    Need { name: "a C compiler (cc)", present: has_c_compiler, source: Source::Apt("build-essential") };

/// Python, for the tests of the Python package.
pub const PYTHON: Need =
    Need { name: "Python 3.10 or newer with venv", present: has_python, source: Source::Apt("python3-venv") };

/// PostgreSQL's server programs; the tests start their own servers in temporary directories.
pub const POSTGRES: Need = Need {
    name: "PostgreSQL's server programs (initdb, pg_ctl, psql)",
    present: has_postgres,
    source: Source::Apt("postgresql"),
};

/// Installs missing programs.
///
/// # Errors
/// A message with the installation command if a program is missing and cannot be installed.
pub fn check(needs: &[Need]) -> Result<(), String> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    for need in missing {
        install(need)?;
        if !(need.present)() {
            return Err(format!("{} was installed but is not found; {}", need.name, advice(need)));
        }
    }
    Ok(())
}

fn install(need: &Need) -> Result<(), String> {
    let failed = |why: &str| format!("{} is missing and {why}: {}", need.name, advice(need));
    match need.source {
        Source::Rustup(component) => {
            if !succeeds("rustup", &["--version"]) {
                return Err(failed("there is no rustup"));
            }
            eprintln!("installing {}: rustup component add {component}", need.name);
            quietly(Command::new("rustup").args(["component", "add", component])).map_err(|why| failed(&why))
        }
        Source::Cargo(package) => {
            eprintln!("installing {}: cargo install --locked {package}", need.name);
            quietly(Command::new("cargo").args(["install", "--locked", package])).map_err(|why| failed(&why))
        }
        Source::Apt("postgresql") if std::env::var_os(POSTGRES_BIN).is_some() => {
            Err(failed(&format!("{POSTGRES_BIN} points to a directory without them")))
        }
        Source::Apt(package) => {
            if !succeeds("apt-get", &["--version"]) {
                return Err(failed("there is no apt-get"));
            }
            let prefix: &[&str] = match (is_root(), succeeds("sudo", &["-n", "true"])) {
                (true, _) => &[],
                (false, true) => &["sudo", "-n"],
                (false, false) => return Err(failed("this user may not install packages")),
            };
            eprintln!("installing {}: apt-get install {package}", need.name);
            let apt = |arguments: &[&str]| {
                let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"];
                let words = [prefix, &environment, arguments].concat();
                quietly(Command::new(words[0]).args(&words[1..]))
            };
            // If the package lists cannot be updated, the existing ones may still suffice.
            let _ = apt(&["update"]);
            apt(&["install", "--no-install-recommends", package]).map_err(|why| failed(&why))
        }
    }
}

fn advice(need: &Need) -> String {
    match need.source {
        Source::Apt("postgresql") => "install the package `postgresql` (Debian: apt-get install postgresql), \
                                      or set TASKYARD_TEST_POSTGRES_BIN to the directory of its programs"
            .into(),
        Source::Apt(package) => format!("install the package `{package}` (Debian: apt-get install {package})"),
        Source::Cargo(package) => format!("install it with `cargo install --locked {package}`"),
        Source::Rustup(component) => format!("install it with `rustup component add {component}`"),
    }
}

/// Runs a command and shows its stderr only if it fails.
fn quietly(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("installing it failed ({})", output.status))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn has_python() -> bool {
    succeeds("python3", &["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"])
}

fn has_c_compiler() -> bool {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    // `CC` may carry arguments.
    compiler.split_whitespace().next().is_some_and(|program| succeeds(program, &["--version"]))
}

/// Returns whether PostgreSQL's programs are found, in the same directories as by the test kit.
fn has_postgres() -> bool {
    let complete = |directory: &Path| {
        ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| directory.join(program).is_file())
    };
    if let Some(directory) = std::env::var_os(POSTGRES_BIN) {
        return complete(Path::new(&directory));
    }
    let mut places: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|entry| entry.path().join("bin")));
    places.iter().any(|directory| complete(directory))
}
