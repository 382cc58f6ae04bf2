//! The outer grammar: the limits of the text, the time zone prefix, aliases, the split into fields, and the check that
//! the fields admit some day.

mod every;
mod hash;
mod item;

use std::ops::Range;

use jiff::tz::TimeZone;

use crate::civil::Fields;
use crate::cron::Cron;
use crate::days::{Days, bits};
use crate::error::{CronError, Fault, TEXT_MAX};
use crate::field::{Field, month_name};
use crate::field_set::FieldSet;
use crate::warning::warnings;
use crate::{Options, Rule};

const FIVE: &str = "five fields are minute, hour, day-of-month, month, day-of-week; a sixth, for seconds, comes first";

/// Creates a fault about a field.
pub(crate) fn fault(field: Field, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault { field: Some(field), span, message: message.into(), help: help.into() }
}

fn outside(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault { field: None, span, message: message.into(), help: help.into() }
}

/// Returns the error for `@every` or `@reboot` where only fields are allowed.
pub(crate) fn no_fields(text: &str) -> CronError {
    let start = text.find('@').unwrap_or(0);
    CronError::new(text, outside(start..text.trim_end().len(), "this is not a time of the calendar", FIVE))
}

/// Parses the whole text.
pub(crate) fn rule(text: &str, options: &Options<'_>) -> Result<Rule, Fault> {
    characters(text)?;
    let mut words = words(text);
    let zone = zone(text, &mut words)?;
    let Some(first) = words.first().cloned() else {
        let message = if zone.is_some() { "no schedule follows the time zone" } else { "the schedule is empty" };
        return Err(outside(text.len()..text.len(), message, FIVE));
    };
    let zone_name = zone.map(|span| text[span].into());
    if !text[first.clone()].starts_with('@') {
        return fields(text, text, &words, options, zone_name).map(Rule::Cron);
    }
    let alias = text[first.clone()].to_ascii_lowercase();
    if let Some(expanded) = expand(&alias) {
        no_more(&words[1..], &text[first])?;
        let words = self::words(expanded);
        return fields(text, expanded, &words, options, zone_name).map(Rule::Cron);
    }
    let interval = match alias.as_str() {
        "@reboot" => None,
        "@every" => {
            let Some(amount) = words.get(1).cloned() else {
                let end = first.end..first.end;
                return Err(outside(end, "@every needs an interval", "for example @every 5m or @every 1h30m"));
            };
            Some((every::interval(text, amount)?, 2))
        }
        _ => {
            let help =
                "known are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @every 5m, @reboot";
            return Err(outside(first.clone(), format!("{} is not known", &text[first]), help));
        }
    };
    no_more(&words[interval.map_or(1, |(_, used)| used)..], &text[first.clone()])?;
    if zone_name.is_some() {
        let message = format!("{} has no time zone: it is not a time of the calendar", &text[first.clone()]);
        return Err(outside(0..first.start, message, "leave the time zone out"));
    }
    Ok(interval.map_or(Rule::Reboot, |(interval, _)| Rule::Every(interval)))
}

/// Returns the fields of an alias, given in lower case.
fn expand(alias: &str) -> Option<&'static str> {
    Some(match alias {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return None,
    })
}

fn no_more(words: &[Range<usize>], after: &str) -> Result<(), Fault> {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => {
            let message = format!("nothing may follow {after}");
            Err(outside(first.start..last.end, message, "leave it out"))
        }
        _ => Ok(()),
    }
}

/// Refuses characters that no schedule contains, so that every following byte is one printable character.
fn characters(text: &str) -> Result<(), Fault> {
    if text.len() > TEXT_MAX {
        let message = format!("the text has {} bytes, more than {TEXT_MAX}", text.len());
        return Err(outside(TEXT_MAX..text.len(), message, "no schedule needs so many"));
    }
    for (at, character) in text.char_indices() {
        if matches!(character, ' '..='~' | '\t') {
            continue;
        }
        let code = u32::from(character);
        let message = match character {
            '\n' | '\r' => "a line break".to_owned(),
            _ if character.is_control() => format!("a control character (U+{code:04X})"),
            _ if character.is_numeric() => format!("{character} (U+{code:04X}) is not an ASCII digit"),
            _ if character.is_whitespace() => format!("a space that is not the plain one (U+{code:04X})"),
            _ if character.is_alphanumeric() => format!("{character} (U+{code:04X}) has no meaning here"),
            _ => format!("a character without a meaning here (U+{code:04X})"),
        };
        let help = "a schedule is written in ASCII letters, digits, * ? / - , # ( ) and spaces or tabs, on one line";
        return Err(outside(at..at + character.len_utf8(), message, help));
    }
    Ok(())
}

/// Returns the ranges of the words between spaces and tabs.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        match (byte == b' ' || byte == b'\t', start) {
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words
}

/// Removes a prefix `CRON_TZ=` or `TZ=` from the words, and returns the range of its name.
fn zone(text: &str, words: &mut Vec<Range<usize>>) -> Result<Option<Range<usize>>, Fault> {
    let Some(first) = words.first().cloned() else { return Ok(None) };
    let word = &text[first.clone()];
    let Some(name) = word.strip_prefix("CRON_TZ=").or_else(|| word.strip_prefix("TZ=")) else { return Ok(None) };
    let span = first.end - name.len()..first.end;
    let help = "write a name of the tz database, such as Europe/Berlin or UTC";
    if name.is_empty() {
        return Err(outside(span, "the time zone's name is missing", help));
    }
    // Etc/Unknown is jiff's name for an unknown zone.
    if TimeZone::get(name).map_or(true, |zone| zone.is_unknown()) {
        return Err(outside(span, format!("no time zone is called {name}"), help));
    }
    words.remove(0);
    Ok(Some(span))
}

/// Parses the fields. `fields` is the text that contains them, `source` the text that the schedule displays.
fn fields(
    source: &str,
    fields: &str,
    words: &[Range<usize>],
    options: &Options<'_>,
    zone_name: Option<Box<str>>,
) -> Result<Cron, Fault> {
    let known = match words.len() {
        5 => &Field::ALL[1..],
        6 => &Field::ALL[..],
        0..5 => {
            let count = words.len();
            let message = format!("{count} field{} where five are needed", if count == 1 { "" } else { "s" });
            let end = words.last().map_or(0, |word| word.end);
            return Err(outside(end..end, message, FIVE));
        }
        count => {
            let span = words[6].start..words[count - 1].end;
            return Err(outside(span, format!("{count} fields are too many; years cannot be given"), FIVE));
        }
    };
    let mut sets = Vec::with_capacity(6);
    for (field, span) in known.iter().zip(words) {
        sets.push(item::field(fields, *field, span.clone(), options)?);
    }
    let days = days(&sets[sets.len() - 3..], options)?;
    let warnings = warnings(&sets, &days);
    let of = |field: Field| sets.iter().find(|set| set.field == field);
    let bits = |field: Field| of(field).map_or(1, |set| set.bits);
    let begins_with_star = |field: Field| of(field).is_some_and(|set| set.begins_with_star);
    Ok(Cron {
        source: source.into(),
        zone_name,
        wildcard: begins_with_star(Field::Minute) || begins_with_star(Field::Hour),
        fields: Fields {
            // Five fields imply second 0.
            seconds: bits(Field::Second),
            minutes: bits(Field::Minute),
            hours: bits(Field::Hour) as u32,
            days,
        },
        warnings: warnings.into(),
    })
}

/// Combines the three day fields into one test, and refuses fields that never admit a day.
fn days(sets: &[FieldSet], options: &Options<'_>) -> Result<Days, Fault> {
    let [of_month, month, of_week] = sets else { unreachable!("the last three fields are the day fields") };
    // `*` admits every day, so "both" is correct if one of the two is `*`.
    let any = |set: &FieldSet| set.star || (options.vixie_star && set.begins_with_star);
    let days = Days {
        months: month.bits as u16,
        of_month: of_month.of_month.clone(),
        of_week: of_week.of_week.clone(),
        both: options.day_and || any(of_month) || any(of_week),
    };
    if days.ever(|month| days.admitted(month)) {
        return Ok(days);
    }
    let span = of_month.span.start..of_week.span.end;
    if days.ever(|month| days.of_month.days(month)) {
        let message = "no day of any year is admitted by the day fields together";
        return Err(outside(span, message, "such a schedule would never run; change one of the three"));
    }
    let months: Vec<String> = bits(u32::from(days.months)).map(month_name).collect();
    let message = match months.as_slice() {
        [one] => format!("{one} never has such a day"),
        [rest @ .., last] => format!("neither {} nor {last} ever has such a day", rest.join(", ")),
        [] => "no month has such a day".to_owned(),
    };
    let span = of_month.span.clone();
    Err(fault(Field::DayOfMonth, span, message, "such a schedule would never run; the last day of a month is L"))
}
