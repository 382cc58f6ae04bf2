//! Derives the events of a watched task from its snapshots, and numbers them. No I/O.
//!
//! # The sequence
//! A number is derived from stored data, so that every process assigns the same one. Its high 28 bits are the era: 4n
//! plus 0 while attempt n runs, 1 after it ended with more attempts to come (0 before the first attempt), 2 once the
//! task has ended, 3 after a manual retry of an ended task. The low 36 bits order the events within an era. While an
//! attempt runs, they are four times the milliseconds from the beginning of its wait (the end of the previous attempt,
//! or the addition) to its start, or to its latest progress; otherwise they identify what the task waits for. Until
//! attempt 32,768 a number is also exact as a float.
//!
//! Changes that leave no trace cannot be counted: a start that was taken back (released, parked), and a manual retry of
//! a task that never ran. Such a state is numbered from the number that the watcher has seen last ([`EventSequencer::place`]):
//! again the same in every process, and higher than that.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::Progress;
use super::event::{Event, EventKind, status};
use crate::context::Context;
use crate::store::{EndedAttempt, SnapshotRequest, TaskSnapshot};
use crate::task::AttemptOutcome;
use crate::{Failure, TaskId, TaskState, WaitReason};

const ERA_BITS: u32 = 36;
/// Range of milliseconds within an era: 198 days.
const MILLIS_MAX: u64 = (1 << (ERA_BITS - 2)) - 1;

/// The last snapshot of a task, with all of its ended attempts that a watcher may still need.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct EventSequencer {
    snapshot: TaskSnapshot,
    /// Attempts that ended without ending the task, by number.
    ended: BTreeMap<u32, EndedAttempt>,
    /// The ends of attempts up to this number may be missing here.
    floor: u32,
    progress: Option<Progress>,
    /// Fingerprint of the progress entry: changes that the parsed fields do not show count too.
    fingerprint: u64,
}

impl EventSequencer {
    /// Builds the state from a new snapshot, the state `before` it, and the number `known` up to which attempts were
    /// omitted.
    pub fn of(mut snapshot: TaskSnapshot, before: Option<&Self>, known: u32) -> Self {
        let mut ended = before.map(|before| before.ended.clone()).unwrap_or_default();
        // The last two attempts are always included.
        let told = known.min(snapshot.attempt.saturating_sub(2));
        let floor = before.map_or(told, |before| before.floor.min(told));
        for attempt in snapshot.ended.drain(..) {
            ended.insert(attempt.number, attempt);
        }
        let same = |before: &&Self| {
            snapshot.context.is_none() && before.snapshot.context_revision == snapshot.context_revision
        };
        let (progress, fingerprint) = match (before.filter(same), snapshot.context.take()) {
            (Some(before), _) => (before.progress.clone(), before.fingerprint),
            (None, bytes) => read(bytes.as_deref()),
        };
        Self { snapshot, ended, floor, progress, fingerprint }
    }

    /// Returns the next request: everything that is not known here, with the ends of attempts above `floor`.
    pub fn next(id: TaskId, before: Option<&Self>, floor: u32) -> SnapshotRequest {
        match before {
            Some(before) if before.floor <= floor => SnapshotRequest {
                id,
                attempts_known: before.ended.keys().next_back().copied().unwrap_or(0).max(before.floor),
                context_known: before.snapshot.context_revision,
            },
            _ => SnapshotRequest {
                id,
                attempts_known: floor,
                context_known: before.and_then(|before| before.snapshot.context_revision),
            },
        }
    }

    /// Returns whether the ends of attempts above `floor` are known.
    pub fn reaches(&self, floor: u32) -> bool {
        self.floor <= floor
    }

    pub fn state(&self) -> TaskState {
        self.snapshot.state
    }

    pub fn is_final(&self) -> bool {
        self.snapshot.state.is_final()
    }

    /// Returns a number that distinguishes progress entries.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Returns the number of the last attempt that ended without ending the task.
    fn last_ended(&self) -> u32 {
        self.ended.values().rev().find(|attempt| !self.is_end(attempt)).map_or(0, |attempt| attempt.number)
    }

    /// Returns whether this attempt ended the task: the last attempt of a dead letter has a row too.
    fn is_end(&self, attempt: &EndedAttempt) -> bool {
        self.is_final() && attempt.number == self.snapshot.attempt && attempt.ended_at == self.snapshot.finished_at
    }

    /// Returns the number of the current state, for a watcher that has seen `since`.
    pub fn place(&self, since: Option<u64>) -> u64 {
        let snapshot = &self.snapshot;
        if snapshot.state.is_final() {
            return ((4 * u64::from(snapshot.attempt) + 2) << ERA_BITS) | end_rank(snapshot.state);
        }
        if snapshot.state == TaskState::Doing {
            let here = self.running(snapshot.attempt, snapshot.started_at, self.lasted());
            // Never decreases: the clocks of two machines may differ.
            return match since {
                Some(since) if era(since) == era(here) && was_taken_back(since) => here.max((since & !3) + 4),
                Some(since) if era(since) == era(here) => here.max(since),
                _ => here,
            };
        }
        let ended = self.last_ended();
        let rank = rank(snapshot.state, snapshot.wait_reason);
        match since {
            // The start was taken back.
            Some(since) if era(since) == 4 * (u64::from(ended) + 1) => {
                (since & !3) | if snapshot.state == TaskState::Enqueued { 2 } else { 1 }
            }
            // The task had ended, and was retried.
            Some(since) if matches!(era(since).checked_sub(4 * u64::from(ended)), Some(2 | 3)) => {
                ((4 * u64::from(ended) + 3) << ERA_BITS) | rank
            }
            _ if ended == 0 => rank,
            // The end of the attempt implies this wait.
            _ if snapshot.wait_reason == Some(WaitReason::Retry) => after(ended),
            _ => after(ended) | rank,
        }
    }

    /// Returns the number of a running attempt, `lasted` milliseconds after its start.
    fn running(&self, attempt: u32, started_at: Option<Timestamp>, lasted: u64) -> u64 {
        let before = attempt.checked_sub(1).and_then(|before| self.ended.get(&before));
        let begin = before.and_then(|before| before.ended_at).unwrap_or(self.snapshot.created_at);
        let waited = started_at.map_or(0, |at| at.as_millisecond().saturating_sub(begin.as_millisecond()));
        let millis = u64::try_from(waited).unwrap_or(0).saturating_add(lasted).min(MILLIS_MAX);
        (4 * u64::from(attempt)) << ERA_BITS | millis << 2
    }

    /// Returns the milliseconds from the start of the running attempt to its latest progress.
    fn lasted(&self) -> u64 {
        let Some(progress) = self.progress.as_ref().filter(|progress| self.is_of_now(progress)) else { return 0 };
        let elapsed = progress.elapsed.map_or(0, |elapsed| (elapsed.clamp(0.0, 1e12) * 1_000.0) as u64);
        let updated = progress.updated_at.zip(self.snapshot.started_at);
        let updated = updated.map_or(0, |(at, start)| at.as_millisecond().saturating_sub(start.as_millisecond()));
        // A worker's clock may be behind the database's, but the elapsed time that it measures is not.
        elapsed.max(u64::try_from(updated).unwrap_or(0))
    }

    fn is_of_now(&self, progress: &Progress) -> bool {
        progress.attempt.is_none_or(|attempt| attempt == self.snapshot.attempt)
    }

    /// Returns the current state as an event.
    pub fn now(&self, kind: EventKind, seq: u64) -> Event {
        let snapshot = &self.snapshot;
        let ts = match snapshot.state {
            state if state.is_final() => snapshot.finished_at,
            TaskState::Doing if kind == EventKind::Progress => {
                self.progress.as_ref().and_then(|progress| progress.updated_at).or(snapshot.started_at)
            }
            TaskState::Doing => snapshot.started_at,
            _ => self.ended.values().next_back().and_then(|last| last.ended_at),
        };
        Event { ts: ts.unwrap_or(snapshot.created_at), progress: self.progress.clone(), ..self.bare(kind, seq) }
    }

    fn bare(&self, kind: EventKind, seq: u64) -> Event {
        let snapshot = &self.snapshot;
        // An error that was overcome does not apply to the current state.
        let error = snapshot.error.clone().filter(|_| !matches!(snapshot.state, TaskState::Done));
        Event {
            kind,
            task_id: snapshot.id,
            seq,
            state: snapshot.state,
            status: status(snapshot.state, snapshot.wait_reason, error.as_ref(), snapshot.failures),
            wait_reason: snapshot.wait_reason,
            attempt: snapshot.attempt,
            progress: None,
            error,
            run_at: snapshot.run_at,
            created_at: snapshot.created_at,
            started_at: snapshot.started_at,
            finished_at: snapshot.finished_at,
            ts: snapshot.created_at,
        }
    }

    /// Returns all events after `since`, in order: every stored state change, and the latest progress.
    pub fn after(&self, since: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for attempt in self.ended.values().filter(|attempt| !self.is_end(attempt)) {
            let started = self.running(attempt.number, attempt.started_at, 0);
            if era(since) < era(started) {
                events.push(self.past(false, started, attempt));
            }
            if after(attempt.number) > since {
                events.push(self.past(true, after(attempt.number), attempt));
            }
        }
        let snapshot = &self.snapshot;
        let mut told = events.last().map_or(since, |event| event.seq);
        let runs_or_ran = snapshot.attempt > self.last_ended() && snapshot.started_at.is_some();
        if runs_or_ran && (snapshot.state == TaskState::Doing || snapshot.state.is_final()) {
            let started = self.running(snapshot.attempt, snapshot.started_at, 0);
            let again = era(told) == era(started) && was_taken_back(told);
            let is_new = if self.is_final() { era(told) < era(started) } else { started > told };
            if is_new || again {
                told = if again { started.max((told & !3) + 4) } else { started };
                events.push(self.begun(told));
            }
        }
        let here = self.place(Some(told));
        if let Some(kind) = EventKind::of_end(snapshot.state) {
            if here != since {
                events.push(self.now(kind, here));
            }
        } else if here > told {
            let kind = if snapshot.state == TaskState::Doing { EventKind::Progress } else { EventKind::Status };
            events.push(self.now(kind, here));
        }
        if events.is_empty() && here < since {
            // The watcher has seen a state that is not stored: a fail-over, or a number from another source.
            events.push(self.now(EventKind::Snapshot, here));
        }
        events
    }

    /// Returns progress without a time of its own, which changed since the previous snapshot without changing the
    /// number.
    pub fn unnumbered(&self, before: &Self, told: u64) -> Option<Event> {
        let is_further = self.snapshot.state == TaskState::Doing
            && self.progress.is_some()
            && self.fingerprint != before.fingerprint
            && before.snapshot.state == TaskState::Doing;
        is_further.then(|| self.now(EventKind::Progress, self.place(Some(told))))
    }

    /// Returns the latest progress, for a watcher that resumes at a number that several progress events share.
    pub fn ambiguous(&self, since: u64, seen: Option<u64>) -> Option<Event> {
        let progress = self.progress.as_ref().filter(|progress| self.is_of_now(progress))?;
        let is_ambiguous = self.snapshot.state == TaskState::Doing
            && self.place(Some(since)) == since
            && (progress.elapsed.is_none() || seen.is_some())
            && seen != Some(self.fingerprint);
        is_ambiguous.then(|| self.now(EventKind::Progress, since))
    }

    /// Returns the start of the attempt that is running, or that ended the task.
    fn begun(&self, seq: u64) -> Event {
        let ts = self.snapshot.started_at.unwrap_or(self.snapshot.created_at);
        Event {
            state: TaskState::Doing,
            status: status(TaskState::Doing, None, None, 0),
            wait_reason: None,
            progress: self.progress.clone().filter(|_| !self.is_final()),
            error: None,
            finished_at: None,
            ts,
            ..self.bare(EventKind::Status, seq)
        }
    }

    /// Returns the start or the end of an attempt that is over and did not end its task.
    fn past(&self, is_end: bool, seq: u64, attempt: &EndedAttempt) -> Event {
        let is_last = attempt.number == self.last_ended();
        let waits = is_last && self.snapshot.state == TaskState::Waiting;
        // A snoozed attempt has not failed: the task runs again, but this is not a retry.
        let snoozed = attempt.outcome == AttemptOutcome::Snoozed;
        let (state, wait_reason) = match is_end {
            false => (TaskState::Doing, None),
            true if waits => (TaskState::Waiting, self.snapshot.wait_reason),
            true if is_last && self.snapshot.state == TaskState::Enqueued => (TaskState::Enqueued, None),
            true => (TaskState::Waiting, Some(WaitReason::Retry)),
        };
        let (kind, word) = match is_end {
            false => (EventKind::Status, status(state, wait_reason, None, 0)),
            true if snoozed => (EventKind::Status, "scheduled"),
            true => (EventKind::Retry, "retrying"),
        };
        let error: Option<Failure> = attempt.error.clone().filter(|_| is_end);
        let ended_at = attempt.ended_at.filter(|_| is_end);
        let ts = if is_end { attempt.ended_at } else { attempt.started_at };
        Event {
            state,
            status: word,
            wait_reason,
            attempt: attempt.number,
            error,
            run_at: self.snapshot.run_at.filter(|_| waits),
            started_at: attempt.started_at,
            finished_at: ended_at,
            ts: ts.unwrap_or(self.snapshot.created_at),
            ..self.bare(kind, seq)
        }
    }
}

/// Returns the number above which the ends of attempts are needed to resume at `since`.
pub(super) fn floor_of(since: Option<u64>) -> u32 {
    // Including the end before them, from which their numbers are computed.
    since.map_or(u32::MAX, |since| u32::try_from(era(since) / 4).unwrap_or(u32::MAX).saturating_sub(2))
}

fn era(seq: u64) -> u64 {
    seq >> ERA_BITS
}

/// Returns the number of the end of an attempt that did not end its task.
fn after(attempt: u32) -> u64 {
    (4 * u64::from(attempt) + 1) << ERA_BITS
}

/// Returns whether this number, of an era in which an attempt runs, is that of a start that was taken back.
fn was_taken_back(seq: u64) -> bool {
    seq & 3 != 0
}

/// Ranks reasons in the order in which a task usually waits for them.
fn rank(state: TaskState, reason: Option<WaitReason>) -> u64 {
    match (state, reason) {
        (TaskState::Enqueued, _) => 6,
        (_, Some(WaitReason::Unsettled)) => 1,
        (_, Some(WaitReason::Parents)) => 2,
        (_, Some(WaitReason::Parked)) => 5,
        (_, Some(WaitReason::Retry)) => 4,
        (_, Some(WaitReason::Time) | None) => 3,
    }
}

/// A stopped task may still be cancelled. The gaps leave a number for the snapshot before each end.
fn end_rank(state: TaskState) -> u64 {
    match state {
        TaskState::Stopped => 1,
        TaskState::Cancelled => 3,
        _ => 2,
    }
}

/// Reads the progress entry of a context. An invalid entry is ignored.
fn read(context: Option<&[u8]>) -> (Option<Progress>, u64) {
    use std::hash::{DefaultHasher, Hasher as _};
    let context = context.and_then(|bytes| Context::from_bytes(bytes).ok());
    let Some(entry) = context.as_ref().and_then(|context| context.get("progress")) else { return (None, 0) };
    let mut hasher = DefaultHasher::new();
    hasher.write(entry.to_string().as_bytes());
    // Half of the bits are enough, and exact in the numbers of every language.
    let fingerprint = hasher.finish() & u64::from(u32::MAX) | 1;
    (context.as_ref().and_then(|context| Progress::from_context(context.as_map())), fingerprint)
}
