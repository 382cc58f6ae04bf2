//! Decides what is due for a schedule: a pure function of its row, its open runs and the database's time.
//!
//! In this order: ended runs are settled; a held run is released if nothing runs; each time that has passed since the
//! last pass is enqueued, held, skipped or missed; the next time is computed. Nothing is written here. The write
//! presents the version on which the plan was made.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::rule::{Clock, Rule};
use super::{
    CATCH_UP_MAX, CatchUp, DueSchedule, HELD_MAX, NewSchedule, ON_TIME_MAX, OpenRun, Overlap, RunOutcome,
    ScheduleRecord, SettledRun, Tick, TickRun,
};
use crate::payload::shown;
use crate::task::{NewTask, Start};
use crate::{Result, TaskId, TaskState, Timestamp};

/// Missed times are counted up to this number.
const COUNT_MAX: u32 = 10_000;

/// Plans one schedule. Returns `None` if there is nothing to write. `draw` returns random numbers in `0.0..1.0`.
pub fn plan(due: &DueSchedule, now: Timestamp, draw: &mut dyn FnMut() -> f64) -> Option<Tick> {
    let mut planner = Planner::new(due, now, draw);
    planner.settle();
    if let Err(error) = planner.look() {
        planner.tick.problem = Some(error.to_string());
        planner.tick.next_at = None;
    }
    planner.finish()
}

/// Plans the start of a server: enqueues the run of an `@reboot` schedule, and computes the next time again, since the
/// rules of the time zone may have changed. Returns `None` if there is nothing to write.
pub fn plan_start(due: &DueSchedule, now: Timestamp, draw: &mut dyn FnMut() -> f64) -> Option<Tick> {
    let record = &due.record;
    if record.paused || record.ended || record.problem.is_some() || !record.planned {
        return plan(due, now, draw);
    }
    let clock = Clock::of(record).ok()?;
    let mut planner = Planner::new(due, now, draw);
    if *clock.rule() == Rule::Reboot {
        planner.settle();
        if planner.tick.paused {
            return planner.finish();
        }
        planner.release();
        let NewSchedule { starts_at, ends_at, .. } = &record.definition;
        if starts_at.is_none_or(|start| now >= start) && ends_at.is_none_or(|end| now <= end) {
            planner.decide(now, false, &clock);
        }
        return planner.finish();
    }
    // Times that are due already are left to the next pass.
    let stored = record.next_at.filter(|next| *next > now)?;
    let next = next_time(record, &clock);
    if next == Some(stored) {
        return None;
    }
    planner.tick.next_at = next;
    planner.tick.ended = next.is_none();
    planner.finish()
}

/// Returns the next time of a schedule whose row was changed since it was planned.
fn next_time(record: &ScheduleRecord, clock: &Clock) -> Option<Timestamp> {
    match record.last_at {
        None => clock.first(record.planned_from),
        // A one-off that has run does not run again, whenever its row was changed.
        Some(last) if clock.rule().is_once() => clock.first(record.planned_from).filter(|at| *at > last),
        Some(last) => clock.after(last.max(record.planned_from)),
    }
}

/// Plans a run requested by hand, regardless of the rule and of open runs. Scheduled times are left to the next pass.
pub fn plan_manual(due: &DueSchedule, now: Timestamp) -> Tick {
    let mut draw = || 0.0;
    let mut planner = Planner::new(due, now, &mut draw);
    planner.tick.planned = due.record.planned;
    planner.settle();
    let task = task(&due.record, now);
    let outcome = RunOutcome::Enqueued;
    planner.tick.runs.push(TickRun { fire_at: now, until: None, count: 1, outcome, manual: true, task: Some(task) });
    planner.tick
}

/// Returns the task of a run: the schedule's, with a new id, and with the scheduled time in its context.
fn task(record: &ScheduleRecord, fire_at: Timestamp) -> NewTask {
    let mut task = NewTask { id: TaskId::generate(), ..record.definition.task.clone() };
    let stored = task.context.as_deref().unwrap_or(b"{}");
    // Other values are copied as text, so that no number changes.
    if let Ok(mut context) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(stored) {
        let about = serde_json::json!({ "name": record.definition.name, "fire_at": fire_at.to_string() });
        context.insert("schedule".into(), shown::value(&about));
        task.context = serde_json::to_vec(&context).ok();
    }
    task
}

struct Planner<'a> {
    record: &'a ScheduleRecord,
    now: Timestamp,
    draw: &'a mut dyn FnMut() -> f64,
    /// Running tasks of the schedule, including those that this tick enqueues.
    running: Vec<Option<TaskId>>,
    held: Vec<&'a OpenRun>,
    /// Number of runs that this tick holds.
    new_held: usize,
    open: &'a [OpenRun],
    tick: Tick,
}

impl<'a> Planner<'a> {
    fn new(due: &'a DueSchedule, now: Timestamp, draw: &'a mut dyn FnMut() -> f64) -> Self {
        let record = &due.record;
        Self {
            record,
            now,
            draw,
            running: Vec::new(),
            held: due.open.iter().filter(|run| run.task.is_none()).collect(),
            new_held: 0,
            open: &due.open,
            tick: Tick {
                name: record.definition.name.clone(),
                version: record.version,
                planned: true,
                paused: record.paused,
                ended: record.ended,
                problem: record.problem.clone(),
                next_at: record.next_at,
                last_at: record.last_at,
                failures: record.failures,
                last_state: record.last_state,
                settled: Vec::new(),
                released: Vec::new(),
                dropped: Vec::new(),
                runs: Vec::new(),
                cancel: Vec::new(),
            },
        }
    }

    /// Returns the tick if it changes anything.
    fn finish(self) -> Option<Tick> {
        let (record, tick) = (self.record, self.tick);
        let changed = tick.paused != record.paused
            || tick.ended != record.ended
            || tick.problem != record.problem
            || tick.next_at != record.next_at
            || tick.last_at != record.last_at
            || !record.planned
            || !(tick.settled.is_empty()
                && tick.released.is_empty()
                && tick.dropped.is_empty()
                && tick.runs.is_empty());
        changed.then_some(tick)
    }

    /// Records the ends of runs.
    fn settle(&mut self) {
        for run in self.open.iter().filter(|run| run.task.is_some()) {
            if !run.is_over() {
                self.running.push(run.task);
                continue;
            }
            match run.state {
                Some(TaskState::Failed) => self.tick.failures += 1,
                Some(TaskState::Done) => self.tick.failures = 0,
                _ => {}
            }
            self.tick.last_state = run.state.or(self.tick.last_state);
            let OpenRun { sequence, state, finished_at, ref error, .. } = *run;
            self.tick.settled.push(SettledRun { sequence, state, finished_at, error: error.clone() });
        }
        let limit = self.record.definition.pause_after_failures;
        // Only a new failure pauses it: another end of a run, after the schedule was resumed, does not pause it again.
        let has_failed = self.tick.failures > self.record.failures;
        if has_failed && limit.is_some_and(|limit| self.tick.failures >= limit) {
            self.tick.paused = true;
        }
    }

    fn look(&mut self) -> Result<()> {
        if self.tick.paused || self.record.problem.is_some() {
            return Ok(());
        }
        // Held runs were due before those that are due now.
        self.release();
        if self.tick.ended {
            return Ok(());
        }
        let clock = Clock::of(self.record)?;
        let next = if self.record.planned { self.record.next_at } else { next_time(self.record, &clock) };
        self.tick.next_at = next;
        if let Some(next) = next.filter(|next| *next <= self.now) {
            self.passed(next, &clock);
        }
        let ends_at = self.record.definition.ends_at;
        let is_past = |at: Timestamp| ends_at.is_some_and(|end| at > end);
        let spent = self.record.definition.runs_max.is_some_and(|most| self.runs() >= u64::from(most));
        if spent || (*clock.rule() != Rule::Reboot && self.tick.next_at.is_none_or(is_past)) {
            self.tick.ended = true;
            self.tick.next_at = None;
        }
        Ok(())
    }

    /// Returns the number of tasks it has enqueued, including those of this tick and its held runs.
    fn runs(&self) -> u64 {
        self.record.runs + self.tick.tasks().count() as u64 + (self.held.len() + self.new_held) as u64
    }

    /// Releases a held run if nothing is running.
    fn release(&mut self) {
        if self.running.is_empty() && !self.held.is_empty() {
            let run = self.held.remove(0);
            let task = task(self.record, run.fire_at);
            self.running.push(None);
            self.tick.released.push((run.sequence, task));
        }
    }

    /// Decides the times from `next` up to now.
    fn passed(&mut self, next: Timestamp, clock: &Clock) {
        let definition = &self.record.definition;
        let end = definition.ends_at.map_or(self.now, |end| end.min(self.now));
        let on_time = self.now.checked_sub(ON_TIME_MAX).unwrap_or(Timestamp::MIN);
        let mut decided = 0;
        let mut at = Some(next);
        if next < on_time && next <= end {
            let last = clock.last_until(end.min(before(on_time))).filter(|last| *last > next).unwrap_or(next);
            let following = clock.after(last);
            let window = self.now.checked_sub(definition.catch_up_window).unwrap_or(Timestamp::MIN);
            match definition.catch_up {
                CatchUp::All if last >= window => {
                    self.miss(next, window, clock);
                    at = if next >= window { Some(next) } else { clock.after(before(window)) };
                    while let Some(fire_at) = at.filter(|at| *at <= last && decided < CATCH_UP_MAX) {
                        self.decide(fire_at, true, clock);
                        decided += 1;
                        at = clock.after(fire_at);
                    }
                }
                // A run that is on time stands for all missed ones.
                CatchUp::One if last >= window && following.is_none_or(|at| at > end) => {
                    self.miss(next, last, clock);
                    self.decide(last, false, clock);
                    at = following;
                }
                _ => {
                    self.miss(next, after(last), clock);
                    at = following;
                }
            }
        }
        while let Some(fire_at) = at.filter(|at| *at <= end && decided < CATCH_UP_MAX) {
            self.decide(fire_at, false, clock);
            decided += 1;
            at = clock.after(fire_at);
        }
        // Times that are left over are due at once.
        self.tick.next_at = at;
    }

    /// Records the times from `first` on that are before `until` as missed, in one row.
    fn miss(&mut self, first: Timestamp, until: Timestamp, clock: &Clock) {
        let (mut count, mut last, mut at) = (0, first, Some(first));
        while let Some(missed) = at.filter(|at| *at < until && count < COUNT_MAX) {
            (count, last) = (count + 1, missed);
            at = clock.after(missed);
        }
        if count == 0 {
            return;
        }
        if at.is_some_and(|at| at < until) {
            last = clock.last_until(before(until)).unwrap_or(last);
        }
        let (outcome, until) = (RunOutcome::Missed, (count > 1).then_some(last));
        self.tick.runs.push(TickRun { fire_at: first, until, count, outcome, manual: false, task: None });
        self.tick.last_at = Some(last);
    }

    /// Decides one time.
    fn decide(&mut self, fire_at: Timestamp, catching_up: bool, clock: &Clock) {
        let definition = &self.record.definition;
        self.tick.last_at = Some(fire_at);
        if definition.runs_max.is_some_and(|most| self.runs() >= u64::from(most)) {
            return;
        }
        let waiting = self.held.len() + self.new_held;
        let free = self.running.is_empty() && waiting == 0;
        let outcome = match definition.overlap {
            Overlap::Allow => RunOutcome::Enqueued,
            _ if free => RunOutcome::Enqueued,
            // Every missed run has to be executed; they wait for one another.
            Overlap::Skip if catching_up && waiting < HELD_MAX => RunOutcome::Held,
            Overlap::Skip => RunOutcome::Skipped,
            Overlap::QueueOne if waiting == 0 => RunOutcome::Held,
            Overlap::QueueOne => RunOutcome::Skipped,
            Overlap::QueueAll if waiting < HELD_MAX => RunOutcome::Held,
            Overlap::QueueAll => RunOutcome::Skipped,
            Overlap::CancelRunning => {
                self.tick.cancel.extend(self.running.iter().flatten());
                self.tick.dropped.extend(self.held.drain(..).map(|run| run.sequence));
                let held = self.tick.runs.iter_mut().filter(|run| run.outcome == RunOutcome::Held);
                held.for_each(|run| run.outcome = RunOutcome::Skipped);
                self.new_held = 0;
                RunOutcome::Held
            }
        };
        let enqueued = (outcome == RunOutcome::Enqueued).then(|| self.begin(fire_at, clock));
        self.new_held += usize::from(outcome == RunOutcome::Held);
        self.tick.runs.push(TickRun { fire_at, until: None, count: 1, outcome, manual: false, task: enqueued });
    }

    /// Returns the task of a run that starts, delayed by the jitter.
    fn begin(&mut self, fire_at: Timestamp, clock: &Clock) -> NewTask {
        self.running.push(None);
        let mut task = task(self.record, fire_at);
        let jitter = self.record.definition.jitter;
        if !jitter.is_zero() {
            let room = clock.after(fire_at).and_then(|next| Duration::try_from(next.duration_since(fire_at)).ok());
            // The delay ends before the next time.
            let most = room.map_or(jitter, |room| jitter.min(room.saturating_sub(Duration::from_secs(1))));
            let start = fire_at.checked_add(most.mul_f64((self.draw)().clamp(0.0, 1.0)));
            task.start = start.map_or(Start::Now, Start::At);
        }
        task
    }
}

/// Returns the instant just after this one.
fn after(at: Timestamp) -> Timestamp {
    at.checked_add(Duration::from_micros(1)).unwrap_or(at)
}

/// Returns the instant just before this one.
fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(Duration::from_micros(1)).unwrap_or(at)
}
