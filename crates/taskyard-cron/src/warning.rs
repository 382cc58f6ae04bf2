//! Warnings about schedules that are valid but probably not intended.

use std::fmt;
use std::ops::Range;

use crate::calendar::month_length;
use crate::days::{Days, bits};
use crate::field::Field;
use crate::field_set::{FieldSet, Step};

/// A warning about a part of a schedule that is valid but probably not intended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    field: Field,
    span: Range<usize>,
    message: String,
}

impl Warning {
    /// Returns the effect of the part, and the alternative.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the field concerned, named as in [`CronError::field`](crate::CronError::field).
    pub fn field(&self) -> &'static str {
        self.field.name()
    }

    /// Returns the range of the bytes concerned.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} field: {}", self.field.name(), self.message)
    }
}

/// Returns all warnings about the fields, in the order of the text; `days` is the combination of the day fields.
pub(crate) fn warnings(sets: &[FieldSet], days: &Days) -> Vec<Warning> {
    let mut found = Vec::new();
    for set in sets {
        for step in &set.steps {
            if let Some(message) = uneven(set.field, step) {
                found.push(Warning { field: set.field, span: step.span.clone(), message });
            }
        }
        match set.field {
            Field::DayOfMonth => found.extend(days_of_month(set, days.months)),
            Field::DayOfWeek => found.extend(day_fields(&sets[sets.len() - 3], set, days)),
            _ => {}
        }
    }
    found
}

/// Warns about a step that is never taken, or that is not the same everywhere.
fn uneven(field: Field, step: &Step) -> Option<String> {
    let Step { from, count, by, open, .. } = *step;
    if by > 1 && by >= count {
        return Some(format!("the step {by} is never taken: this is {from} alone"));
    }
    if !open || by == 1 || (field.size().is_multiple_of(by) && field != Field::DayOfMonth) {
        return None;
    }
    let (last, size) = (from + (count - 1) / by * by, field.size());
    let first = from + size - last;
    Some(match field {
        Field::Second | Field::Minute | Field::Hour => {
            let unit = field.name();
            format!("{by} does not divide {size}: from {unit} {last} to the next {unit} {from} it is {first}, not {by}")
        }
        Field::DayOfMonth => format!("every month begins again at day {from}: this is not every {by} days"),
        Field::Month => format!("{by} does not divide 12: every year begins again at month {from}"),
        Field::DayOfWeek => format!("every week begins again at weekday {from}: this is not every {by} days"),
    })
}

/// Warns about days that only some of the schedule's months have. A schedule for February alone gets no warning about
/// the 29th, which most years lack.
fn days_of_month(set: &FieldSet, months: u16) -> Vec<Warning> {
    let warning = |message: String| Warning { field: set.field, span: set.span.clone(), message };
    let skips = |day: u32| {
        let has = |month: u32| month_length(month, false) >= day;
        let mut asked = bits(u32::from(months));
        asked.clone().any(has) && !asked.all(has)
    };
    let mut found = Vec::new();
    for day in bits(set.of_month.near).filter(|day| skips(*day)) {
        found.push(warning(format!(
            "{day}W: a month without a day {day} is skipped; the last weekday of every month is LW"
        )));
    }
    for back in bits(set.of_month.from_end).filter(|back| skips(back + 1)) {
        found.push(warning(format!("L-{back}: a month of {back} days or fewer is skipped")));
    }
    let first = set.of_month.plain.trailing_zeros();
    if first < 32 && skips(first) && set.of_month.from_end & 1 == 0 {
        found.push(warning(format!("a month without a day {first} is skipped; the last day of every month is L")));
    }
    found
}

/// Warns about the combination of day-of-month and day-of-week.
fn day_fields(of_month: &FieldSet, of_week: &FieldSet, days: &Days) -> Vec<Warning> {
    if days.both || of_month.star || of_week.star {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut warn = |set: &FieldSet, message: String| {
        found.push(Warning { field: set.field, span: set.span.clone(), message });
    };
    let mut told = false;
    for (set, other) in [(of_month, of_week), (of_week, of_month)] {
        let other = other.field.name();
        if set.bits == set.field.all() {
            let effect = format!("so the {other} field changes nothing; with * here it alone would decide");
            warn(set, format!("admits every day, {effect}"));
            told = true;
        } else if set.begins_with_star {
            let elsewhere = "Vixie cron, for a field that begins with *, demands both";
            warn(set, format!("a day is admitted by this field or by the {other} field; {elsewhere}"));
            told = true;
        }
    }
    if !days.ever(|month| days.of_month.days(month)) {
        warn(of_month, "no month of the schedule has such a day: only day-of-week admits days".to_owned());
    } else if !days.ever(|month| days.of_week.days(month)) {
        warn(of_week, "no month of the schedule has such a day: only day-of-month admits days".to_owned());
    } else if !told {
        warn(of_week, "a day is admitted by day-of-month or by day-of-week, not only by both".to_owned());
    }
    found
}
