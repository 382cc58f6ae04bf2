//! The `taskyard` command of the Python package: the same commands as in the Rust program, with workers in Python.

use std::ffi::OsString;

use pyo3::prelude::*;
use taskyard_cli::{Commands, Python as Interpreter};

/// Runs a command line (the first word is the program's name) and returns the exit code.
#[pyfunction]
pub fn run(py: Python<'_>, arguments: Vec<OsString>, program: OsString) -> u8 {
    py.detach(|| Commands::new().python(Interpreter { program }).exit_code(arguments))
}

/// Makes the system kill this process when the thread that started it ends, so that a worker never outlives its server.
#[pyfunction]
pub fn die_with_parent() -> PyResult<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| pyo3::exceptions::PyOSError::new_err(error.to_string()))?;
    Ok(())
}
