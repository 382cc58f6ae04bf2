//! Output of commands: lines and tables for people or JSON for programs on stdout, remarks on stderr. All text is escaped.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::escape;
use crate::failure::Failure;
use crate::style::Style;
use crate::table::Table;

/// The format in which a command prints its result.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
}

impl Out {
    /// Creates the output; `json` makes it JSON for programs.
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Returns whether the result is printed as JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one line, escaped; further lines of the text are indented.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn line(self, text: impl Display) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", escape::block(&text.to_string(), "    "))?)
    }

    /// Prints text that is already escaped.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn shown(self, line: impl Display) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{line}")?)
    }

    /// Prints stored JSON unchanged, with every digit of its numbers; only control characters are escaped.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn stored_json(self, value: &RawValue) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", escape::json(value.get()))?)
    }

    /// Prints the lines of a text, each escaped and indented.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn text(self, indentation: &str, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        for line in escape::lines(text) {
            writeln!(stdout, "{indentation}{line}")?;
        }
        Ok(())
    }

    /// Prints a value as JSON: indented on a terminal, in one line otherwise.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            if io::stdout().is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        let text = text.map_err(io::Error::from)?;
        Ok(writeln!(io::stdout().lock(), "{}", escape::json(&text))?)
    }

    /// Prints a table, fitted to the terminal.
    ///
    /// # Errors
    /// A failure if stdout cannot be written.
    pub fn table(self, table: Table) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", table.render(Style::of_stdout()))?)
    }
}

/// Prints the lines of a text to stderr, each escaped.
pub fn remark_lines(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in escape::lines(text) {
        let _ = writeln!(stderr, "{line}");
    }
}

/// Prints a remark to stderr, escaped, apart from the command's result.
pub fn remark(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", escape::block(&text.to_string(), "    "));
}
