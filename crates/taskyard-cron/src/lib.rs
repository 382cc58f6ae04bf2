//! Cron expressions: a strict parser, and the next and previous times in any time zone.

mod calendar;
mod civil;
mod cron;
mod days;
mod error;
mod field;
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
