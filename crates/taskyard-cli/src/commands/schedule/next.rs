//! `schedule next RULE`: when a rule would run.

use clap::Args;
use taskyard::{NewTask, ScheduleRecord, Timestamp};
use taskyard_core::Limits;
use taskyard_core::schedule::NewSchedule;
use taskyard_core::schedule::rule::{Clock, Rule, zone};

use crate::failure::Failure;
use crate::out::{Out, remark};

/// Show when a rule would run, without a database
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// A cron expression in quotes, @daily, "@every 5m", …
    rule: String,
    /// The time zone of a cron rule, as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// How many times
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// After this instant, with its offset [default: now]
    #[arg(long, value_name = "INSTANT")]
    after: Option<Timestamp>,
    /// The schedule's name, from which H is drawn
    #[arg(long, default_value = "schedule")]
    name: String,
}

impl Next {
    pub(super) fn run(&self, out: Out) -> Result<u8, Failure> {
        let after = self.after.unwrap_or_else(Timestamp::now);
        let task = NewTask::new("none", br#"{"args":[],"kwargs":{}}"#.to_vec());
        let mut new = NewSchedule { zone: self.zone.clone(), ..NewSchedule::new(&self.name, &self.rule, task) };
        new.check(&Limits::default())?;
        for warning in Rule::parse(&new.rule, &new.name)?.warnings() {
            remark(format_args!("warning: {warning}"));
        }
        let zone = zone(&new.zone)?;
        let clock = Clock::of(&ScheduleRecord::unplanned(new, after))?;
        let mut times = Vec::new();
        let mut next = clock.first(after);
        while let Some(at) = next.filter(|_| times.len() < usize::from(self.count)) {
            times.push(at);
            next = clock.after(at);
        }
        if out.is_json() {
            out.json(&times)?;
            return Ok(0);
        }
        for at in &times {
            out.line(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z"))?;
        }
        if times.is_empty() {
            out.line("no time ahead")?;
        }
        Ok(0)
    }
}
