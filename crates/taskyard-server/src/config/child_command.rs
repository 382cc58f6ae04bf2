//! [`ChildCommand`]: the configuration of child processes.

use std::ffi::OsString;

use super::Embedded;

/// Configuration of child processes: how they are started and when they are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program.
    pub program: OsString,
    /// The arguments of the program.
    pub args: Vec<OsString>,
    /// Environment variables that are set in addition to this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// Environment variables of this process that are removed.
    pub env_hidden: Vec<OsString>,
    /// Runs children within this process instead of starting the program.
    pub embedded: Option<Embedded>,
    /// Number of tasks after which a child exits and is replaced (default 10,000; 0 = never).
    pub tasks_max: u64,
    /// Memory in bytes at which a child exits as soon as it can (default `None` = never).
    pub memory_bytes_max: Option<u64>,
    /// Maximum number of open requests of one child; further ones are refused (default 100,000).
    pub questions_max: usize,
}

impl ChildCommand {
    /// Creates a configuration with a program, its arguments, and defaults.
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            env_hidden: Vec::new(),
            embedded: None,
            tasks_max: 10_000,
            memory_bytes_max: None,
            questions_max: 100_000,
        }
    }
}
