//! Schedules: rules that enqueue tasks at times, and what is kept of them.
//!
//! A schedule is a row. Its `version` grows with every write of the row, so that whoever planned on an older one changes
//! nothing (rule 12 of [`crate::store`]). This file says what a schedule is; [`rule`] owns the times, [`mod@plan`] decides
//! what is to happen now, as a pure function; the stores keep it, any server carries it out.

pub mod plan;
pub mod rule;
mod span;
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

/// How late a time may be decided upon and still be on time; beyond it, it was missed.
pub const ON_TIME_MAX: Duration = Duration::from_secs(60);
/// How far back missed runs are made up for, unless a schedule says otherwise.
pub const CATCH_UP_WINDOW: Duration = Duration::from_secs(86_400);
/// Runs of one schedule that wait for the one before them, at most; what comes on top is skipped.
pub const HELD_MAX: usize = 1_000;
/// Runs that one look makes up for, at most; the rest follows with the next look.
pub const CATCH_UP_MAX: usize = 100;
/// Rows of history that are kept of each schedule.
pub const RUNS_KEPT: usize = 1_000;
/// The shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

words! {
    /// What happens to a run that is due while an earlier one of its schedule has not ended.
    #[derive(Default)]
    Overlap "overlap" {
        /// It is skipped.
        #[default]
        Skip = "skip",
        /// It runs beside it.
        Allow = "allow",
        /// It runs when the earlier one has ended; at most one waits, further ones are skipped.
        QueueOne = "queue_one",
        /// It runs when the earlier ones have ended, each in its turn.
        QueueAll = "queue_all",
        /// The earlier one is cancelled; it runs when that one has ended.
        CancelRunning = "cancel_running",
    }
}

words! {
    /// What happens to runs whose time passed while no server was there.
    #[derive(Default)]
    CatchUp "catch_up" {
        /// They are not made up for.
        Skip = "skip",
        /// One run stands for all that were missed.
        #[default]
        One = "one",
        /// Each of them runs, the oldest first.
        All = "all",
    }
}

words! {
    /// What became of a time that a schedule names.
    RunOutcome "outcome" {
        /// A task was enqueued for it.
        Enqueued = "enqueued",
        /// It waits until the run before it has ended.
        Held = "held",
        /// The run before it had not ended.
        Skipped = "skipped",
        /// No server was there at the time.
        Missed = "missed",
    }
}

words! {
    /// What to do when a schedule of this name is there already.
    OnConflict "on_conflict" {
        /// Refuse with [`Error::DuplicateSchedule`].
        Refuse = "refuse",
        /// Leave it as it is.
        Keep = "keep",
        /// Bring it to this definition. An equal one changes nothing; a one-off that has run does not run again unless its
        /// rule is another one.
        Replace = "replace",
    }
}

/// A schedule to be stored. Its task is added anew, with an id of its own, for every run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSchedule {
    /// Its key: 1 to 255 bytes.
    pub name: String,
    /// When: a cron rule (`0 3 * * MON-FRI`), `@daily`, `@every 5m`, `@after 2h`, or `@at` with an instant.
    pub rule: String,
    /// The IANA name of the time zone in which a cron rule is read (default `UTC`).
    pub zone: String,
    /// What is enqueued. Its id is not used; it has no parents and no start time of its own.
    pub task: NewTask,
    /// When an earlier run has not ended (default: skip).
    pub overlap: Overlap,
    /// When times were missed (default: one run for all).
    pub catch_up: CatchUp,
    /// How far back missed times are made up for (default: a day).
    pub catch_up_window: Duration,
    /// Each run starts up to this much later, drawn anew every time, never beyond the next one (default: zero).
    pub jitter: Duration,
    /// No run before this instant.
    pub starts_at: Option<Timestamp>,
    /// No run after this instant.
    pub ends_at: Option<Timestamp>,
    /// The schedule ends after so many enqueued runs.
    pub runs_max: Option<u32>,
    /// Pause after so many runs in a row that failed for good.
    pub pause_after_failures: Option<u32>,
}

impl NewSchedule {
    /// With every default.
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

    /// Checks what the database could not, and brings it to the form in which it is stored: a zone that the rule names
    /// (`CRON_TZ=`) becomes the schedule's.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] with the place in the rule; names, zones and durations that can never be right.
    pub fn check(&mut self, limits: &Limits) -> Result<()> {
        limits.check_name("schedule", &self.name)?;
        let rule = Rule::parse(&self.rule, &self.name)?;
        if let Some(zone) = rule.zone_name() {
            self.zone = zone.to_owned();
        }
        self.rule = rule.to_string();
        rule::zone(&self.zone)?;
        let long = Duration::from_secs(100 * 366 * 86_400);
        for (what, duration) in [("catch_up_window", self.catch_up_window), ("jitter", self.jitter)] {
            if duration > long {
                return Err(invalid(what, format!("{} s is over a hundred years", duration.as_secs())));
            }
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

    /// The task's options as the JSON text that is stored beside kind, runtime, queue, priority and payload.
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
    /// What it is to do.
    pub definition: NewSchedule,
    /// Grows with every write of the row.
    pub version: i64,
    /// Whether `next_at` holds for this definition; a changed row is planned anew.
    pub planned: bool,
    /// Nothing runs until it is resumed.
    pub paused: bool,
    /// Its last run has been enqueued: it is kept, so that whoever declares it again does not repeat it.
    pub ended: bool,
    /// Why it cannot be planned; it is left alone until the row changes.
    pub problem: Option<String>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// Times up to this instant do not count: when it was stored, changed or resumed.
    pub planned_from: Timestamp,
    /// The next time of its rule.
    pub next_at: Option<Timestamp>,
    /// The last time of its rule that was decided upon.
    pub last_at: Option<Timestamp>,
    /// Tasks enqueued by it.
    pub runs: u64,
    /// Runs that failed for good since the last one that was done.
    pub failures: u32,
    /// How the last run that ended did.
    pub last_state: Option<TaskState>,
}

impl ScheduleRecord {
    /// One that was stored at this instant and not planned yet.
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

    /// The next times of its rule after `next_at` and that one, while it is neither paused nor ended.
    #[must_use]
    pub fn upcoming(&self, limit: usize) -> Vec<Timestamp> {
        if self.paused || self.ended {
            return Vec::new();
        }
        let Ok(clock) = rule::Clock::of(self) else { return Vec::new() };
        let times = std::iter::successors(self.next_at, |at| clock.after(*at));
        times.take_while(|at| self.definition.ends_at.is_none_or(|end| *at <= end)).take(limit).collect()
    }

    /// For programs.
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

    /// One word for people: `active`, `paused`, `ended`, or `broken` if it has a problem.
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

/// What became of one time of a schedule, or of several that were missed together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleRun {
    /// Grows with every row.
    pub sequence: i64,
    /// The time that the rule names; the first one of several.
    pub fire_at: Timestamp,
    /// The last one of several.
    pub until: Option<Timestamp>,
    /// How many times this row stands for; 10,000 means so many or more.
    pub count: u32,
    /// What became of it.
    pub outcome: RunOutcome,
    /// A person asked for it.
    pub manual: bool,
    /// Its task.
    pub task: Option<TaskId>,
    /// Where the task was when it was last looked at: final, or `None` while the run goes on.
    pub state: Option<TaskState>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When this was decided.
    pub created_at: Timestamp,
    /// When the task ended.
    pub finished_at: Option<Timestamp>,
}

/// A run that has not ended as far as its schedule knows, with what is known of its task now.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRun {
    /// Its row.
    pub sequence: i64,
    /// Its time.
    pub fire_at: Timestamp,
    /// Its task; `None` while it is held.
    pub task: Option<TaskId>,
    /// The task's state; `None` if there is none, or none any more.
    pub state: Option<TaskState>,
    /// When the task ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl OpenRun {
    /// Whether nothing of it runs any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_some() && self.state.is_none_or(TaskState::is_final)
    }
}

/// A schedule that wants something decided, with its open runs, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct DueSchedule {
    /// The row.
    pub record: ScheduleRecord,
    /// Its open runs.
    pub open: Vec<OpenRun>,
}

/// What a look for due schedules found.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleLook {
    /// The database's time.
    pub now: Timestamp,
    /// What is to be decided.
    pub due: Vec<DueSchedule>,
    /// How long until the next schedule is due; `None` if none will be.
    pub next_due: Option<Duration>,
    /// Whether runs are open: somebody has to look when they end.
    pub open: bool,
}

/// A row of history that a [`Tick`] writes.
#[derive(Clone, Debug, PartialEq)]
pub struct TickRun {
    /// The time of the rule; the first one of several.
    pub fire_at: Timestamp,
    /// The last one of several.
    pub until: Option<Timestamp>,
    /// How many times it stands for.
    pub count: u32,
    /// What becomes of it.
    pub outcome: RunOutcome,
    /// A person asked for it.
    pub manual: bool,
    /// The task to add, if it is enqueued.
    pub task: Option<NewTask>,
}

/// The end of a run, as its schedule keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledRun {
    /// Its row.
    pub sequence: i64,
    /// How its task ended; `None` if the task is gone.
    pub state: Option<TaskState>,
    /// When.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// All that one look decides about one schedule; applied as a whole, and only on the version that it was decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// The schedule.
    pub name: String,
    /// The version seen.
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
    /// Runs that ended.
    pub settled: Vec<SettledRun>,
    /// Held runs that begin now, each with its task.
    pub released: Vec<(i64, NewTask)>,
    /// Held runs that give way to a younger one.
    pub dropped: Vec<i64>,
    /// New rows of history, each with the task it enqueues, if any.
    pub runs: Vec<TickRun>,
    /// Running tasks that are cancelled, so that their successor may begin.
    pub cancel: Vec<TaskId>,
}

impl Tick {
    /// Nothing but that the schedule cannot be carried out, instead of what was decided.
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

    /// The tasks that it adds.
    pub fn tasks(&self) -> impl Iterator<Item = &NewTask> {
        let released = self.released.iter().map(|(_, task)| task);
        released.chain(self.runs.iter().filter_map(|run| run.task.as_ref()))
    }
}
