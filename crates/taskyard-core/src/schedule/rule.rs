//! When a schedule runs: the text of its rule, and the times that the rule names in the schedule's zone.
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

pub use super::span::words;
use super::{INTERVAL_MIN, NewSchedule, ScheduleRecord, span};
use crate::{Error, Result, Timestamp};

/// When a schedule runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// By the calendar.
    Cron(Cron),
    /// At a fixed interval.
    Every(Duration),
    /// Once, at an instant.
    At(Timestamp),
    /// Once, this long after it was stored.
    After(Duration),
    /// Whenever a server starts.
    Reboot,
}

impl Rule {
    /// Reads a rule. `H` in a cron rule is drawn from the schedule's name.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`]: what is wrong, and where in the text.
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
            return span::parse(delay.trim()).map(Self::After);
        }
        if let Some(interval) = trimmed.strip_prefix("@every ") {
            let interval = span::parse(interval.trim())?;
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

    /// The zone that the rule itself names.
    #[must_use]
    pub fn zone_name(&self) -> Option<&str> {
        match self {
            Self::Cron(cron) => cron.zone_name(),
            _ => None,
        }
    }

    /// What is allowed and probably not meant, in sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Cron(cron) => cron.warnings().iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it names one time only.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        matches!(self, Self::At(_) | Self::After(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(interval) => write!(f, "@every {}", words(*interval)),
            Self::At(at) => write!(f, "@at {at}"),
            Self::After(delay) => write!(f, "@after {}", words(*delay)),
            Self::Reboot => f.write_str("@reboot"),
        }
    }
}

/// The zone of this name.
///
/// # Errors
/// [`Error::InvalidArgument`].
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

/// A schedule's rule with all that decides its times.
#[derive(Debug)]
pub struct Clock {
    rule: Rule,
    zone: TimeZone,
    /// Where intervals are counted from.
    anchor: Timestamp,
    starts_at: Option<Timestamp>,
}

impl Clock {
    /// The clock of a rule by itself; intervals are counted from `anchor`.
    #[must_use]
    pub fn new(rule: Rule, zone: TimeZone, anchor: Timestamp) -> Self {
        Self { rule, zone, anchor, starts_at: None }
    }

    /// The clock of a stored schedule.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`], [`Error::InvalidArgument`].
    pub fn of(record: &ScheduleRecord) -> Result<Self> {
        let NewSchedule { name, rule, zone: zone_name, starts_at, .. } = &record.definition;
        let anchor = starts_at.unwrap_or(record.created_at);
        let rule = Rule::parse(rule, name)?;
        // A row that was written by hand may have its zone in its rule.
        let zone = zone(rule.zone_name().unwrap_or(zone_name))?;
        Ok(Self { rule, zone, anchor, starts_at: *starts_at })
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The first time of a schedule whose times up to `from` do not count.
    #[must_use]
    pub fn first(&self, from: Timestamp) -> Option<Timestamp> {
        match self.rule {
            Rule::At(at) => Some(at.max(self.starts_at.unwrap_or(at))),
            Rule::After(delay) => from.checked_add(delay).ok().map(|at| at.max(self.starts_at.unwrap_or(at))),
            _ => self.after(from),
        }
    }

    /// All times of a schedule whose times up to `from` do not count.
    pub fn times(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.first(from), |at| self.after(*at))
    }

    /// The first time after this instant; none for what happens once.
    #[must_use]
    pub fn after(&self, from: Timestamp) -> Option<Timestamp> {
        // A start time counts itself.
        let just_before = |start: Timestamp| start.checked_sub(Duration::from_micros(1)).unwrap_or(start);
        let from = self.starts_at.map_or(from, |start| from.max(just_before(start)));
        match &self.rule {
            Rule::Cron(cron) => cron.next_after(from, &self.zone),
            Rule::Every(interval) => self.step(from, *interval, 1),
            Rule::At(_) | Rule::After(_) | Rule::Reboot => None,
        }
    }

    /// The last time up to this instant; none for what happens once.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(cron) => cron.previous_before(until.checked_add(Duration::from_micros(1)).ok()?, &self.zone),
            Rule::Every(interval) => self.step(until, *interval, 0),
            Rule::At(_) | Rule::After(_) | Rule::Reboot => None,
        }
    }

    /// The point of the interval's grid at (0) or after (1) an instant.
    fn step(&self, from: Timestamp, interval: Duration, ahead: i128) -> Option<Timestamp> {
        let interval = i128::try_from(interval.as_micros()).ok()?;
        let (anchor, from) = (i128::from(self.anchor.as_microsecond()), i128::from(from.as_microsecond()));
        // The grid has no point before its first interval is over, except the start time itself.
        let first = i128::from(self.starts_at.is_none());
        let steps = ((from - anchor).div_euclid(interval) + ahead).max(first);
        if ahead == 0 && anchor + steps * interval > from {
            return None;
        }
        i64::try_from(anchor + steps * interval).ok().and_then(crate::time::from_micros)
    }
}
