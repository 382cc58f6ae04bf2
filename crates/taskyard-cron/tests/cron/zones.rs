//! Owns where the tests' time zones come from: the bundled database, whatever the machine has.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The bundled zone of this name.
pub fn bundled(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}
