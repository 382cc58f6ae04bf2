//! The search on the civil time line, where every day has 86,400 seconds: the next and the previous second that the
//! fields admit. Does not handle time zones.

use crate::calendar::{DAY, date_of, day_number, is_leap, month_length, weekday};
use crate::days::{Days, Month};

/// The fields as bit sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fields {
    pub(crate) seconds: u64,
    pub(crate) minutes: u64,
    pub(crate) hours: u32,
    pub(crate) days: Days,
}

/// The limit of a search, and its cost so far.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The last year or, for a search backwards, the first.
    pub(crate) year: i64,
    /// Number of months and of pieces of a time zone visited.
    pub(crate) steps: u32,
}

impl Fields {
    /// Returns the smallest admitted second not before `from`, both counted in civil seconds from 1970-01-01.
    pub(crate) fn next(&self, from: i64, bound: &mut Bound) -> Option<i64> {
        let mut date = date_of(from.div_euclid(DAY));
        let mut days = self.days_of(date.year, date.month, bound);
        if days & (1 << date.day) != 0
            && let Some(time) = self.time_from(from.rem_euclid(DAY))
        {
            return Some(from.div_euclid(DAY) * DAY + time);
        }
        days &= !0u32 << date.day << 1;
        loop {
            if days != 0 {
                let day = day_number(date.year, date.month, days.trailing_zeros());
                return Some(day * DAY + self.first_time());
            }
            let later = self.days.months & (!0u16 << date.month << 1);
            let (months, year) = if later != 0 { (later, date.year) } else { (self.days.months, date.year + 1) };
            (date.month, date.year) = (months.trailing_zeros(), year);
            if year > bound.year {
                return None;
            }
            days = self.days_of(date.year, date.month, bound);
        }
    }

    /// Returns the greatest admitted second not after `from`.
    pub(crate) fn previous(&self, from: i64, bound: &mut Bound) -> Option<i64> {
        let mut date = date_of(from.div_euclid(DAY));
        let mut days = self.days_of(date.year, date.month, bound);
        if days & (1 << date.day) != 0
            && let Some(time) = self.time_to(from.rem_euclid(DAY))
        {
            return Some(from.div_euclid(DAY) * DAY + time);
        }
        days &= (1 << date.day) - 1;
        loop {
            if days != 0 {
                let day = day_number(date.year, date.month, days.ilog2());
                return Some(day * DAY + self.last_time());
            }
            let earlier = self.days.months & ((1 << date.month) - 1);
            let (months, year) = if earlier != 0 { (earlier, date.year) } else { (self.days.months, date.year - 1) };
            (date.month, date.year) = (months.ilog2(), year);
            if year < bound.year {
                return None;
            }
            days = self.days_of(date.year, date.month, bound);
        }
    }

    fn days_of(&self, year: i64, month: u32, bound: &mut Bound) -> u32 {
        bound.steps += 1;
        if self.days.months & (1 << month) == 0 {
            return 0;
        }
        let length = month_length(month, is_leap(year));
        self.days.admitted(Month { length, first: weekday(day_number(year, month, 1)) })
    }

    fn first_time(&self) -> i64 {
        let (hour, minute) = (self.hours.trailing_zeros(), self.minutes.trailing_zeros());
        time(hour, minute, self.seconds.trailing_zeros())
    }

    fn last_time(&self) -> i64 {
        time(self.hours.ilog2(), self.minutes.ilog2(), self.seconds.ilog2())
    }

    /// Returns the first admitted second of a day that is not before the given one.
    fn time_from(&self, second_of_day: i64) -> Option<i64> {
        let (hour, minute, second) = parts(second_of_day);
        if self.hours & (1 << hour) != 0 {
            let in_hour = self.minutes & (!0 << minute);
            let in_minute = self.seconds & (!0 << second);
            if in_hour & (1 << minute) != 0 && in_minute != 0 {
                return Some(time(hour, minute, in_minute.trailing_zeros()));
            }
            let later = in_hour & !(1 << minute);
            if later != 0 {
                return Some(time(hour, later.trailing_zeros(), self.seconds.trailing_zeros()));
            }
        }
        let later = self.hours & (!0 << hour << 1);
        (later != 0).then(|| time(later.trailing_zeros(), self.minutes.trailing_zeros(), self.seconds.trailing_zeros()))
    }

    /// Returns the last admitted second of a day that is not after the given one.
    fn time_to(&self, second_of_day: i64) -> Option<i64> {
        let (hour, minute, second) = parts(second_of_day);
        if self.hours & (1 << hour) != 0 {
            let in_minute = self.seconds & ((2 << second) - 1);
            if self.minutes & (1 << minute) != 0 && in_minute != 0 {
                return Some(time(hour, minute, in_minute.ilog2()));
            }
            let earlier = self.minutes & ((1 << minute) - 1);
            if earlier != 0 {
                return Some(time(hour, earlier.ilog2(), self.seconds.ilog2()));
            }
        }
        let earlier = self.hours & ((1 << hour) - 1);
        (earlier != 0).then(|| time(earlier.ilog2(), self.minutes.ilog2(), self.seconds.ilog2()))
    }
}

fn time(hour: u32, minute: u32, second: u32) -> i64 {
    i64::from(hour * 3_600 + minute * 60 + second)
}

fn parts(second_of_day: i64) -> (u32, u32, u32) {
    let second = second_of_day as u32;
    (second / 3_600, second / 60 % 60, second % 60)
}
