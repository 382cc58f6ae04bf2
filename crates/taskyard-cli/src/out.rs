//! Standard output: lines and tables for people, JSON for programs; every text from elsewhere escaped.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::escape;
use crate::failure::Failure;
use crate::grid::Grid;
use crate::style::Style;

/// Where a command's answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
}

impl Out {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads the answer.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// One line, escaped; further lines of a text that has them are indented.
    ///
    /// # Errors
    /// A stdout that cannot be written.
    pub fn line(self, text: impl Display) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", escape::block(&text.to_string(), "    "))?)
    }

    /// One line that is fit for a terminal already.
    ///
    /// # Errors
    /// A stdout that cannot be written.
    pub(crate) fn shown(self, line: impl Display) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{line}")?)
    }

    /// JSON as it is stored, with every digit.
    ///
    /// # Errors
    /// A stdout that cannot be written.
    pub fn stored_json(self, value: &RawValue) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", escape::json(value.get()))?)
    }

    /// Text of several lines, each escaped, behind an indentation.
    ///
    /// # Errors
    /// A stdout that cannot be written.
    pub fn text(self, indentation: &str, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        for line in escape::lines(text) {
            writeln!(stdout, "{indentation}{line}")?;
        }
        Ok(())
    }

    /// A value as JSON: indented for a terminal, in one line otherwise.
    ///
    /// # Errors
    /// A stdout that cannot be written.
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            if io::stdout().is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        let text = text.map_err(io::Error::from)?;
        Ok(writeln!(io::stdout().lock(), "{}", escape::json(&text))?)
    }

    pub(crate) fn grid(self, grid: Grid) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{}", grid.render(Style::of_stdout()))?)
    }
}

/// Several lines on stderr, each escaped.
pub(crate) fn remark_lines(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in escape::lines(text) {
        let _ = writeln!(stderr, "{line}");
    }
}

/// A remark on stderr, escaped; it never mixes with the answer.
pub(crate) fn remark(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", escape::block(&text.to_string(), "    "));
}
