//! Tests the planning of schedules against a model of a store: a row with its version, and history.
//!
//! The model implements rule 12 and nothing else. Invariant: each time of a rule is decided exactly once, in whatever
//! order servers plan, write and die.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use taskyard_core::schedule::plan::{plan, plan_manual, plan_start};
use taskyard_core::schedule::rule::Clock;
use taskyard_core::schedule::{CatchUp, DueSchedule, NewSchedule, OpenRun, Overlap, RunOutcome, ScheduleRecord, Tick};
use taskyard_core::task::Start;
use taskyard_core::{Failure, Limits, NewTask, TaskId, TaskState, Timestamp};

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[derive(Clone, Debug)]
struct Run {
    fire_at: Timestamp,
    until: Option<Timestamp>,
    count: u32,
    outcome: RunOutcome,
    manual: bool,
    open: bool,
    task: Option<TaskId>,
}

/// A model of a store with one schedule.
struct Row {
    record: ScheduleRecord,
    runs: Vec<Run>,
    tasks: BTreeMap<TaskId, (TaskState, NewTask)>,
    now: Timestamp,
    /// Disabled in the variant that must fail.
    is_fenced: bool,
}

impl Row {
    fn new(rule: &str, change: impl FnOnce(&mut NewSchedule)) -> Self {
        let mut definition = NewSchedule::new("nightly", rule, NewTask::new("app::report", b"{\"args\":[]}".to_vec()));
        change(&mut definition);
        definition.check(&Limits::default()).unwrap();
        let now = at("2026-11-02T00:00:00Z");
        let record = ScheduleRecord::unplanned(definition, now);
        Self { record, runs: Vec::new(), tasks: BTreeMap::new(), now, is_fenced: true }
    }

    fn due(&self) -> DueSchedule {
        let open = self.runs.iter().enumerate().filter(|(_, run)| run.open);
        let open = open.map(|(sequence, run)| {
            let state = run.task.and_then(|task| self.tasks.get(&task)).map(|(state, _)| *state);
            let error = (state == Some(TaskState::Failed)).then(|| Failure::new("Broken", "it broke"));
            let (sequence, finished_at) = (sequence as i64, None);
            OpenRun { sequence, fire_at: run.fire_at, task: run.task, state, finished_at, error }
        });
        DueSchedule { record: self.record.clone(), open: open.collect() }
    }

    /// Applies a tick as rule 12 requires.
    fn apply(&mut self, tick: Tick) -> bool {
        if self.is_fenced && tick.version != self.record.version {
            return false;
        }
        let tasks: Vec<NewTask> = tick.tasks().cloned().collect();
        let record = &mut self.record;
        (record.version, record.planned) = (record.version + 1, tick.planned);
        (record.paused, record.ended, record.problem) = (tick.paused, tick.ended, tick.problem);
        (record.next_at, record.last_at, record.failures) = (tick.next_at, tick.last_at, tick.failures);
        record.last_state = tick.last_state;
        record.runs += tasks.len() as u64;
        self.tasks.extend(tasks.into_iter().map(|task| (task.id, (TaskState::Enqueued, task))));
        for run in tick.settled {
            self.runs[run.sequence as usize].open = false;
        }
        for (sequence, task) in tick.released {
            let run = &mut self.runs[sequence as usize];
            (run.outcome, run.task) = (RunOutcome::Enqueued, Some(task.id));
        }
        for sequence in tick.dropped {
            let run = &mut self.runs[sequence as usize];
            (run.outcome, run.open) = (RunOutcome::Skipped, false);
        }
        self.runs.extend(tick.runs.into_iter().map(|run| Run {
            fire_at: run.fire_at,
            until: run.until,
            count: run.count,
            outcome: run.outcome,
            manual: run.manual,
            open: matches!(run.outcome, RunOutcome::Enqueued | RunOutcome::Held),
            task: run.task.map(|task| task.id),
        }));
        true
    }

    /// Plans until there is nothing left to decide.
    fn look(&mut self) {
        for _ in 0..10_000 {
            let Some(tick) = plan(&self.due(), self.now, &mut || 0.5) else { return };
            let cancel = tick.cancel.clone();
            assert!(self.apply(tick));
            for task in cancel {
                self.end(task, TaskState::Cancelled);
            }
        }
        panic!("a schedule is never through: {:?}", self.record);
    }

    fn wait(&mut self, by: Duration) {
        self.now = self.now.checked_add(by).unwrap();
        self.look();
    }

    fn end(&mut self, task: TaskId, state: TaskState) {
        self.tasks.get_mut(&task).unwrap().0 = state;
    }

    fn running(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, (state, _))| !state.is_final()).map(|(id, _)| *id).collect()
    }

    fn end_all(&mut self, state: TaskState) {
        for task in self.running() {
            self.end(task, state);
        }
    }

    fn times(&self, outcome: RunOutcome) -> Vec<String> {
        self.runs.iter().filter(|run| run.outcome == outcome).map(|run| run.fire_at.to_string()).collect()
    }

    fn count(&self, outcome: RunOutcome) -> u32 {
        self.runs.iter().filter(|run| run.outcome == outcome).map(|run| run.count).sum()
    }
}

#[test]
fn a_time_is_decided_when_it_has_come_and_not_before() {
    let mut row = Row::new("30 * * * *", |_| {});
    row.look();
    assert!(row.record.planned && row.runs.is_empty());
    assert_eq!(row.record.next_at, Some(at("2026-11-02T00:30:00Z")));
    row.wait(HOUR / 2 - Duration::from_micros(1));
    assert!(row.runs.is_empty());
    row.wait(Duration::from_micros(1));
    assert_eq!(row.times(RunOutcome::Enqueued), ["2026-11-02T00:30:00Z"]);
    let task = &row.tasks.values().next().unwrap().1;
    let context: serde_json::Value = serde_json::from_slice(task.context.as_deref().unwrap()).unwrap();
    assert_eq!(context["schedule"]["fire_at"], "2026-11-02T00:30:00Z");
    assert_eq!(context["schedule"]["name"], "nightly");
    assert_eq!(row.record.next_at, Some(at("2026-11-02T01:30:00Z")));
}

#[test]
fn the_zone_is_the_schedules() {
    let mut row = Row::new("0 3 * * *", |new| new.zone = "Europe/Berlin".into());
    row.look();
    assert_eq!(row.record.next_at, Some(at("2026-11-02T02:00:00Z")));
    let mut row = Row::new("CRON_TZ=Asia/Tokyo 0 3 * * *", |_| {});
    row.look();
    assert_eq!(row.record.definition.zone, "Asia/Tokyo");
    assert_eq!(row.record.next_at, Some(at("2026-11-02T18:00:00Z")));
}

#[test]
fn an_interval_does_not_drift() {
    let mut row = Row::new("@every 90s", |new| new.overlap = Overlap::Allow);
    for _ in 0..100 {
        row.wait(Duration::from_secs(47));
    }
    let times: Vec<i64> = row.runs.iter().map(|run| run.fire_at.as_second()).collect();
    let start = row.record.created_at.as_second();
    assert_eq!(times, (1..=times.len() as i64).map(|step| start + step * 90).collect::<Vec<_>>());
    assert_eq!(times.len(), 47 * 100 / 90);
}

#[test]
fn overlap_decides_while_an_earlier_run_goes_on() {
    let run = |overlap| {
        let mut row = Row::new("0 * * * *", |new| new.overlap = overlap);
        for _ in 0..4 {
            row.wait(HOUR);
        }
        row
    };
    let row = run(Overlap::Skip);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Skipped)), (1, 3));
    let row = run(Overlap::Allow);
    assert_eq!(row.count(RunOutcome::Enqueued), 4);
    let row = run(Overlap::QueueOne);
    let counts = [RunOutcome::Enqueued, RunOutcome::Held, RunOutcome::Skipped].map(|outcome| row.count(outcome));
    assert_eq!(counts, [1, 1, 2]);
    let mut row = run(Overlap::QueueAll);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Held)), (1, 3));
    for begun in 2..=4 {
        row.end_all(TaskState::Failed);
        row.look();
        assert_eq!(row.count(RunOutcome::Enqueued), begun);
        assert_eq!(row.running().len(), 1);
    }
    assert_eq!(row.record.failures, 3);
    assert!(row.times(RunOutcome::Enqueued).is_sorted());
    // Each run was cancelled by the next one; only the last one is running.
    let row = run(Overlap::CancelRunning);
    assert_eq!(row.running().len(), 1);
    assert_eq!(row.times(RunOutcome::Enqueued).last().unwrap(), "2026-11-02T04:00:00Z");
}

#[test]
fn a_run_that_does_not_end_when_cancelled_gives_way_to_the_youngest_in_the_end() {
    let mut row = Row::new("0 * * * *", |new| new.overlap = Overlap::CancelRunning);
    row.wait(HOUR);
    for hour in 2..=4 {
        row.now = at(&format!("2026-11-02T0{hour}:00:00Z"));
        let tick = plan(&row.due(), row.now, &mut || 0.0).unwrap();
        assert_eq!(tick.cancel.len(), 1, "it is asked every time");
        assert!(row.apply(tick));
    }
    assert_eq!((row.count(RunOutcome::Held), row.count(RunOutcome::Skipped)), (1, 2));
    row.end_all(TaskState::Cancelled);
    row.look();
    assert_eq!(row.times(RunOutcome::Enqueued), ["2026-11-02T01:00:00Z", "2026-11-02T04:00:00Z"]);
}

#[test]
fn missed_times_are_made_up_for_as_the_schedule_says() {
    let run = |catch_up| {
        let mut row = Row::new("0 * * * *", |new| new.catch_up = catch_up);
        row.look();
        row.wait(HOUR * 5 + HOUR / 2);
        row
    };
    let row = run(CatchUp::Skip);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (0, 5));
    let row = run(CatchUp::One);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (1, 4));
    assert_eq!(row.times(RunOutcome::Enqueued), ["2026-11-02T05:00:00Z"]);
    assert_eq!(row.runs[0].until, Some(at("2026-11-02T04:00:00Z")));
    // Every missed run, one after the other: they must not overlap.
    let mut row = run(CatchUp::All);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Held)), (1, 4));
    for _ in 0..4 {
        row.end_all(TaskState::Done);
        row.look();
    }
    assert_eq!(row.count(RunOutcome::Enqueued), 5);
    for row in [run(CatchUp::Skip), run(CatchUp::One), row] {
        assert_eq!(row.record.next_at, Some(at("2026-11-02T06:00:00Z")));
    }
}

#[test]
fn a_moments_delay_misses_nothing() {
    let mut row = Row::new("0 * * * *", |new| new.catch_up = CatchUp::Skip);
    row.look();
    row.wait(HOUR + Duration::from_secs(60));
    assert_eq!(row.count(RunOutcome::Enqueued), 1);
    row.end_all(TaskState::Done);
    row.wait(HOUR + Duration::from_secs(1));
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (1, 1));
    // However short the interval is.
    let mut row = Row::new("@every 1s", |new| new.overlap = Overlap::Allow);
    row.look();
    row.wait(Duration::from_secs(45));
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (45, 0));
}

#[test]
fn beyond_the_window_nothing_is_made_up_for() {
    for catch_up in [CatchUp::One, CatchUp::All] {
        let mut row = Row::new("0 0 1 * *", |new| new.catch_up = catch_up);
        row.look();
        row.wait(HOUR * 24 * 31);
        assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (0, 1), "{catch_up}");
        assert_eq!(row.record.next_at, Some(at("2027-01-01T00:00:00Z")));
    }
    let mut row = Row::new("0 * * * *", |new| {
        (new.catch_up, new.overlap, new.catch_up_window) = (CatchUp::All, Overlap::Allow, HOUR * 3);
    });
    row.look();
    row.wait(HOUR * 1_000);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Missed)), (4, 996));
}

#[test]
fn a_long_absence_is_counted_and_made_up_for_in_bounded_steps() {
    let mut row = Row::new("@every 1s", |new| (new.catch_up, new.overlap) = (CatchUp::One, Overlap::Skip));
    row.look();
    row.wait(HOUR * 24 * 7);
    assert_eq!(row.count(RunOutcome::Missed), 10_000, "so many or more");
    assert_eq!(row.runs[0].until, row.now.checked_sub(Duration::from_secs(61)).ok());
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Skipped)), (1, 60), "the last minute's");
    let mut row = Row::new("@every 1s", |new| {
        (new.catch_up, new.overlap, new.catch_up_window) = (CatchUp::All, Overlap::Allow, Duration::from_secs(1_000));
    });
    row.look();
    row.now = row.now.checked_add(HOUR).unwrap();
    let first = plan(&row.due(), row.now, &mut || 0.0).unwrap();
    assert!(first.tasks().count() <= 100);
    row.look();
    assert_eq!(row.count(RunOutcome::Enqueued), 1_001);
    assert_eq!(row.count(RunOutcome::Missed) + row.count(RunOutcome::Enqueued), 3_600);
}

#[test]
fn what_happens_once_happens_once() {
    let cases = [("@after 90m", "2026-11-02T01:30:00Z"), ("@at 2026-11-02T05:00:00+01:00", "2026-11-02T04:00:00Z")];
    for (rule, time) in cases {
        let mut row = Row::new(rule, |_| {});
        row.look();
        assert_eq!(row.record.next_at, Some(at(time)), "{rule}");
        for _ in 0..20 {
            row.wait(HOUR);
            row.end_all(TaskState::Done);
        }
        assert_eq!(row.times(RunOutcome::Enqueued), [time]);
        assert!(row.record.ended && row.record.next_at.is_none());
        // Declared again with another queue: the row is planned anew, but the task does not run again.
        (row.record.planned, row.record.version) = (false, row.record.version + 1);
        row.wait(HOUR);
        assert_eq!(row.runs.len(), 1);
    }
    // A one-off whose time passed while it was paused runs after it is resumed, within the window.
    let mut row = Row::new("@at 2026-11-02T05:00:00Z", |_| {});
    row.record.paused = true;
    row.wait(HOUR * 8);
    assert!(row.runs.is_empty());
    (row.record.paused, row.record.planned) = (false, false);
    row.look();
    assert_eq!(row.times(RunOutcome::Enqueued), ["2026-11-02T05:00:00Z"]);
}

#[test]
fn bounds_are_kept() {
    let mut row = Row::new("0 * * * *", |new| {
        new.starts_at = Some(at("2026-11-02T03:00:00Z"));
        new.ends_at = Some(at("2026-11-02T06:00:00Z"));
    });
    for _ in 0..20 {
        row.wait(HOUR);
        row.end_all(TaskState::Done);
    }
    assert_eq!(row.times(RunOutcome::Enqueued).len(), 4, "{:?}", row.runs);
    assert!(row.record.ended);
    let mut row = Row::new("@every 1h", |new| (new.runs_max, new.overlap) = (Some(3), Overlap::Allow));
    for _ in 0..20 {
        row.wait(HOUR);
    }
    assert_eq!(row.count(RunOutcome::Enqueued), 3);
    assert!(row.record.ended);
}

#[test]
fn jitter_moves_the_start_and_never_up_to_the_next_time() {
    let start = |draw: f64| {
        let mut row = Row::new("0 * * * *", |new| new.jitter = HOUR * 5);
        row.look();
        row.now = at("2026-11-02T01:00:00Z");
        let tick = plan(&row.due(), row.now, &mut || draw).unwrap();
        tick.tasks().next().unwrap().start
    };
    assert_eq!(start(0.0), Start::At(at("2026-11-02T01:00:00Z")));
    assert_eq!(start(0.5), Start::At(at("2026-11-02T01:29:59.5Z")));
    assert_eq!(start(1.0), Start::At(at("2026-11-02T01:59:59Z")));
}

#[test]
fn a_run_that_fails_never_ends_its_schedule_unless_it_is_told_to_pause() {
    let mut row = Row::new("0 * * * *", |_| {});
    for _ in 0..50 {
        row.wait(HOUR);
        row.end_all(TaskState::Failed);
    }
    assert_eq!(row.count(RunOutcome::Enqueued), 50);
    assert_eq!(row.record.failures, 49);
    let mut row = Row::new("0 * * * *", |new| new.pause_after_failures = Some(3));
    for _ in 0..10 {
        row.wait(HOUR);
        row.end_all(TaskState::Failed);
    }
    assert_eq!(row.count(RunOutcome::Enqueued), 3);
    assert!(row.record.paused);
    // After it is resumed it pauses again after the same number of further failures, but not after other ends.
    (row.record.paused, row.record.planned, row.record.failures) = (false, false, 0);
    for _ in 0..10 {
        row.wait(HOUR);
        row.end_all(TaskState::Failed);
    }
    assert_eq!(row.count(RunOutcome::Enqueued), 6);
}

#[test]
fn a_task_that_is_gone_holds_nothing_up() {
    let mut row = Row::new("0 * * * *", |_| {});
    row.wait(HOUR);
    row.tasks.clear();
    row.wait(HOUR);
    assert_eq!(row.count(RunOutcome::Enqueued), 2);
}

#[test]
fn a_row_that_cannot_be_planned_is_set_aside_with_the_reason() {
    let cases = [("61 * * * *", "UTC", "61"), ("0 0 30 2 *", "UTC", "February"), ("@daily", "Mars/Base", "Mars")];
    for (rule, zone, word) in cases {
        let mut row = Row::new("@daily", |_| {});
        (row.record.definition.rule, row.record.definition.zone) = (rule.into(), zone.into());
        row.look();
        assert!(row.record.problem.as_deref().unwrap().contains(word), "{:?}", row.record.problem);
        row.wait(HOUR * 100);
        assert!(row.runs.is_empty() && row.record.state() == "broken");
    }
}

#[test]
fn a_person_may_run_it_at_any_time() {
    let mut row = Row::new("0 0 1 1 *", |_| {});
    row.look();
    row.record.paused = true;
    for expected in 1..=3 {
        let tick = plan_manual(&row.due(), row.now);
        assert!(row.apply(tick));
        assert_eq!(row.running().len(), expected);
    }
    assert!(row.runs.iter().all(|run| run.manual));
    assert_eq!(row.record.next_at, Some(at("2027-01-01T00:00:00Z")), "its own times stay");
}

#[test]
fn the_start_of_a_server_runs_what_runs_then_and_follows_a_zone_whose_rules_changed() {
    let mut row = Row::new("@reboot", |_| {});
    row.look();
    assert!(row.runs.is_empty() && !row.record.ended);
    let tick = plan_start(&row.due(), row.now, &mut || 0.0).unwrap();
    assert!(row.apply(tick));
    assert_eq!(row.running().len(), 1);
    row.wait(HOUR * 48);
    assert_eq!(row.running().len(), 1);
    let mut row = Row::new("0 3 * * *", |new| new.zone = "Europe/Berlin".into());
    row.look();
    assert_eq!(plan_start(&row.due(), row.now, &mut || 0.0), None);
    row.record.next_at = Some(at("2026-11-02T01:00:00Z"));
    let tick = plan_start(&row.due(), row.now, &mut || 0.0).unwrap();
    assert_eq!(tick.next_at, Some(at("2026-11-02T02:00:00Z")));
    assert!(tick.runs.is_empty());
}

#[test]
fn however_many_servers_look_each_time_is_decided_once() {
    for seed in 0..400 {
        simulate(seed, true).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn without_the_fence_it_would_not_be() {
    assert!((0..20).any(|seed| simulate(seed, false).is_err()));
}

#[test]
fn a_one_off_that_was_another_rule_before_survives_the_start_of_a_server() {
    let mut row = Row::new("@every 1m", |_| {});
    row.wait(Duration::from_secs(60));
    row.record.definition.rule = "@after 1h".into();
    (row.record.planned, row.record.planned_from, row.record.version) = (false, row.now, row.record.version + 1);
    row.look();
    let next = row.record.next_at;
    assert_eq!(next, row.now.checked_add(HOUR).ok());
    assert_eq!(plan_start(&row.due(), row.now, &mut || 0.0), None);
    row.end_all(TaskState::Done);
    row.wait(HOUR);
    assert_eq!((row.record.last_at, row.record.ended), (next, true));
}

#[test]
fn a_run_asked_for_leaves_the_rule_to_be_planned() {
    let mut row = Row::new("@every 1h", |_| {});
    let tick = plan_manual(&row.due(), row.now);
    assert!(row.apply(tick) && !row.record.planned);
    row.look();
    assert_eq!(row.record.next_at, row.now.checked_add(HOUR).ok());
}

#[test]
fn what_runs_at_each_start_keeps_to_its_overlap_and_its_bounds() {
    let start = |row: &mut Row| {
        if let Some(tick) = plan_start(&row.due(), row.now, &mut || 0.0) {
            assert!(row.apply(tick));
        }
    };
    let mut row = Row::new("@reboot", |new| new.overlap = Overlap::QueueOne);
    row.look();
    start(&mut row);
    start(&mut row);
    assert_eq!((row.count(RunOutcome::Enqueued), row.count(RunOutcome::Held)), (1, 1));
    row.end_all(TaskState::Done);
    start(&mut row);
    assert_eq!((row.running().len(), row.count(RunOutcome::Held)), (1, 1), "the held one begins, the new one waits");
    let mut row = Row::new("@reboot", |new| new.ends_at = Some(at("2026-01-01T00:00:00Z")));
    row.look();
    start(&mut row);
    assert!(row.runs.is_empty());
}

/// Simulates several servers that plan, delay, die and come back, jumps of the clock, and runs of varying duration. In
/// any case every time of the rule has been decided once, in order.
fn simulate(seed: u64, is_fenced: bool) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let rule = ["*/7 * * * *", "30 2 * * *", "@every 11m", "0 */3 * * MON-FRI"][random.random_range(0..4)];
    let overlap = Overlap::ALL[random.random_range(0..Overlap::ALL.len())];
    let catch_up = CatchUp::ALL[random.random_range(0..CatchUp::ALL.len())];
    let mut row = Row::new(rule, |new| {
        (new.overlap, new.catch_up) = (overlap, catch_up);
        new.zone = "America/New_York".into();
        new.catch_up_window = HOUR * 6;
    });
    row.is_fenced = is_fenced;
    row.now = at("2026-10-30T00:00:00Z");
    (row.record.created_at, row.record.planned_from) = (row.now, row.now);
    let begin = row.now;
    // The planned tick of each of three servers that is not written yet.
    let mut looked: [Option<Tick>; 3] = Default::default();
    for _ in 0..600 {
        let server = random.random_range(0..3);
        match random.random_range(0..10) {
            0..=2 => {
                let by = Duration::from_secs(random.random_range(1..3_000));
                row.now = row.now.checked_add(by).unwrap();
            }
            // The database's clock is set back.
            3 if random.random_range(0..20) == 0 => row.now = row.now.checked_sub(HOUR).unwrap(),
            3..=5 => looked[server] = plan(&row.due(), row.now, &mut || random.random::<f64>()),
            6..=7 => {
                if let Some(tick) = looked[server].take() {
                    let cancel = tick.cancel.clone();
                    if row.apply(tick) {
                        cancel.into_iter().for_each(|task| row.end(task, TaskState::Cancelled));
                    }
                }
            }
            8 => looked[server] = None,
            _ => row.end_all(if random.random() { TaskState::Done } else { TaskState::Failed }),
        }
    }
    row.look();
    let clock = Clock::of(&row.record).unwrap();
    let expected: Vec<Timestamp> = clock.times(begin).take_while(|at| Some(*at) < row.record.next_at).collect();
    let mut decided = Vec::new();
    for run in &row.runs {
        let mut time = Some(run.fire_at);
        for _ in 0..run.count {
            decided.extend(time);
            time = time.and_then(|time| clock.after(time));
        }
        if Some(&run.until.unwrap_or(run.fire_at)) != decided.last() {
            return Err(format!("{run:?} does not stand for {} times", run.count));
        }
    }
    let what = format!("{rule}, overlap {overlap}, catch up {catch_up}");
    if decided != expected {
        return Err(format!("{what}: {} times decided, {} expected", decided.len(), expected.len()));
    }
    let enqueued = row.runs.iter().filter(|run| run.task.is_some()).count();
    if enqueued != row.tasks.len() || enqueued as u64 != row.record.runs {
        return Err(format!("{what}: {enqueued} runs enqueued, {} tasks", row.tasks.len()));
    }
    Ok(())
}
