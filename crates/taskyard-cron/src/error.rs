//! Owns the error of a text that is no schedule: what is wrong, the characters that are, what to write instead.

use std::fmt;
use std::ops::Range;

use crate::field::Field;

/// Why a text is no schedule.
///
/// `Display` is one line; [`CronError::diagram`] shows the text with carets below the characters in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    // One pointer: the error travels in results of small values.
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    text: String,
    fault: Fault,
}

/// An error before it knows the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: Option<Field>,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// How much of an overlong text an error keeps.
const SHOWN: usize = 60;

impl CronError {
    pub(crate) fn new(text: &str, mut fault: Fault) -> CronError {
        let mut kept = text.len();
        if kept > crate::parse::TEXT_MAX {
            // An error must not carry a text whose length is what is wrong.
            kept = (0..=SHOWN).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            fault.span = fault.span.start.min(kept)..fault.span.end.min(kept);
        }
        CronError { inner: Box::new(Inner { text: text[..kept].to_owned(), fault }) }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.inner.fault.message
    }

    /// What to do about it.
    pub fn help(&self) -> &str {
        &self.inner.fault.help
    }

    /// The field that it is in: `second`, `minute`, `hour`, `day-of-month`, `month` or `day-of-week`; none when it is
    /// not about one field.
    pub fn field(&self) -> Option<&'static str> {
        self.inner.fault.field.map(Field::name)
    }

    /// The bytes of the text that are wrong. Empty at the end of the text when something is missing there.
    pub fn span(&self) -> Range<usize> {
        self.inner.fault.span.clone()
    }

    /// The text that was parsed; its beginning when it was too long.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Several lines: the message, the text, carets under the characters that are wrong, what to do.
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

/// One column for each character, and nothing that a terminal obeys.
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
