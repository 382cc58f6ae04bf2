//! Arithmetic of the Gregorian calendar on plain integers: days since 1970-01-01, dates, weekdays.
//!
//! Integers cannot leave the range of a calendar library, so a search near the end of representable time ends by a
//! comparison.

/// Seconds of a civil day.
pub(crate) const DAY: i64 = 86_400;

/// A date of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
}

/// Returns the date of a day counted from 1970-01-01. Years are counted from March, so that a leap day is the last day.
pub(crate) fn date_of(day: i64) -> Date {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Date { year, month: month as u32, day: day as u32 }
}

/// Returns the number of days from 1970-01-01 to the given date.
pub(crate) fn day_number(year: i64, month: u32, day: u32) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns the weekday of a day; Sunday is 0.
pub(crate) fn weekday(day_number: i64) -> u32 {
    // 1970-01-01 was a Thursday.
    (day_number + 4).rem_euclid(7) as u32
}

pub(crate) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Returns the number of days of a month, 28 to 31.
pub(crate) fn month_length(month: u32, leap: bool) -> u32 {
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil;

    #[test]
    fn agrees_with_jiff_on_every_day_of_a_cycle_and_at_both_ends() {
        let epoch = civil::date(1970, 1, 1);
        let span = |date: civil::Date| i64::from(epoch.until(date).unwrap().get_days());
        let mut date = civil::date(1840, 1, 1);
        let mut number = span(date);
        while date.year() < 2242 {
            let ours = date_of(number);
            let theirs = (i64::from(date.year()), date.month() as u32, date.day() as u32);
            assert_eq!((ours.year, ours.month, ours.day), theirs);
            assert_eq!(day_number(ours.year, ours.month, ours.day), number);
            assert_eq!(weekday(number), date.weekday().to_sunday_zero_offset() as u32);
            assert_eq!(month_length(ours.month, is_leap(ours.year)), date.days_in_month() as u32);
            (date, number) = (date.tomorrow().unwrap(), number + 1);
        }
        for date in [civil::Date::MIN, civil::Date::MAX] {
            let ours = date_of(span(date));
            assert_eq!((ours.year, ours.month, ours.day), (date.year().into(), date.month() as u32, date.day() as u32));
        }
    }
}
