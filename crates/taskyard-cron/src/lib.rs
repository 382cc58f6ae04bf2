//! Cron expressions: a strict parser with exact errors, and the next and previous times in any time zone.
//!
//! ```
//! use jiff::{Timestamp, tz::TimeZone};
//! use taskyard_cron::Cron;
//!
//! let cron = Cron::parse("30 2 * * MON-FRI")?;
//! let zone = TimeZone::get("Europe/Berlin")?;
//! let after: Timestamp = "2026-11-20T12:00Z".parse()?;
//!
//! let next = cron.next_after(after, &zone).expect("there is always another Monday");
//! assert_eq!(next.to_string(), "2026-11-23T01:30:00Z");
//! assert_eq!(cron.upcoming(after, &zone).take(5).last().unwrap().to_string(), "2026-11-27T01:30:00Z");
//! assert_eq!(cron.previous_before(next, &zone).unwrap().to_string(), "2026-11-20T01:30:00Z");
//!
//! let error = Cron::parse("0 0 30 2 *").unwrap_err();
//! assert_eq!(error.message(), "February never has such a day");
//! assert_eq!(error.span(), 4..6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Fields
//!
//! Five fields, separated by spaces or tabs; with six, the first is the second. There is no seventh field for years,
//! and seconds are never last.
//!
//! | Field | Values | Special forms |
//! |---|---|---|
//! | second | 0-59; without it, second 0 | |
//! | minute | 0-59 | |
//! | hour | 0-23 | |
//! | day-of-month | 1-31 | `L` `L-3` `LW` `15W` `?` |
//! | month | 1-12, `JAN`-`DEC`, `January`-`December` | |
//! | day-of-week | 0-7, both 0 and 7 are Sunday, `SUN`-`SAT`, `Sunday`-`Saturday` | `5L` `FRIL` `L5` `5#2` `FRI#2` `MON-FRI#2` `?` |
//!
//! In every field: `*`, a value, a range `1-5`, steps `*/5`, `1-30/5` and `5/15` (from 5 to the field's end), and lists
//! of these with commas. A range may wrap around the field's end: `22-2` is `22-23` and `0-2`, and steps continue
//! across it. Names and letters are case-insensitive; names must be whole words. A step of 0 or as wide as the field is
//! an error.
//!
//! - `L` is the month's last day, `L-3` three days before it, `LW` its last day from Monday to Friday.
//! - `15W` is the day from Monday to Friday nearest to the 15th, in the same month; a month without the day is skipped.
//! - `FRIL` is the month's last Friday, `FRI#2` its second one, `MON-FRI#2` the second of each of the five.
//! - `?` is `*`.
//! - `H` is a value computed from [`Options::hash_seed`], so that many schedules do not all run at minute 0. `H(0-29)`
//!   chooses from a range, `H/15` where the steps begin, `H(0-29)/10` both. A day of the month is chosen from 1 to 28.
//!   The computation never changes.
//!
//! Instead of fields: `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`. [`Rule::parse`]
//! also accepts `@every 1h30m` and `@reboot`. `CRON_TZ=Europe/Berlin` or `TZ=Europe/Berlin` may precede fields and
//! aliases; [`Cron::zone_name`] returns it, and the caller applies it.
//!
//! # Two day fields
//!
//! If day-of-month and day-of-week are both given, a day is admitted by *either*. A field is "not given" only if it is
//! exactly `*` or `?`: `*/2` and `1-31` are given. [`Options::day_and`] requires both fields. [`Options::vixie_star`]
//! treats a field that begins with `*` as not given, and then requires both, as Vixie cron does.
//!
//! A schedule whose day fields never admit a day in any year is refused, in constant time.
//!
//! # When clocks change
//!
//! The rule is that of Vixie cron. A schedule is a *wildcard* if its minute or its hour field begins with `*`,
//! otherwise it is *fixed*. The field for seconds is irrelevant to this; it only divides minutes.
//!
//! | | wildcard | fixed |
//! |---|---|---|
//! | the clock jumps forward by up to three hours | follows the clock | runs once, at the jump, for all skipped times |
//! | the clock jumps forward by more | follows the clock | skipped times are lost |
//! | the clock jumps back | follows the clock, and runs again | does not run again |
//!
//! So a job at 02:30 runs once on every day, whatever the zone does to that hour, and a job every 30 minutes keeps its
//! interval. Times are strictly increasing instants, in full seconds.
//!
//! The tz database is compiled into the program, so that none has to be installed. If the machine has one, jiff prefers
//! it.

mod calendar;
mod civil;
mod cron;
mod days;
mod error;
mod field;
mod field_set;
#[cfg(test)]
mod fuzz;
mod options;
mod parse;
mod rule;
mod search;
mod warning;

pub use cron::Cron;
pub use error::CronError;
pub use options::Options;
pub use rule::Rule;
pub use warning::Warning;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
