//! Upkeep by any server: due tasks, rescue, parking, pruning.

use taskyard_core::task::AttemptOutcome;
use taskyard_core::{TaskState, WaitReason};

use super::add::Hold;
use super::db::{Db, DeadlineWhat};
use super::names::{Blame, ServerNo, TaskNo};
use super::rules::Rules;

/// Tasks that became due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the fields are those of `PromoteReport`")]
pub struct Promoted {
    pub enqueued: usize,
    pub expired: usize,
    pub removed: usize,
    pub next_due: Option<i64>,
}

impl Db {
    /// Moves tasks that have become due.
    pub fn promote(&mut self, rules: &Rules) -> Promoted {
        let mut report = Promoted::default();
        let now = self.now;
        let timed = |reason| matches!(reason, WaitReason::Time | WaitReason::Retry);
        let due = self.waiting.iter().filter(|row| timed(row.reason) && row.run_at.is_some_and(|at| at <= now));
        for id in due.map(|row| row.task).collect::<Vec<_>>() {
            self.enqueue(id);
            report.enqueued += 1;
        }
        let mut budget = rules.inline_max;
        let (due, later) = self.deadlines.iter().partition(|row| row.at <= now);
        self.deadlines = later;
        let due: Vec<super::db::Deadline> = due;
        for row in due.iter().filter(|row| row.what == DeadlineWhat::Expire) {
            // A task that has ever started has done so in time; if it is released, the next claim checks its expiry.
            if matches!(self.state(row.task), TaskState::Waiting | TaskState::Enqueued)
                && self.row(row.task).attempt == 0
            {
                self.row(row.task).error = Some(Blame::Expired);
                self.end_and_notify(row.task, TaskState::Cancelled, &mut budget);
                report.expired += 1;
            }
        }
        for mut row in due.into_iter().filter(|row| row.what == DeadlineWhat::Remove) {
            if self.removable(row.task) {
                self.remove(row.task);
                report.removed += 1;
            } else {
                row.at = now + taskyard_core::store::AUTO_REMOVE_AFTER.as_secs() as i64;
                self.deadlines.push(row);
            }
        }
        let times = self.waiting.iter().filter(|row| timed(row.reason)).filter_map(|row| row.run_at);
        let expiries = self.deadlines.iter().filter(|row| row.what == DeadlineWhat::Expire).map(|row| row.at);
        report.next_due = times.chain(expiries).min().map(|at| at - now);
        report
    }

    /// Returns whether this server may be declared dead, given the heartbeat number that the rescuer has seen.
    #[must_use]
    pub fn may_rescue(&self, server: ServerNo, beat: u32, overdue: bool) -> bool {
        self.servers
            .iter()
            .any(|row| row.id == server && (row.dead || (row.beat == beat && (overdue || row.lease_until <= self.now))))
    }

    /// Returns the tasks that a server holds according to its claim rows, oldest claim first.
    #[must_use]
    pub fn held_by(&self, server: ServerNo) -> Vec<TaskNo> {
        let rows = self.claims.iter().filter(|row| row.server == server);
        let mut held: Vec<TaskNo> = rows.flat_map(|row| row.tasks.iter().copied()).collect();
        held.retain(|id| {
            self.task(*id).is_some_and(|task| task.state == TaskState::Doing && task.server == Some(server))
        });
        held.sort();
        held.dedup();
        held
    }

    /// Declares a server dead and frees its tasks, in one transaction; returns how many.
    pub fn rescue(&mut self, server: ServerNo, beat: u32, overdue: bool, rules: &Rules) -> usize {
        if !self.may_rescue(server, beat, overdue) {
            return 0;
        }
        let held = self.held_by(server);
        self.bury(server);
        let mut budget = rules.inline_max;
        for id in &held {
            self.free_one(*id, &mut budget);
        }
        held.len()
    }

    /// Declares a server dead and deletes its claims.
    pub(super) fn bury(&mut self, server: ServerNo) {
        for row in self.servers.iter_mut().filter(|row| row.id == server) {
            row.dead = true;
        }
        self.claims.retain(|row| row.server != server);
    }

    /// Frees one task of a dead server.
    pub(super) fn free_one(&mut self, id: TaskNo, budget: &mut usize) {
        self.signals.retain(|row| row.task != id);
        let task = self.row(id);
        task.token = None;
        task.decided_by = None;
        let cancel = std::mem::take(&mut task.cancel_requested);
        let stop = std::mem::take(&mut task.stop_requested);
        if cancel || stop {
            let (ended, state) = if cancel {
                (AttemptOutcome::Cancelled, TaskState::Cancelled)
            } else {
                (AttemptOutcome::Stopped, TaskState::Stopped)
            };
            task.ended = Some(ended);
            return self.end_and_notify(id, state, budget);
        }
        let lost = task.server.map(Blame::Lost);
        let crash = if task.alone {
            task.crashes += 1;
            task.keep_attempt(AttemptOutcome::Crashed, lost);
            let spent = task.crashes >= taskyard_core::store::CRASHES_MAX;
            if task.at_most_once { Some(Blame::DiedOnce(None)) } else { spent.then_some(Blame::DiedThrice(None)) }
        } else {
            task.lost += 1;
            task.keep_attempt(AttemptOutcome::Lost, lost);
            task.alone = task.lost >= taskyard_core::store::LOST_ALONE_MIN;
            task.at_most_once.then_some(Blame::LostOnce)
        };
        if crash.is_some() {
            task.error = crash;
            self.end_and_notify(id, TaskState::Failed, budget);
        } else {
            self.enqueue(id);
        }
    }

    /// Releases tasks that are parked for a reason; returns how many.
    pub fn unpark(&mut self, python: bool, reason: u8) -> usize {
        let rows = self.waiting.iter().filter(|row| row.parked == Some(reason) && row.python == python);
        let ids: Vec<TaskNo> = rows.map(|row| row.task).collect();
        let mut released = 0;
        for id in ids {
            if self.other_holder(id).is_some() {
                continue;
            }
            if let Some((key, hold @ (Hold::Finished | Hold::Started))) = self.row(id).unique {
                let _ = self.take_key(key, hold, id);
            }
            self.enqueue(id);
            released += 1;
        }
        released
    }

    /// Returns the reasons for which tasks of a runtime are parked, with their counts.
    #[must_use]
    pub fn parked(&self, python: bool) -> Vec<(u8, u64)> {
        let mut reasons: Vec<u8> =
            self.waiting.iter().filter(|row| row.python == python).filter_map(|row| row.parked).collect();
        reasons.sort_unstable();
        let mut counts: Vec<(u8, u64)> = Vec::new();
        for reason in reasons {
            match counts.last_mut() {
                Some((last, count)) if *last == reason => *count += 1,
                _ => counts.push((reason, 1)),
            }
        }
        counts
    }
}
