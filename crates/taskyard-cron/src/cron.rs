//! Owns [`Cron`]: a schedule made of fields, and what can be asked of it.

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
/// Two are equal when text and options are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    pub(crate) source: Box<str>,
    pub(crate) zone_name: Option<Box<str>>,
    pub(crate) fields: Fields,
    pub(crate) wildcard: bool,
    pub(crate) warnings: Box<[Warning]>,
}

impl Cron {
    /// Reads a schedule: five fields, six with seconds first, or an alias such as `@daily`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text. `@every` and `@reboot` have no fields: [`Rule::parse`] reads them.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        Cron::parse_with(text, &Options::default())
    }

    /// Like [`Cron::parse`], with the choices of `options`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text.
    pub fn parse_with(text: &str, options: &Options<'_>) -> Result<Cron, CronError> {
        match Rule::parse_with(text, options)? {
            Rule::Cron(cron) => Ok(cron),
            Rule::Every(_) | Rule::Reboot => Err(parse::no_fields(text)),
        }
    }

    /// The first time strictly after the given instant, by the civil time of `zone`.
    ///
    /// The zone that [`Cron::zone_name`] tells is not applied here: it is the caller's to look up. None when no time
    /// comes within 40 years or before the end of jiff's time.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.search(zone).next(after).0
    }

    /// The last time strictly before the given instant; the times are those of [`Cron::next_after`].
    pub fn previous_before(&self, before: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.search(zone).previous(before).0
    }

    /// The times after the given instant, strictly increasing.
    pub fn upcoming<'a>(&'a self, after: Timestamp, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        std::iter::successors(self.next_after(after, zone), move |last| self.next_after(*last, zone))
    }

    /// The time zone of a `CRON_TZ=Europe/Berlin ` or `TZ=Europe/Berlin ` prefix; jiff knows it.
    pub fn zone_name(&self) -> Option<&str> {
        self.zone_name.as_deref()
    }

    /// What is legal but probably not meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(crate) fn search<'a>(&'a self, zone: &'a TimeZone) -> Search<'a> {
        Search { fields: &self.fields, wildcard: self.wildcard, zone }
    }
}

/// The text as it was parsed.
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
