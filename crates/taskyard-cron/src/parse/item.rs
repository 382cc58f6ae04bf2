//! The grammar of one field: a list of items, each a value, a range, a step or one of the special forms.

use std::ops::Range;

use super::fault;
use super::hash::hash;
use crate::Options;
use crate::error::Fault;
use crate::field::{Field, weekday_name};
use crate::field_set::{FieldSet, Step};

/// Parses one field of the text.
pub(super) fn field(text: &str, field: Field, span: Range<usize>, options: &Options<'_>) -> Result<FieldSet, Fault> {
    let word = &text[span.clone()];
    let mut set = FieldSet {
        field,
        bits: 0,
        star: word == "*" || word == "?",
        begins_with_star: word.starts_with('*') || word == "?",
        of_month: Default::default(),
        of_week: Default::default(),
        steps: Vec::new(),
        span: span.clone(),
    };
    let mut start = span.start;
    for item in word.split(',') {
        let end = start + item.len();
        if item.is_empty() {
            // The comma after the empty item, or the one before it at the end of the field.
            let comma = if end < span.end { end } else { end - 1 };
            let help = "remove the comma, or write a value on each side of it";
            return Err(fault(field, comma..comma + 1, "a list has an empty item", help));
        }
        Reader { text, at: start, end, set: &mut set, options }.item()?;
        start = end + 1;
    }
    match field {
        Field::DayOfMonth => set.of_month.plain = set.bits as u32,
        Field::DayOfWeek => set.of_week.plain = set.bits as u8,
        _ => {}
    }
    Ok(set)
}

/// Parses one item from `at` to `end`.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    end: usize,
    set: &'a mut FieldSet,
    options: &'a Options<'a>,
}

impl Reader<'_> {
    fn item(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let field = self.set.field;
        match self.peek() {
            Some(b'*') => {
                self.at += 1;
                self.range(start, field.min(), field.last(), true)
            }
            Some(b'?') => self.question_mark(),
            Some(b'0'..=b'9') => {
                self.no_workday()?;
                let value = self.value()?;
                match self.word().as_str() {
                    "" => self.after_value(start, value),
                    "W" if field == Field::DayOfMonth => {
                        self.set.of_month.near |= 1 << value;
                        self.done()
                    }
                    "L" if field == Field::DayOfWeek => {
                        self.set.of_week.last |= 1 << (value % 7);
                        self.done()
                    }
                    "L" if field == Field::DayOfMonth => Err(self.error(
                        start,
                        "L cannot follow a number here",
                        "the last day is L, three days before it L-3",
                    )),
                    _ => Err(self.error(start, "a number and a word run together", "separate values by commas")),
                }
            }
            Some(byte) if byte.is_ascii_alphabetic() => self.worded(start),
            Some(b'-') => Err(self.error(start, "a range without its beginning", field.values())),
            Some(b'/') => Err(self.error(start, "a step without what it steps over", "write */5 or 10-30/5")),
            _ => Err(self.error(start, "not a value", field.values())),
        }
    }

    /// Reports `15W` in another field before its number, which may be too large there.
    fn no_workday(&mut self) -> Result<(), Fault> {
        let rest = self.text[self.at..self.end].trim_start_matches(|digit: char| digit.is_ascii_digit());
        if self.set.field == Field::DayOfMonth || !rest.eq_ignore_ascii_case("W") {
            return Ok(());
        }
        let start = std::mem::replace(&mut self.at, self.end);
        Err(self.error(start, "W is allowed in the day-of-month field only", self.set.field.values()))
    }

    /// Parses an item that begins with a letter.
    fn worded(&mut self, start: usize) -> Result<(), Fault> {
        let field = self.set.field;
        let word = self.word();
        if word == "H" {
            return self.hashed(start);
        }
        if let Some(value) = field.number_of(&word) {
            return self.after_value(start, value);
        }
        match (field, word.as_str()) {
            (Field::DayOfMonth, "L") if self.eat(b'-') => {
                let at = self.at;
                let back = self.number().ok_or_else(|| {
                    self.error(at - 1, "the number of days before the last is missing", "write L-1 to L-30")
                })?;
                if !(1..=30).contains(&back) {
                    let help = "write L for the last day, L-1 to L-30 for days before it";
                    return Err(self.error(at, "L goes back by 1 to 30 days", help));
                }
                self.set.of_month.from_end |= 1 << back;
                self.done()
            }
            (Field::DayOfMonth, "L") => {
                self.set.of_month.from_end |= 1;
                self.done()
            }
            (Field::DayOfMonth, "LW") => {
                self.set.of_month.last_workday = true;
                self.done()
            }
            (Field::DayOfMonth, "W") => {
                Err(self.error(start, "W needs a day", "the weekday nearest to the 15th is 15W, the last one LW"))
            }
            (Field::DayOfWeek, "L") if self.peek().is_some_and(|byte| byte.is_ascii_digit()) => {
                let value = self.value()?;
                self.set.of_week.last |= 1 << (value % 7);
                self.done()
            }
            (Field::DayOfWeek, "L") => {
                Err(self.error(start, "L needs a weekday here", "the last Friday of a month is FRIL or 5L"))
            }
            (Field::DayOfWeek, word) => {
                let value = word.strip_suffix('L').and_then(|name| field.number_of(name));
                self.set.of_week.last |= 1 << value.ok_or_else(|| self.unknown(start, word))?;
                self.done()
            }
            (_, word) => Err(self.unknown(start, word)),
        }
    }

    /// Parses what may follow a first value: a range, a step, or the number of a week.
    fn after_value(&mut self, start: usize, value: u32) -> Result<(), Fault> {
        let field = self.set.field;
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                let at = self.at;
                let last = match self.peek() {
                    Some(b'0'..=b'9') => self.value()?,
                    Some(byte) if byte.is_ascii_alphabetic() => {
                        let word = self.word();
                        field.number_of(&word).ok_or_else(|| self.unknown(at, &word))?
                    }
                    _ => return Err(self.error(at - 1, "a range without its end", field.values())),
                };
                if self.peek() == Some(b'#') {
                    self.nth(start, value, last)
                } else {
                    self.range(start, value, last, false)
                }
            }
            Some(b'#') => self.nth(start, value, value),
            Some(b'/') => self.range(start, value % (field.last() + 1), field.last(), true),
            _ => {
                self.set.bits |= 1 << (value % (field.last() + 1));
                self.done()
            }
        }
    }

    /// Parses a range with an optional step; `open` extends to the end of the field.
    fn range(&mut self, start: usize, first: u32, last: u32, open: bool) -> Result<(), Fault> {
        let field = self.set.field;
        let by = self.step(open && first == field.min())?;
        let count = self.count(first, last);
        if let Some(by) = by {
            self.set.steps.push(Step { span: start..self.at, from: first, count, by, open });
        }
        self.set.bits |= self.values(first, count, by.unwrap_or(1));
        self.done()
    }

    /// Returns the number of values of a range. A range that ends before it begins continues at the field's first
    /// value.
    fn count(&self, first: u32, last: u32) -> u32 {
        let field = self.set.field;
        match (first, last) {
            // Sunday as 7 begins a range like Sunday as 0.
            (7, _) if field == Field::DayOfWeek => last % 7 + 1,
            _ if first <= last => last - first + 1,
            _ => last + field.size() - first + 1,
        }
    }

    /// Returns every `by`-th value of a range as bits; the steps continue across the field's end.
    fn values(&self, first: u32, count: u32, by: u32) -> u64 {
        let field = self.set.field;
        let place = |step: u32| (first - field.min() + step) % field.size() + field.min();
        (0..count).step_by(by as usize).fold(0, |bits, step| bits | 1 << place(step))
    }

    /// Parses `/5`, if it follows.
    fn step(&mut self, whole: bool) -> Result<Option<u32>, Fault> {
        let field = self.set.field;
        if !self.eat(b'/') {
            return Ok(None);
        }
        let start = self.at;
        let Some(by) = self.number() else {
            return Err(self.error(start - 1, "a step without its number", "write */5 or 10-30/5"));
        };
        if by == 0 {
            return Err(self.error(start, "a step of 0 is not allowed", "write a step of 1 or more"));
        }
        if by >= field.size() {
            let shown = &self.text[start..self.at];
            let message = if whole {
                format!("a step of {shown} is wider than the field: only {} would be left", field.min())
            } else {
                format!("a step of {shown} is wider than the field")
            };
            let help = format!("a step of the {} field is at most {}", field.name(), field.size() - 1);
            return Err(self.error(start, message, help));
        }
        Ok(Some(by))
    }

    /// Parses `#2` after one weekday or a range of weekdays.
    fn nth(&mut self, start: usize, first: u32, last: u32) -> Result<(), Fault> {
        if self.set.field != Field::DayOfWeek {
            return Err(self.error(
                start,
                "# is allowed in the day-of-week field only",
                "the second Friday is FRI#2 there",
            ));
        }
        self.at += 1;
        let at = self.at;
        let week = self.number();
        let Some(week @ 1..=5) = week else {
            let (at, message) = match week {
                Some(_) => (at, "a month has the first to the fifth of a weekday only"),
                None => (at - 1, "# without its number"),
            };
            return Err(self.error(at, message, "write #1 to #5, or L for the last one"));
        };
        let count = self.count(first, last);
        self.set.of_week.nth[week as usize - 1] |= self.values(first, count, 1) as u8;
        self.done()
    }

    fn question_mark(&mut self) -> Result<(), Fault> {
        let field = self.set.field;
        if !matches!(field, Field::DayOfMonth | Field::DayOfWeek) {
            let help = "write * for any value; ? is allowed in the fields day-of-month and day-of-week only";
            return Err(self.error(self.at, "? has no meaning in this field", help));
        }
        if !self.set.star {
            return Err(self.error(self.at, "? must be alone in its field", "write * for any value"));
        }
        self.set.bits = field.all();
        Ok(())
    }

    /// Parses `H`, `H/15`, `H(0-29)` or `H(0-29)/10`: a value, or the beginning of the steps, chosen by the seed.
    fn hashed(&mut self, start: usize) -> Result<(), Fault> {
        let field = self.set.field;
        let (mut first, mut last) = (field.min(), field.last());
        if field == Field::DayOfMonth {
            // Every month has days 1 to 28.
            last = 28;
        }
        if self.eat(b'(') {
            let at = self.at;
            let help = "write H(0-29)";
            first = self.bound(at, help)?;
            if !self.eat(b'-') {
                return Err(self.error(at, "the range of H has no end", help));
            }
            last = self.bound(at, help)?;
            if !self.eat(b')') {
                return Err(self.error(at, "the range of H is not closed", help));
            }
            if first > last || last > field.last() {
                let message = "the range of H must go upwards within the field";
                return Err(self.error(at, message, field.values()));
            }
        }
        let step_at = self.at + 1;
        let by = self.step(false)?;
        let count = last - first + 1;
        if by.is_some_and(|by| by > count) {
            let message = format!("the step is wider than the {count} values that H may choose from");
            return Err(self.error(step_at, message, "write a smaller step or a wider range"));
        }
        let Some(seed) = self.options.hash_seed else {
            let help = "give the parser a seed, such as the job's id, or write a number";
            return Err(self.error(start, "H needs a seed to be computed from", help));
        };
        let chosen = (hash(seed, field) % u64::from(by.unwrap_or(count))) as u32;
        let steps = by.map_or(1, |_| count - chosen);
        self.set.bits |= self.values(first + chosen, steps, by.unwrap_or(1));
        self.done()
    }

    /// Parses a plain number in the parentheses of `H`.
    fn bound(&mut self, start: usize, help: &str) -> Result<u32, Fault> {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.value()
        } else {
            Err(self.error(start, "the range of H is made of two numbers", help))
        }
    }

    /// Parses a number that is valid for the field.
    fn value(&mut self) -> Result<u32, Fault> {
        let (start, field) = (self.at, self.set.field);
        let value = self.number().expect("called where a digit stands");
        let shown = &self.text[start..self.at];
        if value > field.max() {
            let message = if shown.len() > 10 {
                format!("a number over the {} field's largest value, {}", field.name(), field.max())
            } else {
                format!("{shown} is over the {} field's largest value, {}", field.name(), field.max())
            };
            let help = match (field, value) {
                (Field::Hour, 24) => "hours go from 0 to 23; midnight is hour 0",
                (Field::Minute | Field::Second, 60) => "they go from 0 to 59; the full hour or minute is 0",
                _ => field.values(),
            };
            return Err(self.error(start, message, help));
        }
        if value < field.min() {
            let message = format!("the {} field begins at {}", field.name(), field.min());
            return Err(self.error(start, message, field.values()));
        }
        Ok(value)
    }

    /// Parses digits; a number that is too large saturates.
    fn number(&mut self) -> Option<u32> {
        let mut value = None;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let before: u32 = value.unwrap_or(0);
            value = Some(before.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
            self.at += 1;
        }
        value
    }

    /// Parses letters, and returns them in upper case; an empty string if there are none.
    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            self.at += 1;
        }
        self.text[start..self.at].to_ascii_uppercase()
    }

    fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.text.as_bytes()[self.at])
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Checks that the item ends here.
    fn done(&self) -> Result<(), Fault> {
        if self.at == self.end {
            return Ok(());
        }
        let rest = &self.text[self.at..self.end];
        let message = format!("{} cannot follow here", shortened(rest));
        Err(fault(
            self.set.field,
            self.at..self.end,
            message,
            "separate values by commas; a range is 1-5, a step 1-5/2",
        ))
    }

    /// Creates an error about the text read since `start`, or about the next character if none was read.
    fn error(&self, start: usize, message: impl Into<String>, help: impl Into<String>) -> Fault {
        let end = if self.at > start { self.at } else { (start + 1).min(self.end) };
        fault(self.set.field, start..end, message, help)
    }

    /// Creates the error for a word that is not a value of the field.
    fn unknown(&self, start: usize, word: &str) -> Fault {
        let shown = shortened(word);
        let field = self.set.field;
        let named = [Field::Month, Field::DayOfWeek];
        if let Some(other) = named.into_iter().find(|named| *named != field && named.number_of(word).is_some()) {
            let message = format!("{shown} is a value of the {} field", other.name());
            return self.error(start, message, field.values());
        }
        let begins =
            |number: &u32| word.len() > 3 && word.get(..3).is_some_and(|begin| field.number_of(begin) == Some(*number));
        let help = match (field, (0..=12).find(begins)) {
            (Field::DayOfWeek, Some(number)) => format!("write {} or its first three letters", weekday_name(number)),
            (Field::Month, Some(number)) => format!("write {} or its first three letters", super::month_name(number)),
            _ => field.values().to_owned(),
        };
        self.error(start, format!("{shown} is not a value of the {} field", field.name()), help)
    }
}

/// Shortens a piece of the text for a message.
fn shortened(text: &str) -> String {
    if text.len() > 20 { format!("{}...", &text[..20]) } else { text.to_owned() }
}
