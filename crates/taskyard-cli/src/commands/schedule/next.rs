//! `schedule next RULE`: prints the next times of a rule.

use clap::Args;
use taskyard::Timestamp;
use taskyard_core::schedule::rule::{Clock, Rule, zone};
use taskyard_terminal::{Failure, Out, remark};

/// Show the next times of a rule, without a database
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// A cron expression in quotes, @daily, "@every 5m", …
    rule: String,
    /// The time zone of a cron rule, as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Number of times to show
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// After this instant, with its UTC offset [default: now]
    #[arg(long, value_name = "INSTANT")]
    after: Option<Timestamp>,
    /// The schedule's name, from which `H` is derived
    #[arg(long, default_value = "schedule")]
    name: String,
}

impl Next {
    pub(super) fn run(&self, out: Out) -> Result<u8, Failure> {
        let after = self.after.unwrap_or_else(Timestamp::now);
        let rule = Rule::parse(&self.rule, &self.name)?;
        let zone = zone(rule.zone_name().unwrap_or(&self.zone))?;
        for warning in rule.warnings() {
            remark(format_args!("warning: {warning}"));
        }
        let clock = Clock::new(rule, zone.clone(), after);
        let times: Vec<Timestamp> = clock.times(after).take(usize::from(self.count)).collect();
        if out.is_json() {
            out.json(&times)?;
            return Ok(0);
        }
        for at in &times {
            out.line(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z"))?;
        }
        if times.is_empty() {
            out.line("no further time")?;
        }
        Ok(0)
    }
}
