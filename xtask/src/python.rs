//! The Python part of the tests: a virtual environment below `target`, a wheel of the development profile installed in it, lint
//! and types, and the tests.
//!
//! The environment is created once and reused until the requirements change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Steps, cargo, must, succeeds};

const REQUIREMENTS: &str = "tests/python/requirements.txt";
const HOME: &str = "target/python";

/// Runs all steps. `built` tells that the Rust program of the tests in two languages was just built with the other tests.
pub fn run(steps: &mut Steps, built: bool) {
    let mut ready = false;
    steps.check("py-setup", || {
        environment()?;
        ready = true;
        Ok(())
    });
    if !ready {
        return;
    }
    let mut installed = false;
    steps.check("wheel", || {
        wheel()?;
        installed = true;
        Ok(())
    });
    if !installed {
        return;
    }
    lint(steps);
    if !built {
        steps.command("mixed", &mut cargo(&["build", "--quiet", "--package", "mixed-example"]));
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let mixed = std::path::absolute(Path::new(&target).join("debug/mixed-example")).unwrap_or_default();
    let processes = crate::step::side_by_side();
    let mut tests = tool("python");
    tests.args(["-m", "pytest", "-q", "--numprocesses", &processes, "--dist", "worksteal", "tests/python"]);
    steps.command("pytest", tests.env("TASKYARD_TEST_MIXED", mixed));
}

/// Checks format, style and types.
fn lint(steps: &mut Steps) {
    steps.command("ruff", tool("ruff").args(["check", "--quiet", "."]));
    steps.command("ruff-format", tool("ruff").args(["format", "--check", "--quiet", "."]));
    steps.command("mypy", tool("mypy").args(["python/taskyard"]));
}

/// Returns a command for a program of the environment.
fn tool(name: &str) -> Command {
    let mut command = Command::new(place().join("bin").join(name));
    // Imports must not use the package in the repository, because the compiled module is only in the wheel.
    command.env_remove("PYTHONPATH");
    command
}

fn place() -> PathBuf {
    std::path::absolute(Path::new(HOME).join("venv")).unwrap_or_else(|_| Path::new(HOME).join("venv"))
}

fn environment() -> Result<(), String> {
    let wanted = fs::read_to_string(REQUIREMENTS).map_err(|error| format!("{REQUIREMENTS}: {error}"))?;
    let mark = Path::new(HOME).join("installed.txt");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted)
        && succeeds(&place().join("bin/python").to_string_lossy(), &["-c", "import pytest"])
    {
        return Ok(());
    }
    fs::create_dir_all(HOME).map_err(|error| format!("{HOME}: {error}"))?;
    let place = place();
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    must(tool("python").args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]))?;
    fs::write(&mark, wanted).map_err(|error| format!("{}: {error}", mark.display()))
}

fn wheel() -> Result<(), String> {
    let wheels = Path::new(HOME).join("wheels");
    let _ = fs::remove_dir_all(&wheels);
    must(tool("maturin").args(["build", "--quiet", "--profile", "dev", "--strip", "false", "--out"]).arg(&wheels))?;
    let wheel = fs::read_dir(&wheels)
        .map_err(|error| format!("{}: {error}", wheels.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("maturin has built no wheel")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"];
    must(tool("python").args(install).arg(wheel))
}
