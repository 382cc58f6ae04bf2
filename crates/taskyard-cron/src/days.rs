//! The day test: the days of a month that the fields day-of-month, month and day-of-week admit, as one bit mask per
//! month (bit 1 is the first day).

use crate::calendar::month_length;

/// The three day fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Days {
    /// Bits 1 to 12.
    pub(crate) months: u16,
    pub(crate) of_month: OfMonth,
    pub(crate) of_week: OfWeek,
    /// Whether both day fields must admit a day; otherwise one of them is enough.
    pub(crate) both: bool,
}

/// The field day-of-month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OfMonth {
    /// Bits 1 to 31.
    pub(crate) plain: u32,
    /// `L` is bit 0, `L-3` bit 3.
    pub(crate) from_end: u32,
    /// `15W` is bit 15.
    pub(crate) near: u32,
    /// `LW`.
    pub(crate) last_workday: bool,
}

/// The field day-of-week; bit 0 is Sunday.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OfWeek {
    pub(crate) plain: u8,
    /// `FRI#2` is bit 5 of the second.
    pub(crate) nth: [u8; 5],
    /// `FRIL`.
    pub(crate) last: u8,
}

/// The properties of a month that matter for the day test: there are 28 kinds (7 weekdays, 4 lengths).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Month {
    /// 28 to 31.
    pub(crate) length: u32,
    /// Weekday of its first day; Sunday is 0.
    pub(crate) first: u32,
}

impl Month {
    /// Returns a mask of bits 1 to the month's length.
    fn all(self) -> u32 {
        ((1u64 << (self.length + 1)) - 2) as u32
    }

    fn weekday(self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    /// Returns the days that fall on a weekday of the set.
    fn on(self, weekdays: u8) -> u32 {
        if weekdays == 0 {
            return 0;
        }
        let week = u64::from(weekdays & 0x7f);
        // One week that begins with the weekday of the first day, repeated five times.
        let rotated = ((week >> self.first) | (week << (7 - self.first))) & 0x7f;
        let row = rotated * 0b1_0000001_0000001_0000001_0000001;
        (row << 1) as u32 & self.all()
    }

    /// Returns the day from Monday to Friday that is nearest to a day, without leaving the month.
    fn workday_near(self, day: u32) -> u32 {
        match self.weekday(day) {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.length => day - 2,
            0 => day + 1,
            _ => day,
        }
    }
}

impl OfMonth {
    pub(crate) fn days(&self, month: Month) -> u32 {
        let mut days = self.plain & month.all();
        // Most schedules have none of the following.
        for back in bits(self.from_end).take_while(|back| *back < month.length) {
            days |= 1 << (month.length - back);
        }
        for day in bits(self.near).take_while(|day| *day <= month.length) {
            days |= 1 << month.workday_near(day);
        }
        if self.last_workday {
            days |= 1 << month.workday_near(month.length);
        }
        days
    }
}

impl OfWeek {
    pub(crate) fn days(&self, month: Month) -> u32 {
        let mut days = month.on(self.plain);
        for (week, weekdays) in self.nth.iter().enumerate() {
            days |= month.on(*weekdays) & (0x7f << (1 + 7 * week));
        }
        if self.last != 0 {
            days |= month.on(self.last) & (0x7f << (month.length - 6));
        }
        days
    }
}

impl Days {
    /// Returns the days of a month that the two day fields admit, regardless of the month field.
    pub(crate) fn admitted(&self, month: Month) -> u32 {
        let (of_month, of_week) = (self.of_month.days(month), self.of_week.days(month));
        if self.both { of_month & of_week } else { of_month | of_week }
    }

    /// Returns whether some year has a day for which `days` is not empty. There are 14 kinds of years and all of them
    /// recur, so testing 168 months is enough.
    pub(crate) fn ever(&self, days: impl Fn(Month) -> u32) -> bool {
        (0..14).any(|kind| {
            let (leap, mut first) = (kind >= 7, kind % 7);
            (1..=12).any(|month| {
                let length = month_length(month, leap);
                let found = self.months & (1 << month) != 0 && days(Month { length, first }) != 0;
                first = (first + length) % 7;
                found
            })
        })
    }
}

/// Returns the set bits of a mask, lowest first.
pub(crate) fn bits(mask: u32) -> impl Iterator<Item = u32> + Clone {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let bit = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (bit < 32).then_some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekdays_fall_where_a_walk_finds_them() {
        for length in 28..=31 {
            for first in 0..7 {
                let month = Month { length, first };
                for weekdays in 0..=0x7f_u8 {
                    let walked = (1..=length)
                        .filter(|day| weekdays & (1 << month.weekday(*day)) != 0)
                        .fold(0, |days, day| days | 1 << day);
                    assert_eq!(month.on(weekdays), walked);
                    let last = OfWeek { last: weekdays, ..OfWeek::default() }.days(month);
                    assert_eq!(last, walked & !((1u32 << (length - 6)) - 1));
                }
            }
        }
    }
}
