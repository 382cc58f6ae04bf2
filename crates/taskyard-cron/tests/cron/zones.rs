//! Time zones for the tests: always those of the bundled database, whatever the machine has.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Returns the bundled zone of this name.
pub fn bundled(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}
