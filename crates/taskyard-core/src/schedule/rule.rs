//! The rule of a schedule: its text, and the times that it names in the schedule's zone.
//!
//! | text | times |
//! |---|---|
//! | `0 3 * * MON-FRI`, `@daily`, … | cron, see [`taskyard_cron`] |
//! | `@every 90s`, `@every 1h30m` | a fixed interval from when the schedule was stored (or `starts_at`), without drift |
//! | `@at 2026-12-24T18:00:00+01:00` | once, at this instant |
//! | `@after 2h` | once, this long after it was stored |
//! | `@reboot` | whenever a server starts |

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use taskyard_cron::Cron;

use super::{INTERVAL_MIN, NewSchedule, ScheduleRecord};
use crate::{Error, Result, Timestamp, duration};

/// The rule of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// At times of the calendar.
    Cron(Cron),
    /// At a fixed interval.
    Every(Duration),
    /// Once, at an instant.
    At(Timestamp),
    /// Once, this long after the schedule was stored.
    After(Duration),
    /// Whenever a server starts.
    Reboot,
}

impl Rule {
    /// Parses a rule. `H` in a cron rule is derived from the schedule's name.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] with the reason and the position in the text.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let trimmed = text.trim();
        if let Some(instant) = trimmed.strip_prefix("@at ") {
            return instant.trim().parse().map(Self::At).map_err(|error| {
                Error::InvalidSchedule(format!(
                    "`{}` is not an instant with its UTC offset, as in 2026-12-24T18:00:00+01:00: {error}",
                    instant.trim().escape_debug()
                ))
            });
        }
        if let Some(delay) = trimmed.strip_prefix("@after ") {
            return duration::parse_exact(delay.trim()).map(Self::After).map_err(Error::InvalidSchedule);
        }
        if let Some(interval) = trimmed.strip_prefix("@every ") {
            let interval = duration::parse_exact(interval.trim()).map_err(Error::InvalidSchedule)?;
            return if interval < INTERVAL_MIN {
                Err(Error::InvalidSchedule(format!("the shortest interval is {} s", INTERVAL_MIN.as_secs())))
            } else {
                Ok(Self::Every(interval))
            };
        }
        let options = taskyard_cron::Options { hash_seed: Some(name), ..taskyard_cron::Options::default() };
        match taskyard_cron::Rule::parse_with(trimmed, &options) {
            Ok(taskyard_cron::Rule::Cron(cron)) => Ok(Self::Cron(cron)),
            Ok(taskyard_cron::Rule::Every(interval)) => Ok(Self::Every(interval)),
            Ok(taskyard_cron::Rule::Reboot) => Ok(Self::Reboot),
            Err(error) => Err(Error::InvalidSchedule(error.to_string())),
        }
    }

    /// Returns the time zone that the rule itself names.
    #[must_use]
    pub fn zone_name(&self) -> Option<&str> {
        match self {
            Self::Cron(cron) => cron.zone_name(),
            _ => None,
        }
    }

    /// Returns warnings about valid rules that are probably not intended, as sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Cron(cron) => cron.warnings().iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns whether the rule names only one time.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        matches!(self, Self::At(_) | Self::After(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(interval) => write!(f, "@every {}", duration::exact(*interval)),
            Self::At(at) => write!(f, "@at {at}"),
            Self::After(delay) => write!(f, "@after {}", duration::exact(*delay)),
            Self::Reboot => f.write_str("@reboot"),
        }
    }
}

/// Returns the time zone of this name.
///
/// # Errors
/// [`Error::InvalidArgument`] if there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone> {
    let unknown = |_| Error::InvalidArgument {
        what: "zone",
        why: format!(
            "`{}` is not an IANA time zone such as Europe/Berlin, America/New_York or UTC",
            name.escape_debug()
        ),
    };
    jiff::tz::db().get(name).map_err(unknown)
}

/// A schedule's rule with everything that determines its times.
#[derive(Debug)]
pub struct Clock {
    rule: Rule,
    zone: TimeZone,
    /// Instant from which intervals are counted.
    anchor: Timestamp,
    starts_at: Option<Timestamp>,
}

impl Clock {
    /// Creates the clock of a rule that belongs to no schedule; intervals are counted from `anchor`.
    #[must_use]
    pub fn new(rule: Rule, zone: TimeZone, anchor: Timestamp) -> Self {
        Self { rule, zone, anchor, starts_at: None }
    }

    /// Creates the clock of a stored schedule.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] for an invalid rule, [`Error::InvalidArgument`] for an unknown zone.
    pub fn of(record: &ScheduleRecord) -> Result<Self> {
        let NewSchedule { name, rule, zone: zone_name, starts_at, .. } = &record.definition;
        let anchor = starts_at.unwrap_or(record.created_at);
        let rule = Rule::parse(rule, name)?;
        // The rule of a row that was written by hand may contain the zone.
        let zone = zone(rule.zone_name().unwrap_or(zone_name))?;
        Ok(Self { rule, zone, anchor, starts_at: *starts_at })
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns the first time of a schedule that ignores times up to `from`.
    #[must_use]
    pub fn first(&self, from: Timestamp) -> Option<Timestamp> {
        match self.rule {
            Rule::At(at) => Some(at.max(self.starts_at.unwrap_or(at))),
            Rule::After(delay) => from.checked_add(delay).ok().map(|at| at.max(self.starts_at.unwrap_or(at))),
            _ => self.after(from),
        }
    }

    /// Returns all times of a schedule that ignores times up to `from`.
    pub fn times(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.first(from), |at| self.after(*at))
    }

    /// Returns the first time after this instant; `None` for one-off rules and `@reboot`.
    #[must_use]
    pub fn after(&self, from: Timestamp) -> Option<Timestamp> {
        // The start time itself counts.
        let just_before = |start: Timestamp| start.checked_sub(Duration::from_micros(1)).unwrap_or(start);
        let from = self.starts_at.map_or(from, |start| from.max(just_before(start)));
        match &self.rule {
            Rule::Cron(cron) => cron.next_after(from, &self.zone),
            Rule::Every(interval) => self.step(from, *interval, 1),
            Rule::At(_) | Rule::After(_) | Rule::Reboot => None,
        }
    }

    /// Returns the last time up to this instant; `None` for one-off rules and `@reboot`.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(cron) => cron.previous_before(until.checked_add(Duration::from_micros(1)).ok()?, &self.zone),
            Rule::Every(interval) => self.step(until, *interval, 0),
            Rule::At(_) | Rule::After(_) | Rule::Reboot => None,
        }
    }

    /// Returns the point of the interval's grid at (`ahead` = 0) or after (1) an instant.
    fn step(&self, from: Timestamp, interval: Duration, ahead: i128) -> Option<Timestamp> {
        let interval = i128::try_from(interval.as_micros()).ok()?;
        let (anchor, from) = (i128::from(self.anchor.as_microsecond()), i128::from(from.as_microsecond()));
        // The grid has no point before the end of its first interval, except an explicit start time.
        let first = i128::from(self.starts_at.is_none());
        let steps = ((from - anchor).div_euclid(interval) + ahead).max(first);
        if ahead == 0 && anchor + steps * interval > from {
            return None;
        }
        i64::try_from(anchor + steps * interval).ok().and_then(crate::time::from_micros)
    }
}
