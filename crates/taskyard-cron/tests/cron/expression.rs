//! The tests' own model of expressions: items that print themselves and decide, value by value, what they admit.
//! Written independently of the crate's bit sets, so that a mistake there is not repeated here.

use std::fmt::Write;

use jiff::civil::{Date, DateTime};

pub const MIN: [u32; 6] = [0, 0, 0, 1, 1, 0];
pub const MAX: [u32; 6] = [59, 59, 23, 31, 12, 6];

#[derive(Clone, Debug)]
pub enum Item {
    /// `*`, or `*/2`.
    Any(u32),
    One(u32),
    /// First, last, step.
    Range(u32, u32, u32),
    /// `n/step`.
    From(u32, u32),
    /// `L`, `L-3`.
    LastDay(u32),
    LastWorkday,
    /// `15W`.
    Near(u32),
    /// `5L`.
    LastWeekday(u32),
    /// `MON-FRI#2`: first, last, which.
    Nth(u32, u32, u32),
}

#[derive(Clone, Debug)]
pub struct Part {
    /// 0 is the second, 5 the day of the week.
    pub field: usize,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub struct Expression {
    pub parts: [Part; 6],
    pub seconds: bool,
}

impl Item {
    fn text(&self) -> String {
        let stepped = |text: String, step: u32| if step == 1 { text } else { format!("{text}/{step}") };
        match *self {
            Item::Any(step) => stepped("*".to_owned(), step),
            Item::One(value) => value.to_string(),
            Item::Range(first, last, step) => stepped(format!("{first}-{last}"), step),
            Item::From(first, step) => format!("{first}/{step}"),
            Item::LastDay(0) => "L".to_owned(),
            Item::LastDay(back) => format!("L-{back}"),
            Item::LastWorkday => "LW".to_owned(),
            Item::Near(day) => format!("{day}W"),
            Item::LastWeekday(weekday) => format!("{weekday}L"),
            Item::Nth(first, last, which) if first == last => format!("{first}#{which}"),
            Item::Nth(first, last, which) => format!("{first}-{last}#{which}"),
        }
    }

    /// Returns whether a plain value of the field is admitted.
    fn has(&self, field: usize, value: u32) -> bool {
        let (min, max) = (MIN[field], MAX[field]);
        match *self {
            Item::Any(step) => (value - min).is_multiple_of(step),
            Item::One(one) => one == value,
            Item::From(first, step) => value >= first && (value - first).is_multiple_of(step),
            Item::Range(first, last, step) => {
                let mut at = first;
                let mut taken = 0;
                loop {
                    if at == value && taken % step == 0 {
                        return true;
                    }
                    if at == last {
                        return false;
                    }
                    at = if at == max { min } else { at + 1 };
                    taken += 1;
                }
            }
            _ => false,
        }
    }

    fn has_day(&self, field: usize, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset() as u32;
        let day = date.day() as u32;
        match *self {
            Item::LastDay(back) => day + back == date.days_in_month() as u32,
            Item::LastWorkday => nearest_workday(date, date.days_in_month() as u32) == Some(day),
            Item::Near(target) => nearest_workday(date, target) == Some(day),
            Item::LastWeekday(wanted) => weekday == wanted && day + 7 > date.days_in_month() as u32,
            Item::Nth(first, last, which) => {
                Item::Range(first, last, 1).has(field, weekday) && (day - 1) / 7 + 1 == which
            }
            _ => self.has(field, if field == 3 { day } else { weekday }),
        }
    }
}

/// Returns the day from Monday to Friday of the date's month with the smallest distance to `target`.
fn nearest_workday(date: Date, target: u32) -> Option<u32> {
    let length = date.days_in_month() as u32;
    let workday = |day: &u32| {
        let date = date.with().day(*day as i8).build().unwrap();
        !matches!(date.weekday().to_sunday_zero_offset(), 0 | 6)
    };
    (target <= length).then(|| (1..=length).filter(workday).min_by_key(|day| day.abs_diff(target)).unwrap())
}

impl Part {
    fn has(&self, value: i8) -> bool {
        self.items.iter().any(|item| item.has(self.field, value as u32))
    }

    fn has_day(&self, date: Date) -> bool {
        self.items.iter().any(|item| item.has_day(self.field, date))
    }

    pub fn is_star(&self) -> bool {
        matches!(self.items.as_slice(), [Item::Any(1)])
    }

    pub fn begins_with_star(&self) -> bool {
        matches!(self.items[0], Item::Any(_))
    }
}

impl Expression {
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts[usize::from(!self.seconds)..] {
            let items: Vec<String> = part.items.iter().map(Item::text).collect();
            write!(text, "{}{}", if text.is_empty() { "" } else { " " }, items.join(",")).unwrap();
        }
        text
    }

    /// Returns whether the minute or the hour begins with `*`.
    pub fn is_wildcard(&self) -> bool {
        self.parts[1].begins_with_star() || self.parts[2].begins_with_star()
    }

    pub fn has_date(&self, date: Date) -> bool {
        let [.., of_month, month, of_week] = &self.parts;
        month.has(date.month())
            && match (of_month.is_star(), of_week.is_star()) {
                (true, _) => of_week.has_day(date),
                (_, true) => of_month.has_day(date),
                _ => of_month.has_day(date) || of_week.has_day(date),
            }
    }

    /// Returns the test for civil times, with the fields of the time of day as tables.
    pub fn test(&self) -> impl Fn(DateTime) -> bool {
        let table = |part: usize| std::array::from_fn::<bool, 60, _>(|value| self.parts[part].has(value as i8));
        let (seconds, minutes, hours) = (table(0), table(1), table(2));
        move |time| {
            seconds[time.second() as usize]
                && minutes[time.minute() as usize]
                && hours[time.hour() as usize]
                && self.has_date(time.date())
        }
    }
}
