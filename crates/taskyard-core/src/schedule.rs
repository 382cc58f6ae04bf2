//! Schedules: rules that enqueue tasks at given times, and the records that are stored about them.
//!
//! A schedule is a row. Its `version` is incremented by every write of the row, so that a plan made on an older version
//! changes nothing (rule 12 of [`crate::store`]). This file defines the types; [`rule`] computes the times;
//! [`mod@plan`] decides what is due as a pure function; the stores persist the result, and any server carries it out.

pub mod plan;
pub mod rule;
mod template;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use plan::plan;
pub use rule::Rule;
pub use template::stored_task;

use crate::payload::shown;
use crate::task::NewTask;
use crate::words::words;
use crate::{Error, Failure, Limits, Result, TaskId, TaskState, Timestamp};

/// Maximum lateness at which a time still counts as on time; later, it was missed.
pub const ON_TIME_MAX: Duration = Duration::from_secs(60);
/// Default window within which missed runs are caught up.
pub const CATCH_UP_WINDOW: Duration = Duration::from_secs(86_400);
/// Maximum number of runs of one schedule that wait for an earlier one; further ones are skipped.
pub const HELD_MAX: usize = 1_000;
/// Maximum number of runs caught up in one pass; the rest follows in the next pass.
pub const CATCH_UP_MAX: usize = 100;
/// History rows retained for each schedule.
pub const RUNS_KEPT: usize = 1_000;
/// Shortest interval of `@every`.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

words! {
    /// Behaviour of a run that is due while an earlier run of its schedule has not ended.
    #[derive(Default)]
    Overlap {
        /// The run is skipped.
        #[default]
        Skip = "skip",
        /// Both run at the same time.
        Allow = "allow",
        /// The run starts when the earlier one has ended; at most one waits, further ones are skipped.
        QueueOne = "queue_one",
        /// The run starts when all earlier ones have ended, in order.
        QueueAll = "queue_all",
        /// The earlier run is cancelled; the new one starts when it has ended.
        CancelRunning = "cancel_running",
    }
}

words! {
    /// Behaviour of runs whose time passed while no server was running.
    #[derive(Default)]
    CatchUp {
        /// Missed runs are not caught up.
        Skip = "skip",
        /// A single run stands for all missed ones.
        #[default]
        One = "one",
        /// Every missed run is executed, the oldest first.
        All = "all",
    }
}

words! {
    /// Outcome of a scheduled time.
    RunOutcome {
        /// A task was enqueued.
        Enqueued = "enqueued",
        /// The run waits for an earlier run to end.
        Held = "held",
        /// The run was skipped, because an earlier run had not ended.
        Skipped = "skipped",
        /// No server was running at the time.
        Missed = "missed",
    }
}

words! {
    /// Behaviour if a schedule of this name exists already.
    OnConflict {
        /// Refuse with [`Error::DuplicateSchedule`].
        Refuse = "refuse",
        /// Leave the existing schedule unchanged.
        Keep = "keep",
        /// Change it to this definition. An equal definition changes nothing; a one-off that has run does not run again
        /// unless its rule differs.
        Replace = "replace",
    }
}

/// A schedule to be stored. Every run adds its task with a new id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSchedule {
    /// Unique name: 1 to 255 bytes.
    pub name: String,
    /// The rule: a cron rule (`0 3 * * MON-FRI`), `@daily`, `@every 5m`, `@after 2h`, or `@at` with an instant.
    pub rule: String,
    /// IANA name of the time zone of a cron rule (default `UTC`).
    pub zone: String,
    /// The task to enqueue. Its id is not used; it has no parents and no start time of its own.
    pub task: NewTask,
    /// Behaviour if an earlier run has not ended (default: skip).
    pub overlap: Overlap,
    /// Behaviour for missed times (default: one run for all).
    pub catch_up: CatchUp,
    /// Window within which missed times are caught up (default: one day).
    pub catch_up_window: Duration,
    /// Maximum random delay of each run (default: zero). Never reaches the next run.
    pub jitter: Duration,
    /// Earliest instant of a run.
    pub starts_at: Option<Timestamp>,
    /// Latest instant of a run.
    pub ends_at: Option<Timestamp>,
    /// The schedule ends after this many enqueued runs.
    pub runs_max: Option<u32>,
    /// The schedule is paused after this many consecutive runs that failed for good.
    pub pause_after_failures: Option<u32>,
}

impl NewSchedule {
    /// Creates a schedule with the default of every option.
    #[must_use]
    pub fn new(name: impl Into<String>, rule: impl Into<String>, task: NewTask) -> Self {
        Self {
            name: name.into(),
            rule: rule.into(),
            zone: "UTC".into(),
            task,
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            catch_up_window: CATCH_UP_WINDOW,
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
            runs_max: None,
            pause_after_failures: None,
        }
    }

    /// Validates the definition and normalises it to its stored form: a zone in the rule (`CRON_TZ=`) becomes the
    /// schedule's.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] for an invalid rule, with the position; [`Error::InvalidArgument`] for an invalid
    /// name, zone, duration, instant or count; [`Error::OverLimit`] for a name or task over its limit.
    pub fn check(&mut self, limits: &Limits) -> Result<()> {
        limits.check_name("schedule", &self.name)?;
        let rule = Rule::parse(&self.rule, &self.name)?;
        if let Some(zone) = rule.zone_name() {
            self.zone = zone.to_owned();
        }
        self.rule = rule.to_string();
        rule::zone(&self.zone)?;
        for (what, duration) in [("catch_up_window", self.catch_up_window), ("jitter", self.jitter)] {
            crate::time::check_duration(what, Some(duration))?;
        }
        for (what, at) in [("starts_at", self.starts_at), ("ends_at", self.ends_at)] {
            at.map_or(Ok(()), |at| crate::time::check_instant(what, at))?;
        }
        if let (Some(starts), Some(ends)) = (self.starts_at, self.ends_at)
            && ends < starts
        {
            return Err(invalid("ends_at", format!("{ends} is before starts_at, {starts}")));
        }
        if self.runs_max == Some(0) {
            return Err(invalid("runs_max", "it is zero: such a schedule would never run".into()));
        }
        if self.pause_after_failures == Some(0) {
            return Err(invalid("pause_after_failures", "it is zero; leave it out to go on after failures".into()));
        }
        template::check(&mut self.task, limits)
    }

    /// Returns the task's options as the JSON text that is stored beside kind, runtime, queue, priority and payload.
    #[must_use]
    pub fn options(&self) -> String {
        template::options(&self.task)
    }
}

fn invalid(what: &'static str, why: String) -> Error {
    Error::InvalidArgument { what, why }
}

/// A schedule as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRecord {
    /// Definition.
    pub definition: NewSchedule,
    /// Incremented by every write of the row.
    pub version: i64,
    /// Whether `next_at` was computed for this definition; a changed row is planned anew.
    pub planned: bool,
    /// No run is started until it is resumed.
    pub paused: bool,
    /// Whether the last run has been enqueued. The row is kept, so that declaring the schedule again does not repeat it.
    pub ended: bool,
    /// Reason why the schedule cannot be planned; it is not planned again until the row changes.
    pub problem: Option<String>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// Times up to this instant are ignored: when it was stored, changed or resumed.
    pub planned_from: Timestamp,
    /// The next time of its rule.
    pub next_at: Option<Timestamp>,
    /// The last time of its rule that was decided.
    pub last_at: Option<Timestamp>,
    /// Number of tasks it has enqueued.
    pub runs: u64,
    /// Runs that failed for good since the last one that succeeded.
    pub failures: u32,
    /// Final state of the last run that ended.
    pub last_state: Option<TaskState>,
}

impl ScheduleRecord {
    /// Creates the record of a schedule that was stored at this instant and is not planned yet.
    #[must_use]
    pub fn unplanned(definition: NewSchedule, created_at: Timestamp) -> Self {
        Self {
            definition,
            version: 1,
            planned: false,
            paused: false,
            ended: false,
            problem: None,
            created_at,
            planned_from: created_at,
            next_at: None,
            last_at: None,
            runs: 0,
            failures: 0,
            last_state: None,
        }
    }

    /// Returns the next `limit` times, beginning with `next_at`; empty if it is paused or ended.
    #[must_use]
    pub fn upcoming(&self, limit: usize) -> Vec<Timestamp> {
        if self.paused || self.ended {
            return Vec::new();
        }
        let Ok(clock) = rule::Clock::of(self) else { return Vec::new() };
        let times = std::iter::successors(self.next_at, |at| clock.after(*at));
        times.take_while(|at| self.definition.ends_at.is_none_or(|end| *at <= end)).take(limit).collect()
    }

    /// Returns the record as JSON.
    #[must_use]
    pub fn to_json(&self) -> shown::Object {
        let new = &self.definition;
        shown::Object::from([
            ("name", shown::value(&new.name)),
            ("rule", shown::value(&new.rule)),
            ("zone", shown::value(&new.zone)),
            ("kind", shown::value(&new.task.kind)),
            ("runtime", shown::value(&new.task.runtime.as_str())),
            ("queue", shown::value(&new.task.queue)),
            ("priority", shown::value(&new.task.priority)),
            ("payload", shown::stored(&new.task.payload)),
            ("overlap", shown::value(&new.overlap.as_str())),
            ("catch_up", shown::value(&new.catch_up.as_str())),
            ("catch_up_window_s", shown::value(&new.catch_up_window.as_secs_f64())),
            ("jitter_s", shown::value(&new.jitter.as_secs_f64())),
            ("starts_at", shown::value(&new.starts_at)),
            ("ends_at", shown::value(&new.ends_at)),
            ("runs_max", shown::value(&new.runs_max)),
            ("pause_after_failures", shown::value(&new.pause_after_failures)),
            ("state", shown::value(&self.state())),
            ("problem", shown::value(&self.problem)),
            ("created_at", shown::value(&self.created_at)),
            ("next_at", shown::value(&self.next_at.filter(|_| !self.paused && !self.ended))),
            ("last_at", shown::value(&self.last_at)),
            ("runs", shown::value(&self.runs)),
            ("failures", shown::value(&self.failures)),
            ("last_state", shown::value(&self.last_state.map(TaskState::as_str))),
        ])
    }

    /// Returns its state: `active`, `paused`, `ended`, or `broken` if it has a problem.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self { problem: Some(_), .. } => "broken",
            Self { ended: true, .. } => "ended",
            Self { paused: true, .. } => "paused",
            _ => "active",
        }
    }
}

/// Outcome of one time of a schedule, or of several that were missed together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleRun {
    /// Sequence number, increasing.
    pub sequence: i64,
    /// The scheduled time; the first one if the row stands for several.
    pub fire_at: Timestamp,
    /// The last time if the row stands for several.
    pub until: Option<Timestamp>,
    /// Number of times this row stands for; 10,000 means 10,000 or more.
    pub count: u32,
    /// Outcome.
    pub outcome: RunOutcome,
    /// Whether the run was requested by hand.
    pub manual: bool,
    /// Task of the run.
    pub task: Option<TaskId>,
    /// Last known final state of the task; `None` while the run has not ended.
    pub state: Option<TaskState>,
    /// Error of a failed run.
    pub error: Option<Failure>,
    /// When this was decided.
    pub created_at: Timestamp,
    /// When the task ended.
    pub finished_at: Option<Timestamp>,
}

/// A run whose end its schedule has not recorded, with the current state of its task.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRun {
    /// Sequence number of its row.
    pub sequence: i64,
    /// The scheduled time.
    pub fire_at: Timestamp,
    /// Task of the run; `None` while it is held.
    pub task: Option<TaskId>,
    /// The task's state; `None` if there is no task or it was removed.
    pub state: Option<TaskState>,
    /// When the task ended.
    pub finished_at: Option<Timestamp>,
    /// Error of a failed run.
    pub error: Option<Failure>,
}

impl OpenRun {
    /// Returns whether the run has ended: its task is in a final state or was removed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_some() && self.state.is_none_or(TaskState::is_final)
    }
}

/// A schedule that needs a decision, with its open runs, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct DueSchedule {
    /// The row.
    pub record: ScheduleRecord,
    /// Open runs.
    pub open: Vec<OpenRun>,
}

/// Result of reading the due schedules.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleLook {
    /// The database's time.
    pub now: Timestamp,
    /// Schedules that need a decision.
    pub due: Vec<DueSchedule>,
    /// Time until the next schedule is due; `None` if none will be.
    pub next_due: Option<Duration>,
    /// Whether runs are open, so that their ends must be recorded.
    pub open: bool,
}

/// A history row that a [`Tick`] writes.
#[derive(Clone, Debug, PartialEq)]
pub struct TickRun {
    /// The scheduled time; the first one of several.
    pub fire_at: Timestamp,
    /// The last one of several.
    pub until: Option<Timestamp>,
    /// Number of times it stands for.
    pub count: u32,
    /// Outcome.
    pub outcome: RunOutcome,
    /// Whether the run was requested by hand.
    pub manual: bool,
    /// The task to add if the run is enqueued.
    pub task: Option<NewTask>,
}

/// The end of a run as its schedule records it.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledRun {
    /// Sequence number of its row.
    pub sequence: i64,
    /// Final state of its task; `None` if the task was removed.
    pub state: Option<TaskState>,
    /// When the task ended.
    pub finished_at: Option<Timestamp>,
    /// Error of a failed run.
    pub error: Option<Failure>,
}

/// All decisions of one pass about one schedule; applied atomically, and only to the version on which they were made.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// The schedule.
    pub name: String,
    /// The version on which the decisions were made.
    pub version: i64,
    /// See [`ScheduleRecord::planned`].
    pub planned: bool,
    /// See [`ScheduleRecord::paused`].
    pub paused: bool,
    /// See [`ScheduleRecord::ended`].
    pub ended: bool,
    /// See [`ScheduleRecord::problem`].
    pub problem: Option<String>,
    /// See [`ScheduleRecord::next_at`].
    pub next_at: Option<Timestamp>,
    /// See [`ScheduleRecord::last_at`].
    pub last_at: Option<Timestamp>,
    /// See [`ScheduleRecord::failures`].
    pub failures: u32,
    /// See [`ScheduleRecord::last_state`].
    pub last_state: Option<TaskState>,
    /// Runs whose end is recorded.
    pub settled: Vec<SettledRun>,
    /// Held runs that start now, each with its task.
    pub released: Vec<(i64, NewTask)>,
    /// Held runs that are skipped in favour of a later one.
    pub dropped: Vec<i64>,
    /// New history rows, each with the task it enqueues, if any.
    pub runs: Vec<TickRun>,
    /// Running tasks to cancel, so that the next run can start.
    pub cancel: Vec<TaskId>,
}

impl Tick {
    /// Discards the decisions and records only that the schedule cannot be carried out.
    #[must_use]
    pub fn broken(self, problem: String) -> Self {
        Self {
            problem: Some(problem),
            planned: true,
            next_at: None,
            settled: Vec::new(),
            released: Vec::new(),
            dropped: Vec::new(),
            runs: Vec::new(),
            cancel: Vec::new(),
            ..self
        }
    }

    /// Returns the tasks that this adds.
    pub fn tasks(&self) -> impl Iterator<Item = &NewTask> {
        let released = self.released.iter().map(|(_, task)| task);
        released.chain(self.runs.iter().filter_map(|run| run.task.as_ref()))
    }
}
