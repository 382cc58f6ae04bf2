//! [`Rule`]: the parsed text of any schedule.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Cron, CronError, Options, parse};

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Times of the calendar: five or six fields, or an alias for them.
    Cron(Cron),
    /// `@every 1h30m`: an interval, without a calendar and without a time zone.
    Every(Duration),
    /// `@reboot`: once, when the scheduler starts.
    Reboot,
}

impl Rule {
    /// Parses the text of a schedule.
    ///
    /// # Errors
    ///
    /// The first error in the text.
    pub fn parse(text: &str) -> Result<Rule, CronError> {
        Rule::parse_with(text, &Options::default())
    }

    /// Parses the text of a schedule as [`Rule::parse`] does, with `options`.
    ///
    /// # Errors
    ///
    /// The first error in the text.
    pub fn parse_with(text: &str, options: &Options<'_>) -> Result<Rule, CronError> {
        parse::rule(text, options).map_err(|fault| CronError::new(text, fault))
    }
}

/// Writes text that parses to the same rule.
impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = match self {
            Rule::Cron(cron) => return cron.fmt(formatter),
            Rule::Reboot => return formatter.write_str("@reboot"),
            Rule::Every(interval) => interval.as_secs(),
        };
        formatter.write_str("@every ")?;
        for (amount, unit) in [(interval / 3_600, 'h'), (interval / 60 % 60, 'm'), (interval % 60, 's')] {
            if amount != 0 {
                write!(formatter, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Rule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Rule, CronError> {
        Rule::parse(text)
    }
}
