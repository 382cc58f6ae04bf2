//! Schedules for applications: add, pause, resume, run now, remove, and list them.
//!
//! Schedules are rows: servers follow the changes of any process at once.

use std::time::Duration;

use serde::Serialize;

use super::{Call, Client};
use crate::schedule::plan::{plan, plan_manual};
use crate::schedule::{CatchUp, DueSchedule, NewSchedule, OnConflict, Overlap, ScheduleRecord, ScheduleRun, rule};
use crate::store::SchedulePut;
use crate::task::NewTask;
use crate::{Error, Result, TaskId, Timestamp, duration};

/// Maximum number of attempts to write on the version just read, while others change the row.
const TRIES_MAX: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);
/// Number of schedules per page.
const PAGE: usize = 500;

/// A schedule to be added: a name, a rule, and the call of a task function that each run makes.
///
/// ```
/// # #[taskyard::task] async fn report() -> usize { 7 }
/// use std::time::Duration;
/// use taskyard::{Overlap, Schedule};
///
/// let nightly = Schedule::new("nightly report", "0 3 * * *", report()).zone("Europe/Berlin");
/// let frequent = Schedule::every("report", Duration::from_secs(300), report())
///     .overlap(Overlap::QueueOne) // the next run waits for this one
///     .jitter(Duration::from_secs(10));
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
    /// Creates a schedule with the default of every option. `rule` is a cron expression, `@every 5m`, `@at INSTANT`,
    /// `@after 2h`, `@reboot` or an alias such as `@daily`; an invalid rule is an error when the schedule is added.
    pub fn new(name: impl Into<String>, rule: impl Into<String>, call: Call<T>) -> Self {
        let name = name.into();
        // The actual task is inserted when the client's defaults are known.
        let new = NewSchedule::new(name.clone(), rule, NewTask::new("", Vec::new()));
        Self { name, call, new, on_conflict: OnConflict::Replace }
    }

    /// Creates a schedule that runs at a fixed interval.
    pub fn every(name: impl Into<String>, interval: Duration, call: Call<T>) -> Self {
        Self::new(name, format!("@every {}", duration::exact(interval)), call)
    }

    /// Creates a schedule that runs once, at an instant.
    pub fn at(name: impl Into<String>, instant: Timestamp, call: Call<T>) -> Self {
        Self::new(name, format!("@at {instant}"), call)
    }

    /// Creates a schedule that runs once, this long after it was first added. Adding it again, in this process or
    /// another, neither repeats nor delays the run.
    pub fn after(name: impl Into<String>, delay: Duration, call: Call<T>) -> Self {
        Self::new(name, format!("@after {}", duration::exact(delay)), call)
    }

    /// Sets the time zone of a cron rule (default `UTC`).
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.new.zone = zone.into();
        self
    }

    /// Sets the behaviour if an earlier run has not ended (default: skip).
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.new.overlap = overlap;
        self
    }

    /// Sets the behaviour for missed times (default: one run for all of them).
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.new.catch_up = catch_up;
        self
    }

    /// Sets the window within which missed times are caught up (default: one day).
    pub fn catch_up_window(mut self, window: Duration) -> Self {
        self.new.catch_up_window = window;
        self
    }

    /// Sets the maximum random delay of each run (default: zero).
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.new.jitter = jitter;
        self
    }

    /// Sets the earliest instant of a run.
    pub fn starts_at(mut self, instant: Timestamp) -> Self {
        self.new.starts_at = Some(instant);
        self
    }

    /// Sets the latest instant of a run.
    pub fn ends_at(mut self, instant: Timestamp) -> Self {
        self.new.ends_at = Some(instant);
        self
    }

    /// Ends the schedule after this many runs.
    pub fn runs_max(mut self, runs: u32) -> Self {
        self.new.runs_max = Some(runs);
        self
    }

    /// Pauses the schedule after this many consecutive failed runs.
    pub fn pause_after_failures(mut self, failures: u32) -> Self {
        self.new.pause_after_failures = Some(failures);
        self
    }

    /// Sets the behaviour if a schedule of this name exists (default: replace, which changes nothing if it is equal).
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }
}

/// Result of adding a schedule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleAdded {
    /// Name.
    pub name: String,
    /// Whether it was added, kept or replaced.
    pub put: SchedulePut,
    /// Next run, unless the schedule is paused or has ended.
    pub next_at: Option<Timestamp>,
    /// Warnings about parts of its rule that are probably not intended.
    pub warnings: Vec<String>,
}

impl Client {
    /// Adds a schedule, or changes the one of that name to this definition. Durable when this returns.
    ///
    /// ```
    /// # #[taskyard::task] async fn report(day: String) -> usize { day.len() }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Schedule, SchedulePut};
    ///
    /// let schedule = || Schedule::new("nightly report", "0 3 * * *", report("today".into())).zone("Europe/Berlin");
    /// let added = queue.add_schedule(schedule()).await?;
    /// assert_eq!(added.put, SchedulePut::Added);
    /// assert!(added.next_at.is_some());
    /// // At the next start of the program: the schedule is equal.
    /// assert_eq!(queue.add_schedule(schedule()).await?.put, SchedulePut::Kept);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] for an invalid rule, [`Error::DuplicateSchedule`] under [`OnConflict::Refuse`],
    /// [`Error::InvalidArgument`], [`Error::NotRepresentable`] or [`Error::OverLimit`] for an option or a call that
    /// cannot be stored, and [database errors](Client#database-errors).
    pub async fn add_schedule<T>(&self, schedule: Schedule<T>) -> Result<ScheduleAdded> {
        let Schedule { name, call, mut new, on_conflict } = schedule;
        new.name = name;
        new.task = self.new_task(call, &self.config())?;
        self.put_schedule(new, on_conflict).await
    }

    /// Adds a schedule whose definition is complete: see [`Client::add_schedule`].
    ///
    /// # Errors
    /// Those of [`Client::add_schedule`].
    #[doc(hidden)]
    pub async fn put_schedule(&self, mut new: NewSchedule, on_conflict: OnConflict) -> Result<ScheduleAdded> {
        new.check(&self.config().limits)?;
        let put = self.open_store()?.schedule_put(&new, on_conflict).await?;
        // Planned here, so that the next run can be returned; otherwise the first server to see the schedule plans it.
        let due = self.planned(&new.name).await?;
        let next_at = due.filter(|due| !due.record.paused).and_then(|due| due.record.next_at);
        let warnings = rule::Rule::parse(&new.rule, &new.name)?.warnings();
        Ok(ScheduleAdded { name: new.name, put, next_at, warnings })
    }

    /// Returns the schedule, after planning it if necessary.
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
                // The schedule is stored. A run that is due by now and cannot be added is retried or reported by the
                // servers.
                tracing::warn!(%error, schedule = name, "a new schedule is not planned yet");
                return Ok(Some(due));
            }
        }
        self.open_store()?.schedule(name).await
    }

    /// Returns all schedules by name.
    ///
    /// ```
    /// # #[taskyard::task] async fn report() -> usize { 7 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Schedule;
    ///
    /// queue.add_schedule(Schedule::new("report", "@daily", report())).await?;
    /// for schedule in queue.schedules().await? {
    ///     println!("{} runs next at {:?}", schedule.definition.name, schedule.next_at);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
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

    /// Returns a schedule.
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], and [database errors](Client#database-errors).
    pub async fn schedule(&self, name: &str) -> Result<ScheduleRecord> {
        let found = self.open_store()?.schedule(name).await?;
        found.map(|due| due.record).ok_or_else(|| Error::UnknownSchedule(name.into()))
    }

    /// Returns up to `limit` rows of the history of a schedule, newest first.
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn schedule_runs(&self, name: &str, limit: usize) -> Result<Vec<ScheduleRun>> {
        self.open_store()?.schedule_runs(name, None, limit).await
    }

    /// Changes the rule of a schedule, and its zone if one is given; everything else stays.
    ///
    /// ```
    /// # #[taskyard::task] async fn report() -> usize { 7 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Schedule;
    ///
    /// queue.add_schedule(Schedule::new("report", "@daily", report())).await?;
    /// queue.reschedule("report", "30 4 * * 1-5", Some("Europe/Berlin")).await?;
    /// assert_eq!(queue.schedule("report").await?.definition.zone, "Europe/Berlin");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], [`Error::InvalidSchedule`], [`Error::InvalidArgument`] for an unknown zone, and
    /// [database errors](Client#database-errors).
    pub async fn reschedule(&self, name: &str, rule: &str, zone: Option<&str>) -> Result<ScheduleAdded> {
        let mut new = self.schedule(name).await?.definition;
        rule.clone_into(&mut new.rule);
        if let Some(zone) = zone {
            zone.clone_into(&mut new.zone);
        }
        self.put_schedule(new, OnConflict::Replace).await
    }

    /// Deletes a schedule with its history; tasks that it enqueued are not affected. Returns whether it existed.
    ///
    /// ```
    /// # #[taskyard::task] async fn report() -> usize { 7 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Schedule;
    ///
    /// queue.add_schedule(Schedule::new("report", "@daily", report())).await?;
    /// assert!(queue.remove_schedule("report").await?);
    /// assert!(!queue.remove_schedule("report").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn remove_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_remove(name).await
    }

    /// Pauses a schedule; times that pass meanwhile are ignored. Returns whether it exists.
    ///
    /// ```
    /// # #[taskyard::task] async fn report() -> usize { 7 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::Schedule;
    ///
    /// queue.add_schedule(Schedule::new("report", "@every 5m", report())).await?;
    /// queue.pause_schedule("report").await?;
    /// assert!(queue.schedule("report").await?.paused);
    /// queue.resume_schedule("report").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn pause_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_set_paused(name, true).await
    }

    /// Resumes a schedule from now on. Returns whether it exists.
    ///
    /// # Errors
    /// [Database errors](Client#database-errors).
    pub async fn resume_schedule(&self, name: &str) -> Result<bool> {
        self.open_store()?.schedule_set_paused(name, false).await
    }

    /// Runs a schedule's task now, regardless of its rule and of open runs, even if it is paused. Returns the id of the
    /// task.
    ///
    /// ```
    /// # #[taskyard::task] async fn report() -> usize { 7 }
    /// # #[tokio::main] async fn main() -> taskyard::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let queue = taskyard::Taskyard::connect(directory.path().join("queue.db").to_str().unwrap()).await?;
    /// use taskyard::{Schedule, TaskRef};
    ///
    /// queue.add_schedule(Schedule::new("report", "@daily", report())).await?;
    /// let run: TaskRef<usize> = queue.get(queue.run_schedule("report").await?);
    /// queue.drain().await?;
    /// assert_eq!(run.wait().await?, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`], [`Error::Database`] if the schedule is changed by others all the time, and [other
    /// database errors](Client#database-errors).
    pub async fn run_schedule(&self, name: &str) -> Result<TaskId> {
        for _ in 0..TRIES_MAX {
            let due = self.open_store()?.schedule(name).await?.ok_or_else(|| Error::UnknownSchedule(name.into()))?;
            let now = self.open_store()?.now().await?;
            let mut answers = self.open_store()?.schedule_tick(&[plan_manual(&due, now)]).await?;
            // The requested run is the last one, after those that were due anyway.
            if let Some(id) = answers.pop().flatten().and_then(|ids| ids.last().copied()) {
                return Ok(id);
            }
            // Another process is writing the row.
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        Err(Error::Database(format!("schedule `{name}` was changed again and again while it was to be run; try again")))
    }
}
