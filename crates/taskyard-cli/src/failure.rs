//! Why a command did not do what it was asked: one sentence, a hint, an exit code.
//!
//! Exit codes: 0 done, 1 the work failed (a task, a file, an unhealthy queue), 2 wrong usage or settings, 3 the
//! database, 4 not found or in the wrong state, 75 the server must be started anew, 130 interrupted.

use std::fmt;
use std::io;

use taskyard_core::Error;

use crate::escape;

/// A command that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    exit: u8,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: 2 }
    }

    /// The work itself failed.
    pub fn work(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: 1 }
    }

    /// With another exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the command without a word.
    pub(crate) fn quiet(exit: u8) -> Self {
        Self { message: String::new(), hint: None, exit }
    }

    /// The message with its hint, for a caller that has one place for both.
    pub(crate) fn whole(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.message.clone(), |hint| format!("{}; {hint}", self.message))
    }

    /// The command's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    /// What stderr shows.
    pub(crate) fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        use io::Write as _;
        let mut text = format!("error: {}\n", escape::block(&self.message, "  "));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", escape::block(hint, "  ")));
        }
        // A closed stderr is no reason to say more.
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

/// Writing to stdout or reading an answer failed. A reader that went away (`taskyard task list | head`) is content.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(0),
            _ => Self { message: format!("cannot write the output: {error}"), hint: None, exit: 1 },
        }
    }
}
