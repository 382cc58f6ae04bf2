//! The `taskyard` command line, for its own binary and for an application's binary.
//!
//! An application that calls [`main`] gets every command; `queue start` runs the tasks that are linked into it:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     taskyard_cli::main()
//! }
//! ```
//!
//! This crate is the composition root: it parses the arguments, opens the database, sets up logging and prints every reply.
//! The behaviour of a queue is implemented in the crates below it, and the search for settings and keys in `taskyard-config`.
//! The Python package is the only library that uses this crate, for the command.
//!
//! Invariants: stdout carries the command's result only (with `--json` nothing but JSON); text from a database or a file name
//! is escaped before it reaches a terminal; no command ends with a panic or a backtrace; the exit code tells the outcome
//! (the codes are listed at [`taskyard_terminal::Failure`]).

// The future of a command that starts a server is nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod app;
mod commands;
mod confirm;
mod init;
mod logging;
mod python;
mod session;
mod settings_help;

use std::ffi::OsString;
use std::process::ExitCode;

pub use app::Commands;
pub use python::Python;

/// Settings and keys of a project, for processes other than the command.
pub mod project_context {
    pub use taskyard_config::project::ProjectContext;
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    Commands::new().main()
}

/// Runs a command line; the first argument is the program's name.
#[must_use]
pub fn run<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Commands::new().run(arguments)
}
