//! The six fields with their names and ranges, and the names of months and weekdays.

/// A field of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Field {
    pub(crate) const ALL: [Field; 6] =
        [Field::Second, Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day-of-month",
            Field::Month => "month",
            Field::DayOfWeek => "day-of-week",
        }
    }

    pub(crate) fn min(self) -> u32 {
        u32::from(matches!(self, Field::DayOfMonth | Field::Month))
    }

    /// Returns the largest number that the field accepts.
    pub(crate) fn max(self) -> u32 {
        match self {
            Field::Second | Field::Minute => 59,
            Field::Hour => 23,
            Field::DayOfMonth => 31,
            Field::Month => 12,
            // 7 is Sunday's second number.
            Field::DayOfWeek => 7,
        }
    }

    /// Returns the last value of `*` and of `n/step`. Sunday counts once, as 0.
    pub(crate) fn last(self) -> u32 {
        if self == Field::DayOfWeek { 6 } else { self.max() }
    }

    /// Returns the number of different values.
    pub(crate) fn size(self) -> u32 {
        self.last() - self.min() + 1
    }

    /// Returns all values as bits.
    pub(crate) fn all(self) -> u64 {
        ((1 << self.size()) - 1) << self.min()
    }

    /// Returns the number of a month or weekday, given by its name or the name's first three letters, in any case.
    pub(crate) fn number_of(self, name: &str) -> Option<u32> {
        let (names, first): (&[&str], u32) = match self {
            Field::Month => (&MONTHS, 1),
            Field::DayOfWeek => (&WEEKDAYS, 0),
            _ => return None,
        };
        let same = |known: &&str| name.eq_ignore_ascii_case(known) || name.eq_ignore_ascii_case(&known[..3]);
        names.iter().position(same).map(|at| at as u32 + first)
    }

    /// Returns a description of the valid values, for messages.
    pub(crate) fn values(self) -> &'static str {
        match self {
            Field::Second => "seconds go from 0 to 59",
            Field::Minute => "minutes go from 0 to 59",
            Field::Hour => "hours go from 0 to 23",
            Field::DayOfMonth => "days of the month go from 1 to 31",
            Field::Month => "months go from 1 to 12, or JAN to DEC",
            Field::DayOfWeek => "weekdays go from 0 (Sunday) to 6, 7 is Sunday too, or SUN to SAT",
        }
    }
}

/// Returns the weekday's name, for messages.
pub(crate) fn weekday_name(number: u32) -> &'static str {
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"][number as usize % 7]
}

/// Returns the month's name, for messages.
pub(crate) fn month_name(number: u32) -> String {
    let name = MONTHS[(number as usize + 11) % 12];
    name[..1].to_uppercase() + &name[1..]
}
