//! Output of commands: results on stdout, for people or as JSON ([`Out`], [`Table`]), remarks on stderr ([`remark`]),
//! and failures with a hint and an exit code ([`Failure`]).
//!
//! All text from outside (rows, file names, addresses) is escaped here ([`escape`]), so that none of it can control a terminal
//! or forge a line. No command, no argument and no database is known here.

pub mod escape;
mod failure;
pub mod humanize;
mod out;
mod style;
mod table;

pub use failure::Failure;
pub use out::{Out, remark, remark_lines};
pub use style::Style;
pub use table::Table;
