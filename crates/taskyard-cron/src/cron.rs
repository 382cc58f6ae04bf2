//! [`Cron`]: a schedule of fields, and the public operations on it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::civil::Fields;
use crate::parse;
use crate::search::Search;
use crate::{CronError, Options, Rule, Warning};

/// A schedule of five or six fields.
///
/// Two schedules are equal if their texts and options are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    pub(crate) source: Box<str>,
    pub(crate) zone_name: Option<Box<str>>,
    pub(crate) fields: Fields,
    pub(crate) wildcard: bool,
    pub(crate) warnings: Box<[Warning]>,
}

impl Cron {
    /// Parses a schedule: five fields, six with seconds first, or an alias such as `@daily`.
    ///
    /// # Errors
    ///
    /// The first error in the text. `@every` and `@reboot` have no fields: [`Rule::parse`] parses them.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        Cron::parse_with(text, &Options::default())
    }

    /// Parses a schedule as [`Cron::parse`] does, with `options`.
    ///
    /// # Errors
    ///
    /// The first error in the text.
    pub fn parse_with(text: &str, options: &Options<'_>) -> Result<Cron, CronError> {
        match Rule::parse_with(text, options)? {
            Rule::Cron(cron) => Ok(cron),
            Rule::Every(_) | Rule::Reboot => Err(parse::no_fields(text)),
        }
    }

    /// Returns the first time strictly after the given instant, in the civil time of `zone`.
    ///
    /// The zone of [`Cron::zone_name`] is not applied: the caller looks it up. Returns `None` if there is no time
    /// within 40 years or before the end of jiff's range.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.search(zone).next(after).0
    }

    /// Returns the last time strictly before the given instant, among the times of [`Cron::next_after`].
    pub fn previous_before(&self, before: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.search(zone).previous(before).0
    }

    /// Returns the times after the given instant, strictly increasing.
    pub fn upcoming<'a>(&'a self, after: Timestamp, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        std::iter::successors(self.next_after(after, zone), move |last| self.next_after(*last, zone))
    }

    /// Returns the time zone of a `CRON_TZ=Europe/Berlin ` or `TZ=Europe/Berlin ` prefix, which is known to jiff.
    pub fn zone_name(&self) -> Option<&str> {
        self.zone_name.as_deref()
    }

    /// Returns warnings about parts that are valid but probably not intended.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(crate) fn search<'a>(&'a self, zone: &'a TimeZone) -> Search<'a> {
        Search { fields: &self.fields, wildcard: self.wildcard, zone }
    }
}

/// Writes the text as it was parsed.
impl fmt::Display for Cron {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        Cron::parse(text)
    }
}
