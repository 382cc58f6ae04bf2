//! The `taskyard` command, for its own binary and for an application's.
//!
//! An application that is built with its tasks gets every command, `queue start` running its own functions:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     taskyard_cli::main()
//! }
//! ```
//!
//! This is the composition root: here settings are found, the database is chosen, logging is set up, and everything is
//! printed. What a queue *is* and does stands in the crates below. The Python package is the one library that uses this crate:
//! for the command, and for a project's settings and keys ([`place`]).
//!
//! What must hold: machine output alone goes to stdout (with `--json` nothing else does); whatever a database or a file
//! name contains is escaped before it reaches a terminal; no command ends in a panic or a backtrace; the exit code says
//! what happened.

mod app;
mod bench;
mod commands;
mod confirm;
mod demo;
mod escape;
mod failure;
mod grid;
mod init;
mod logging;
mod moment;
mod out;
pub mod place;
mod project;
mod python;
mod secret;
mod session;
mod settings;
mod style;
mod text;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

pub use app::Commands;
pub use python::Python;

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
