//! Claims runnable tasks, by priority and age, under a live lease; and reads a lost claim back.

use taskyard_core::TaskState;

use super::add::Hold;
use super::db::{Claim, Db, Lane, Ready};
use super::names::{ClaimNo, QueueNo, ServerNo, TaskNo, Token};

/// A claim request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `ClaimRequest`")]
pub struct ClaimAsk {
    pub server: ServerNo,
    pub claim: ClaimNo,
    pub python: bool,
    pub queues: Option<Vec<QueueNo>>,
    pub limit: usize,
    pub alone: bool,
}

/// A claimed task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `Claimed`")]
pub struct ClaimedTask {
    pub task: TaskNo,
    pub token: Token,
    pub attempt: u32,
    pub failures: u32,
    pub expired: bool,
    pub alone: bool,
}

/// Reply to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the fields are those of `ClaimReply`")]
pub struct ClaimAnswer {
    pub tasks: Vec<ClaimedTask>,
    pub alone_waiting: bool,
    pub dead: bool,
}

impl Db {
    /// Returns the number of running tasks of a queue.
    #[must_use]
    pub fn doing(&self, queue: QueueNo) -> usize {
        self.tasks.iter().filter(|task| task.queue == queue && task.state == TaskState::Doing).count()
    }

    /// Claims up to `limit` tasks; tokens are taken from `next_token`.
    pub fn claim(&mut self, ask: &ClaimAsk, next_token: &mut Token) -> ClaimAnswer {
        if !self.servers.iter().any(|row| row.id == ask.server && !row.dead && row.lease_until > self.now) {
            return ClaimAnswer { dead: true, ..ClaimAnswer::default() };
        }
        let limit = if ask.alone { 1 } else { ask.limit };
        let mut picked: Vec<Ready> = Vec::new();
        for row in &self.ready {
            if picked.len() == limit {
                break;
            }
            let free = self.free(row.queue);
            let taken = picked.iter().filter(|other| other.queue == row.queue).count();
            if (row.lane == Lane::Alone) == ask.alone && self.served(row, ask) && free.is_none_or(|free| taken < free) {
                picked.push(*row);
            }
        }
        let tasks = picked.iter().map(|row| self.start(row.task, ask.server, next_token)).collect();
        if !picked.is_empty() {
            let tasks = picked.iter().map(|row| row.task).collect();
            self.claims.push(Claim { id: ask.claim, server: ask.server, tasks });
        }
        let alone_waiting = self.ready.iter().any(|row| row.lane == Lane::Alone && self.served(row, ask));
        ClaimAnswer { tasks, alone_waiting, dead: false }
    }

    /// Returns whether a runnable task has the requested runtime and one of the requested queues, and its queue is not
    /// paused.
    fn served(&self, row: &Ready, ask: &ClaimAsk) -> bool {
        row.python == ask.python
            && !self.has_refused(self.build(ask.server), row.task)
            && ask.queues.as_ref().is_none_or(|queues| queues.contains(&row.queue))
            && !self.queues.iter().any(|queue| queue.id == row.queue && queue.paused)
    }

    /// Returns how many more tasks of a queue may run; `None` without a limit.
    fn free(&self, queue: QueueNo) -> Option<usize> {
        let row = self.queues.iter().find(|row| row.id == queue)?;
        row.running_max.map(|max| max.saturating_sub(self.doing(queue)))
    }

    fn start(&mut self, id: TaskNo, server: ServerNo, next_token: &mut Token) -> ClaimedTask {
        self.out_of_ranges(id);
        let (now, token) = (self.now, *next_token);
        next_token.0 += 1;
        let task = self.row(id);
        task.state = TaskState::Doing;
        task.attempt += 1;
        task.token = Some(token);
        task.decided_by = None;
        task.server = Some(server);
        task.started_at = Some(now);
        let answer = ClaimedTask {
            task: id,
            token,
            attempt: task.attempt,
            failures: task.failures,
            expired: task.attempt == 1 && task.expires_at.is_some_and(|at| at <= now),
            alone: task.alone,
        };
        if matches!(task.unique, Some((_, Hold::Started))) {
            self.keys.retain(|row| row.task != id);
        }
        answer
    }

    /// Returns the tasks that a claim whose reply was lost has claimed and still holds.
    #[must_use]
    pub fn claimed(&self, claim: ClaimNo) -> Vec<ClaimedTask> {
        let Some(row) = self.claims.iter().find(|row| row.id == claim) else {
            return Vec::new();
        };
        let held = row.tasks.iter().filter_map(|id| self.task(*id));
        held.filter(|task| task.state == TaskState::Doing && task.server == Some(row.server))
            .map(|task| ClaimedTask {
                task: task.id,
                token: task.token.expect("a running task has a token"),
                attempt: task.attempt,
                failures: task.failures,
                expired: task.attempt == 1 && task.expires_at.is_some_and(|at| at <= self.now),
                alone: task.alone,
            })
            .collect()
    }
}
