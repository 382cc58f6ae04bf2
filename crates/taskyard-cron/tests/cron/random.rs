//! Random numbers and random expressions, the same in every run.

use crate::expression::{Expression, Item, MAX, MIN, Part};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn within(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.within(1, 100) <= percent
    }

    pub fn instant(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from) as u64) as i64
    }
}

/// The forms that random expressions contain.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// A sixth field in front.
    pub seconds: bool,
    /// Forms of this crate only: ranges that end before they begin, `n/step`, `*` within lists, `a-a`, `L-3`, ranges
    /// with `#`.
    pub own: bool,
    /// `L`, `LW`, `15W`, `5L`, `5#2`.
    pub special: bool,
    /// The probability of `*` in a day field, in percent.
    pub any_day: u32,
}

pub const OURS: Dialect = Dialect { seconds: false, own: true, special: true, any_day: 40 };

impl Dialect {
    pub fn expression(self, random: &mut Random) -> Expression {
        let parts = [0, 1, 2, 3, 4, 5].map(|field| self.part(random, field));
        let mut expression = Expression { parts, seconds: self.seconds };
        if !self.seconds {
            expression.parts[0].items = vec![Item::One(0)];
        }
        expression
    }

    fn part(self, random: &mut Random, field: usize) -> Part {
        let any = if field >= 3 { self.any_day } else { 20 };
        if random.chance(any) {
            return Part { field, items: vec![Item::Any(1)] };
        }
        let count = if random.chance(70) { 1 } else { random.within(2, 4) };
        let mut items: Vec<Item> = (0..count).map(|_| self.item(random, field)).collect();
        if !self.own {
            // In other engines `*` must be the only item, and croner ignores L beside LW.
            let plain = |item: &&Item| matches!(item, Item::One(_) | Item::Range(..));
            let alone = items.iter().find(|item| !plain(item)).cloned();
            items = alone.map_or(items, |alone| vec![alone]);
        }
        Part { field, items }
    }

    fn item(self, random: &mut Random, field: usize) -> Item {
        let (min, max) = (MIN[field], MAX[field]);
        let value = random.within(min, max);
        let step = random.within(1, max - min);
        if self.special && field == 3 && random.chance(25) {
            return match random.within(0, if self.own { 3 } else { 2 }) {
                0 => Item::LastDay(0),
                1 => Item::LastWorkday,
                2 => Item::Near(random.within(1, 28)),
                _ => Item::LastDay(random.within(1, 28)),
            };
        }
        if self.special && field == 5 && random.chance(25) {
            let last = if self.own { random.within(0, 6) } else { value };
            return match random.within(0, 1) {
                0 => Item::LastWeekday(value),
                _ => Item::Nth(value, last, random.within(1, 5)),
            };
        }
        match random.within(0, 9) {
            0..=3 => Item::One(value),
            4 => Item::Any(step),
            5 if self.own => Item::From(value, step),
            6 if self.own && random.chance(30) => Item::Any(1),
            choice => {
                let (mut first, mut last) = (value, random.within(min, max));
                if !self.own && first > last {
                    (first, last) = (last, first);
                }
                if !self.own && first == last {
                    return Item::One(first);
                }
                Item::Range(first, last, if choice < 8 { 1 } else { step })
            }
        }
    }
}
