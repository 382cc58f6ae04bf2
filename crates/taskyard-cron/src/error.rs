//! The error of an invalid text: the reason, the characters concerned, and advice.

use std::fmt;
use std::ops::Range;

use crate::field::Field;

/// Reason why a text is not a valid schedule.
///
/// `Display` is one line; [`CronError::diagram`] shows the text with carets below the characters concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    // A single pointer, because the error is part of results whose values are small.
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    text: String,
    fault: Fault,
}

/// An error before the whole text is attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: Option<Field>,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Maximum length of the text in bytes. A list of all values of all fields is shorter.
pub(crate) const TEXT_MAX: usize = 1_000;
/// Number of bytes of an overlong text that an error contains.
const SHOWN: usize = 60;

impl CronError {
    pub(crate) fn new(text: &str, mut fault: Fault) -> CronError {
        let mut kept = text.len();
        if kept > TEXT_MAX {
            // An error about the length of a text must not contain the whole text.
            kept = (0..=SHOWN).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            fault.span = fault.span.start.min(kept)..fault.span.end.min(kept);
        }
        CronError { inner: Box::new(Inner { text: text[..kept].to_owned(), fault }) }
    }

    /// Returns the reason, without the position.
    pub fn message(&self) -> &str {
        &self.inner.fault.message
    }

    /// Returns advice on how to correct the text.
    pub fn help(&self) -> &str {
        &self.inner.fault.help
    }

    /// Returns the field concerned: `second`, `minute`, `hour`, `day-of-month`, `month` or `day-of-week`; `None` if the
    /// error is not about a single field.
    pub fn field(&self) -> Option<&'static str> {
        self.inner.fault.field.map(Field::name)
    }

    /// Returns the range of the bytes concerned. Empty at the end of the text if something is missing there.
    pub fn span(&self) -> Range<usize> {
        self.inner.fault.span.clone()
    }

    /// Returns the parsed text, or its beginning if it was too long.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Returns several lines: the reason, the text, carets under the characters concerned, and advice.
    ///
    /// ```
    /// let error = taskyard_cron::Cron::parse("0 24 * * *").unwrap_err();
    /// assert_eq!(
    ///     error.diagram(),
    ///     "24 is over the hour field's largest value, 23\n  \
    ///        0 24 * * *\n    \
    ///          ^^\n\
    ///      hours go from 0 to 23; midnight is hour 0"
    /// );
    /// ```
    pub fn diagram(&self) -> String {
        let Inner { text, fault } = &*self.inner;
        let shown: String = text.chars().map(visible).collect();
        let width = |bytes: &str| bytes.chars().count();
        let before = width(&text[..fault.span.start]);
        let carets = width(&text[fault.span.clone()]).max(1);
        format!("{}\n  {shown}\n  {}{}\n{}", fault.message, " ".repeat(before), "^".repeat(carets), fault.help)
    }
}

/// Replaces a character by one that takes one column and is not a terminal control.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        ' '..='~' => character,
        other if other.is_alphanumeric() => other,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { text, fault } = &*self.inner;
        let character = text[..fault.span.start].chars().count() + 1;
        write!(formatter, "{} (", fault.message)?;
        if let Some(field) = fault.field {
            write!(formatter, "{} field, ", field.name())?;
        }
        write!(formatter, "character {character}); {}", fault.help)
    }
}

impl std::error::Error for CronError {}
