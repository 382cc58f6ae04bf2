//! The fenced writes of a running attempt: its end, and its records while it runs.

use taskyard_core::task::AttemptOutcome;
use taskyard_core::{TaskState, WaitReason};

use super::db::{AttemptRow, Db, Task};
use super::names::{Blame, ClaimNo, ServerNo, TaskNo, Token};
use super::rules::{Guard, Rules};

/// End of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants are those of `taskyard_core::store::Outcome`")]
pub enum Outcome {
    Done(u8),
    Failed(u8),
    Retry { after: i64, error: u8 },
    Snooze { after: i64 },
    Released,
    CutShort,
    Parked(u8),
    Refused,
    Crashed(u8),
    Beside,
    Interrupted,
    Expired,
    Lost(u8),
}

/// Reply to a fenced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Written; contains the state now.
    Applied(TaskState),
    /// An earlier attempt to write had succeeded; contains the state now.
    AlreadyApplied(TaskState),
    /// The lease of this attempt is over.
    Lost,
}

/// Identity of a writer: everything that a guard, correct or broken, may check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words of the protocol")]
pub struct Writer {
    pub task: TaskNo,
    pub token: Token,
    pub server: ServerNo,
    pub attempt: u32,
}

/// Decision of the guard about a write.
enum FenceResult {
    Accepted,
    Repeated,
    Lost,
}

impl Db {
    fn check_fence(&self, writer: &Writer, rules: &Rules) -> FenceResult {
        let Some(task) = self.task(writer.task) else {
            return FenceResult::Lost;
        };
        let doing = task.state == TaskState::Doing;
        let (accepted, repeated) = match rules.guard {
            Guard::Token => {
                let mine = task.token == Some(writer.token);
                (doing && mine, !doing && mine)
            }
            Guard::Id => (true, false),
            Guard::IdState => (doing, !doing),
            Guard::IdStateServer => {
                let mine = task.server == Some(writer.server);
                (doing && mine, !doing)
            }
            Guard::AttemptNumber => {
                let mine = task.attempt == writer.attempt;
                (doing && mine, !doing && mine && task.decided_by.is_some())
            }
        };
        match (accepted, repeated) {
            (true, _) => FenceResult::Accepted,
            (_, true) => FenceResult::Repeated,
            _ => FenceResult::Lost,
        }
    }

    /// Ends attempts in one transaction; `closed` names claims of which nothing is running any more.
    pub fn finish(&mut self, batch: &[(Writer, Outcome)], closed: &[ClaimNo], rules: &Rules) -> Vec<Reply> {
        let mut budget = rules.inline_max;
        let replies = batch.iter().map(|(writer, outcome)| self.finish_one(writer, *outcome, rules, &mut budget));
        let replies = replies.collect();
        self.claims.retain(|row| !closed.contains(&row.id));
        replies
    }

    fn finish_one(&mut self, writer: &Writer, outcome: Outcome, rules: &Rules, budget: &mut usize) -> Reply {
        match self.check_fence(writer, rules) {
            FenceResult::Lost => return Reply::Lost,
            FenceResult::Repeated => return Reply::AlreadyApplied(self.state(writer.task)),
            FenceResult::Accepted => {}
        }
        let id = writer.task;
        self.signals.retain(|row| row.task != id);
        let task = self.row(id);
        task.decided_by = Some(writer.token);
        let released = matches!(outcome, Outcome::Released | Outcome::CutShort | Outcome::Parked(_) | Outcome::Refused);
        let cancel = std::mem::take(&mut task.cancel_requested) && !(released && rules.flag_lost_at_release);
        let stop = std::mem::take(&mut task.stop_requested);
        match outcome {
            Outcome::Done(result) => {
                task.result = Some(result);
                task.ended = Some(AttemptOutcome::Done);
                self.end_and_notify(id, TaskState::Done, budget);
            }
            _ if cancel || stop => {
                let (ended, state) = if cancel {
                    (AttemptOutcome::Cancelled, TaskState::Cancelled)
                } else {
                    (AttemptOutcome::Stopped, TaskState::Stopped)
                };
                task.ended = Some(ended);
                self.end_and_notify(id, state, budget);
            }
            Outcome::Interrupted => {
                task.ended = Some(AttemptOutcome::Cancelled);
                self.end_and_notify(id, TaskState::Cancelled, budget);
            }
            Outcome::Failed(error) => {
                task.failures += 1;
                task.error = Some(Blame::Given(error));
                task.ended = Some(AttemptOutcome::Failed);
                self.end_and_notify(id, TaskState::Failed, budget);
            }
            Outcome::Expired => {
                task.attempt -= 1;
                task.started_at = None;
                task.error = Some(Blame::Expired);
                self.end_and_notify(id, TaskState::Cancelled, budget);
            }
            Outcome::Retry { after, error } => {
                task.failures += 1;
                task.error = Some(Blame::Given(error));
                task.keep_attempt(AttemptOutcome::Failed, Some(Blame::Given(error)));
                self.pause(id, after);
            }
            Outcome::Snooze { after } => {
                task.keep_attempt(AttemptOutcome::Snoozed, None);
                self.pause(id, after);
            }
            Outcome::CutShort if task.at_most_once => {
                task.error = Some(Blame::CutShort);
                task.ended = Some(AttemptOutcome::Lost);
                self.end_and_notify(id, TaskState::Failed, budget);
            }
            Outcome::Released | Outcome::CutShort => {
                task.attempt -= 1;
                task.started_at = None;
                self.enqueue(id);
            }
            Outcome::Parked(reason) => {
                task.attempt -= 1;
                task.started_at = None;
                self.wait(id, WaitReason::Parked, None, Some(reason));
            }
            Outcome::Refused => {
                task.attempt -= 1;
                task.started_at = None;
                self.refuse(id, writer.server, rules);
            }
            Outcome::Crashed(error) => {
                task.crashes += 1;
                self.died(id, AttemptOutcome::Crashed, Some(error), budget);
            }
            Outcome::Beside => self.died(id, AttemptOutcome::Lost, None, budget),
            Outcome::Lost(error) => {
                task.lost += 1;
                task.keep_attempt(AttemptOutcome::Lost, Some(Blame::Given(error)));
                if task.at_most_once {
                    task.error = Some(Blame::Given(error));
                    self.end_and_notify(id, TaskState::Failed, budget);
                } else {
                    task.alone |= task.lost >= taskyard_core::store::LOST_ALONE_MIN;
                    self.enqueue(id);
                }
            }
        }
        let state = self.state(id);
        if rules.token_cleared_at_end && state.is_final() {
            self.row(id).token = None;
        }
        Reply::Applied(state)
    }

    /// Handles the death of the attempt's worker: the task becomes a dead letter, or runs once more with nothing beside
    /// it.
    fn died(&mut self, id: TaskNo, outcome: AttemptOutcome, error: Option<u8>, budget: &mut usize) {
        let task = self.row(id);
        task.alone = true;
        let blame = error.map(Blame::Given);
        if task.at_most_once || task.crashes >= taskyard_core::store::CRASHES_MAX {
            let verdict = if task.at_most_once { Blame::DiedOnce(error) } else { Blame::DiedThrice(error) };
            task.error = Some(verdict);
            task.ended = Some(outcome);
            self.end_and_notify(id, TaskState::Failed, budget);
        } else {
            task.keep_attempt(outcome, blame);
            self.enqueue(id);
        }
    }

    /// Schedules the next attempt after some seconds, or at once if the delay is zero.
    fn pause(&mut self, id: TaskNo, after: i64) {
        let now = self.now;
        if after > 0 {
            self.row(id).run_at = Some(now + after);
            self.wait(id, WaitReason::Retry, Some(now + after), None);
        } else {
            self.row(id).run_at = None;
            self.enqueue(id);
        }
    }

    /// Stores a context and log lines of running attempts.
    pub fn record(&mut self, writer: &Writer, context: Option<u8>, lines: u32, rules: &Rules) -> Reply {
        match self.check_fence(writer, rules) {
            FenceResult::Lost => Reply::Lost,
            FenceResult::Repeated => Reply::AlreadyApplied(self.state(writer.task)),
            FenceResult::Accepted => {
                let task = self.row(writer.task);
                task.context = context.or(task.context);
                task.logs += lines;
                Reply::Applied(task.state)
            }
        }
    }
}

impl Task {
    /// Stores the attempt that just ended as a row of its own.
    pub(super) fn keep_attempt(&mut self, outcome: AttemptOutcome, error: Option<Blame>) {
        self.history.push(AttemptRow { number: self.attempt, outcome, server: self.server, error });
    }
}
