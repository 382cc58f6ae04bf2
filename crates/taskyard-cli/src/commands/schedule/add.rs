//! `schedule add NAME RULE KIND`, `schedule reschedule NAME RULE`.

use std::time::Duration;

use clap::Args;
use taskyard::{CatchUp, OnConflict, Overlap, Schedule, ScheduleAdded, Timestamp};
use taskyard_terminal::{Failure, humanize};

use crate::commands::call_args::CallArgs;
use crate::commands::filter::span;
use crate::commands::known;
use crate::session::{Access, Session};

/// Add a schedule, or change the one of that name
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The schedule's name
    schedule: String,
    /// The rule: a cron expression in quotes, @daily, "@every 5m", "@at 2026-12-24T18:00:00+01:00", "@after 2h", @reboot
    rule: String,
    #[command(flatten)]
    work: CallArgs,
    /// The time zone of a cron rule, as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// If an earlier run has not ended: skip, allow, queue_one, queue_all or cancel_running
    #[arg(long, value_name = "POLICY", default_value_t = Overlap::Skip)]
    overlap: Overlap,
    /// If times were missed: skip, one or all
    #[arg(long, value_name = "POLICY", default_value_t = CatchUp::One)]
    catch_up: CatchUp,
    /// Make up for times that were missed at most this long ago
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = span)]
    catch_up_window: Duration,
    /// Delay each run by a random time of up to this long
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = span)]
    jitter: Duration,
    /// No run before this instant, with its UTC offset
    #[arg(long, value_name = "INSTANT")]
    starts_at: Option<Timestamp>,
    /// No run after this instant, with its UTC offset
    #[arg(long, value_name = "INSTANT")]
    ends_at: Option<Timestamp>,
    /// End after this many runs
    #[arg(long, value_name = "N")]
    runs_max: Option<u32>,
    /// Pause after this many failed runs in a row
    #[arg(long, value_name = "N")]
    pause_after_failures: Option<u32>,
    /// If a schedule of this name exists: refuse, keep or replace
    #[arg(long, value_name = "POLICY", default_value_t = OnConflict::Refuse)]
    on_conflict: OnConflict,
}

impl Add {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let mut schedule = Schedule::new(&self.schedule, &self.rule, self.work.call()?)
            .zone(&self.zone)
            .overlap(self.overlap)
            .catch_up(self.catch_up)
            .catch_up_window(self.catch_up_window)
            .jitter(self.jitter)
            .on_conflict(self.on_conflict);
        schedule = self.starts_at.into_iter().fold(schedule, Schedule::starts_at);
        schedule = self.ends_at.into_iter().fold(schedule, Schedule::ends_at);
        schedule = self.runs_max.into_iter().fold(schedule, Schedule::runs_max);
        schedule = self.pause_after_failures.into_iter().fold(schedule, Schedule::pause_after_failures);
        let taskyard = session.taskyard(Access::Create).await?;
        let added = taskyard.add_schedule(schedule).await?;
        let exit = say(session, &added)?;
        let kind = self.work.stored_kind(session.settings());
        known::warn_of_later(session, &taskyard, self.work.runtime(), &kind).await?;
        Ok(exit)
    }
}

/// Give a schedule another rule
#[derive(Debug, Args)]
pub(crate) struct Reschedule {
    /// The schedule's name
    name: String,
    /// The new rule
    rule: String,
    /// The new time zone [default: unchanged]
    #[arg(long)]
    zone: Option<String>,
}

impl Reschedule {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let taskyard = session.taskyard(Access::Existing).await?;
        say(session, &taskyard.reschedule(&self.name, &self.rule, self.zone.as_deref()).await?)
    }
}

fn say(session: &Session, added: &ScheduleAdded) -> Result<u8, Failure> {
    for warning in &added.warnings {
        taskyard_terminal::remark(format_args!("warning: {warning}"));
    }
    let out = session.out();
    if out.is_json() {
        out.json(added)?;
        return Ok(0);
    }
    let put = match added.put {
        taskyard::SchedulePut::Added => "added",
        taskyard::SchedulePut::Kept => "unchanged",
        taskyard::SchedulePut::Replaced => "replaced",
    };
    match added.next_at {
        Some(next) => out.line(format_args!("{put} {}; next run {}", added.name, humanize::instant(next)))?,
        None => out.line(format_args!("{put} {}; no further run", added.name))?,
    }
    Ok(0)
}
