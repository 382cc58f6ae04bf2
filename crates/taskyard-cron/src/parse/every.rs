//! The interval of `@every`: hours, minutes and seconds.
//!
//! Taskyard's schedules read theirs with `taskyard_core::duration`, which this crate, used alone, cannot depend on. What
//! both read has the same value, which a test there checks.

use std::ops::Range;
use std::time::Duration;

use super::outside;
use crate::error::Fault;

/// Longest interval: ten years.
const MAX: u64 = 10 * 366 * 86_400;
const HELP: &str = "write hours, minutes and seconds in this order, such as 5m, 1h30m or 90s";

/// Parses `1h30m`: whole numbers with the units h, m and s, each at most once, from the largest to the smallest.
pub(super) fn interval(text: &str, span: Range<usize>) -> Result<Duration, Fault> {
    let word = &text[span.clone()];
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    let mut at = 0;
    while at < word.len() {
        let rest = &word[at..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let part = span.start + at..span.start + at + (digits + letters).max(1);
        if digits == 0 {
            return Err(outside(part, "an interval's part begins with a whole number", HELP));
        }
        let unit = match rest[digits..digits + letters].to_ascii_lowercase().as_str() {
            "h" => 3_600,
            "m" => 60,
            "s" => 1,
            "" => return Err(outside(part, "a number without its unit", HELP)),
            "d" | "w" => {
                let help = "write hours, such as 24h; for the same time of every day use fields or @daily";
                return Err(outside(
                    part,
                    "days and weeks are not units, because their length depends on the time zone",
                    help,
                ));
            }
            other => return Err(outside(part, format!("{other} is not a unit"), HELP)),
        };
        if unit >= smallest {
            return Err(outside(part, "each unit comes once, the larger before the smaller", HELP));
        }
        smallest = unit;
        // Numbers of any length are read; one that is too large saturates.
        let amount = rest[..digits]
            .bytes()
            .fold(0u64, |amount, digit| amount.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        total = total.saturating_add(amount.saturating_mul(unit));
        at += digits + letters;
    }
    match total {
        0 => Err(outside(span, "an interval of zero", "write at least 1s")),
        1..=MAX => Ok(Duration::from_secs(total)),
        _ => Err(outside(span, "an interval of more than ten years", "write at most 87840h")),
    }
}
