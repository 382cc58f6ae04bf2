//! Schedules from an application: add, pause, resume, run now, remove, and look at them.
//!
//! They are rows: what one process changes, every server follows at once.

use std::time::Duration;

use serde::Serialize;

use super::{Call, Client};
use crate::schedule::plan::{plan, plan_manual};
use crate::schedule::{CatchUp, DueSchedule, NewSchedule, OnConflict, Overlap, ScheduleRecord, ScheduleRun, rule};
use crate::store::SchedulePut;
use crate::task::NewTask;
use crate::{Error, Result, TaskId, Timestamp};

/// Tries to write on the version just read, before somebody else's writes are called an error.
const TRIES_MAX: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);
/// Schedules of one page.
const PAGE: usize = 500;

/// A schedule on its way to the database: a name, a rule, and the call of a task function that each run makes.
///
/// ```
/// # use taskyard_core::client::{Call, Schedule};
/// # let report: Call<()> = Call::new("app::report", &());
/// let schedule = Schedule::new("nightly report", "0 3 * * *", report).zone("Europe/Berlin");
/// ```
#[derive(Debug)]
#[must_use = "a schedule does nothing until it is added with `add_schedule`"]
pub struct Schedule<T> {
    name: String,
    call: Call<T>,
    new: NewSchedule,
    on_conflict: OnConflict,
}

impl<T> Schedule<T> {
    /// With every default. `rule` is a cron expression, `@every 5m`, `@at INSTANT`, `@after 2h`, `@reboot` or an alias
    /// such as `@daily`; what is wrong with it shows when it is added.
    pub fn new(name: impl Into<String>, rule: impl Into<String>, call: Call<T>) -> Self {
        let name = name.into();
        // The real task is put in when the client's defaults are known.
        let new = NewSchedule::new(name.clone(), rule, NewTask::new("", Vec::new()));
        Self { name, call, new, on_conflict: OnConflict::Replace }
    }

    /// At a fixed interval.
    pub fn every(name: impl Into<String>, interval: Duration, call: Call<T>) -> Self {
        Self::new(name, format!("@every {}", rule::words(interval)), call)
    }

    /// Once, at an instant.
    pub fn at(name: impl Into<String>, instant: Timestamp, call: Call<T>) -> Self {
        Self::new(name, format!("@at {instant}"), call)
    }

    /// Once, so long after it was first added: adding it again, in this process or another, neither repeats nor delays it.
    pub fn after(name: impl Into<String>, delay: Duration, call: Call<T>) -> Self {
        Self::new(name, format!("@after {}", rule::words(delay)), call)
    }

    /// The time zone of a cron rule (default `UTC`).
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.new.zone = zone.into();
        self
    }

    /// When an earlier run has not ended (default: skip).
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.new.overlap = overlap;
        self
    }

    /// When times were missed (default: one run for all of them).
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.new.catch_up = catch_up;
        self
    }

    /// How far back missed times are made up for (default: a day).
    pub fn catch_up_window(mut self, window: Duration) -> Self {
        self.new.catch_up_window = window;
        self
    }

    /// Each run starts up to this much later, drawn anew every time (default: zero).
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.new.jitter = jitter;
        self
    }

    /// No run before this instant.
    pub fn starts_at(mut self, instant: Timestamp) -> Self {
        self.new.starts_at = Some(instant);
        self
    }

    /// No run after this instant.
    pub fn ends_at(mut self, instant: Timestamp) -> Self {
        self.new.ends_at = Some(instant);
        self
    }

    /// It ends after so many runs.
    pub fn runs_max(mut self, runs: u32) -> Self {
        self.new.runs_max = Some(runs);
        self
    }

    /// Pause after so many failed runs in a row.
    pub fn pause_after_failures(mut self, failures: u32) -> Self {
        self.new.pause_after_failures = Some(failures);
        self
    }

    /// When one of this name is there already (default: replace, which changes nothing if it is equal).
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }
}

/// What adding a schedule did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleAdded {
    /// Its name.
    pub name: String,
    /// Whether it is new.
    pub put: SchedulePut,
    /// Its next run, unless it is paused or over.
    pub next_at: Option<Timestamp>,
    /// What is probably not meant in its rule.
    pub warnings: Vec<String>,
}

impl Client {
    /// Adds a schedule, or brings the one of that name to this definition. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`], [`Error::DuplicateSchedule`], a call that cannot be stored, or the database's.
    pub async fn add_schedule<T>(&self, schedule: Schedule<T>) -> Result<ScheduleAdded> {
        let Schedule { name, call, mut new, on_conflict } = schedule;
        new.name = name;
        new.task = self.new_task(call, &self.config())?;
        self.put_schedule(new, on_conflict).await
    }

    /// The same with every part decided.
    ///
    /// # Errors
    /// As [`Client::add_schedule`].
    #[doc(hidden)]
    pub async fn put_schedule(&self, mut new: NewSchedule, on_conflict: OnConflict) -> Result<ScheduleAdded> {
        new.check(&self.config().limits)?;
        let put = self.open_store()?.schedule_put(&new, on_conflict).await?;
        // Planned here and now, so that the answer tells the next run; else the first server to see it would.
        let due = self.planned(&new.name).await?;
        let next_at = due.filter(|due| !due.record.paused).and_then(|due| due.record.next_at);
        let warnings = rule::Rule::parse(&new.rule, &new.name)?.warnings();
        Ok(ScheduleAdded { name: new.name, put, next_at, warnings })
    }

    /// The schedule, planned if it was not yet.
    async fn planned(&self, name: &str) -> Result<Option<DueSchedule>> {
        for _ in 0..TRIES_MAX {
            let Some(due) = self.open_store()?.schedule(name).await? else { return Ok(None) };
            if due.record.planned || due.record.paused || due.record.problem.is_some() {
                return Ok(Some(due));
            }
            let now = self.open_store()?.now().await?;
            if let Some(tick) = plan(&due, now, &mut rand::random::<f64>)
                && let Err(error) = self.open_store()?.schedule_tick(&[tick]).await
            {
                // The schedule is stored: a run that is due by now and cannot be is the servers' to try again, or to report.
                tracing::warn!(%error, schedule = name, "a new schedule is not planned yet");
                return Ok(Some(due));
            }
        }
        self.open_store()?.schedule(name).await
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRecord>> {
        let mut all: Vec<ScheduleRecord> = Vec::new();
        loop {
            let after = all.last().map(|record| record.definition.name.clone());
            let page = self.open_store()?.schedules(after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page.into_iter().map(|due| due.record));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], or the database's.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleRecord> {
        let found = self.open_store()?.schedule(name).await?;
        found.map(|due| due.record).ok_or_else(|| Error::UnknownSchedule(name.into()))
    }

    /// The history of a schedule, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn schedule_runs(&self, name: &str, limit: usize) -> Result<Vec<ScheduleRun>> {
        self.open_store()?.schedule_runs(name, None, limit).await
    }

    /// Gives a schedule another rule, and another zone if one is given; all else stays.
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], [`Error::InvalidSchedule`], or the database's.
    pub async fn reschedule(&self, name: &str, rule: &str, zone: Option<&str>) -> Result<ScheduleAdded> {
        let mut new = self.schedule(name).await?.definition;
        rule.clone_into(&mut new.rule);
        if let Some(zone) = zone {
            zone.clone_into(&mut new.zone);
        }
        self.put_schedule(new, OnConflict::Replace).await
    }

    /// Removes a schedule with its history; tasks that it enqueued go on. Whether it was there.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_remove(name).await
    }

    /// Pauses a schedule: times that pass meanwhile do not count. Whether it is there.
    ///
    /// # Errors
    /// The database's.
    pub async fn pause_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_set_paused(name, true).await
    }

    /// Resumes a schedule from now on. Whether it is there.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_set_paused(name, false).await
    }

    /// Runs a schedule's task now, whatever its rule says and whatever runs, paused or not. The id of the task.
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], or the database's.
    pub async fn run_schedule(&self, name: &str) -> Result<TaskId> {
        for _ in 0..TRIES_MAX {
            let due = self.open_store()?.schedule(name).await?.ok_or_else(|| Error::UnknownSchedule(name.into()))?;
            let now = self.open_store()?.now().await?;
            let mut answers = self.open_store()?.schedule_tick(&[plan_manual(&due, now)]).await?;
            // The run asked for comes last, behind what was due anyhow.
            if let Some(id) = answers.pop().flatten().and_then(|ids| ids.last().copied()) {
                return Ok(id);
            }
            // Somebody else writes the row just now.
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        Err(Error::Database(format!("schedule `{name}` was changed again and again while it was to be run; try again")))
    }
}
