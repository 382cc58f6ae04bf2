//! `demo` and `bench`: commands that run tasks of their own, to show the queue and to measure it.
//!
//! Owns their arguments ([`Demo`], [`Bench`]), tasks and output. The command line that they are part of gives them the settings
//! and opens the database; it also handles signals. Their tasks are in task sets of their own, so that no server of an
//! application runs them, and their kinds are stored in databases and must never change.

mod bench;
mod demo;

pub use bench::Bench;
pub use demo::{Demo, PreparedDemo};
