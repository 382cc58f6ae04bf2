//! The failure of a command: a message of one sentence, a hint and an exit code.

use std::fmt;
use std::io;

use taskyard_config::project::{ConfigError, Untrusted};
use taskyard_core::Error;

use crate::escape;

/// A command that failed.
///
/// Exit codes: 0 done, 1 the work failed (a task, a file, an unhealthy queue), 2 wrong usage or settings, 3 the
/// database, 4 not found or in the wrong state, 75 the server must be restarted, 130 interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    exit: u8,
}

impl Failure {
    /// Creates a failure for wrong usage or settings, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: 2 }
    }

    /// Creates a failure of the work itself, with exit code 1.
    pub fn work(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: 1 }
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// Adds a hint: what the user can do about the failure.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Creates a failure that ends the command without a message.
    pub fn quiet(exit: u8) -> Self {
        Self { message: String::new(), hint: None, exit }
    }

    /// Returns the command's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    /// Prints message and hint to stderr, escaped; nothing if the message is empty.
    pub fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        use io::Write as _;
        let mut text = format!("error: {}\n", escape::block(&self.message, "  "));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", escape::block(hint, "  ")));
        }
        // If stderr is closed, the exit code is all that is left to report.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { message: error.to_string(), hint: error.hint().map(str::to_owned), exit: error.exit_code() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit_code() }
    }
}

impl From<Untrusted> for Failure {
    fn from(untrusted: Untrusted) -> Self {
        ConfigError::from(untrusted).into()
    }
}

/// Maps an error of stdin or stdout. A closed pipe (`taskyard task list | head`) ends the command quietly with exit code 0.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(0),
            _ => Self::work(format!("cannot write the output: {error}")),
        }
    }
}
