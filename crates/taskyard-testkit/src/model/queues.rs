//! Queues: pausing, limits, statistics.

use taskyard_core::TaskState;

use super::db::{Db, Queue};
use super::names::QueueNo;

/// Statistics of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `QueueStatus`")]
pub struct QueueStats {
    pub queue: QueueNo,
    pub paused: bool,
    pub running_max: Option<usize>,
    pub enqueued: u64,
    pub waiting: u64,
    pub doing: u64,
}

impl Db {
    /// Pauses or resumes a queue.
    pub fn set_paused(&mut self, queue: QueueNo, paused: bool) {
        self.queue_row(queue).paused = paused;
        self.move_lane(queue);
    }

    /// Limits the number of tasks of a queue that run at once.
    pub fn set_limit(&mut self, queue: QueueNo, running_max: Option<usize>) {
        self.queue_row(queue).running_max = running_max;
        self.move_lane(queue);
    }

    /// Gives a queue a partition of its own, permanently.
    pub fn set_apart(&mut self, queue: QueueNo) {
        self.queue_row(queue).apart = true;
        self.move_lane(queue);
    }

    fn queue_row(&mut self, queue: QueueNo) -> &mut Queue {
        let at = self.queues.iter().position(|row| row.id == queue).unwrap_or_else(|| {
            self.queues.push(Queue { id: queue, paused: false, running_max: None, apart: false });
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }

    /// Moves the queue's runnable tasks to the partition that its configuration now requires.
    fn move_lane(&mut self, queue: QueueNo) {
        let lane = self.lane(queue, false);
        let rows = self.ready.iter_mut().filter(|row| row.queue == queue && row.lane != super::db::Lane::Alone);
        for row in rows {
            row.lane = lane;
        }
    }

    /// Returns the statistics of all queues that have a row or tasks that are not final, by number.
    #[must_use]
    pub fn stats(&self) -> Vec<QueueStats> {
        let live = self.tasks.iter().filter(|task| !task.state.is_final()).map(|task| task.queue);
        let mut queues: Vec<QueueNo> = live.chain(self.queues.iter().map(|row| row.id)).collect();
        queues.sort_unstable();
        queues.dedup();
        let count =
            |queue, state| self.tasks.iter().filter(|task| task.queue == queue && task.state == state).count() as u64;
        let stats = |queue| {
            let row = self.queues.iter().find(|row| row.id == queue);
            QueueStats {
                queue,
                paused: row.is_some_and(|row| row.paused),
                running_max: row.and_then(|row| row.running_max),
                enqueued: count(queue, TaskState::Enqueued),
                waiting: count(queue, TaskState::Waiting),
                doing: count(queue, TaskState::Doing),
            }
        };
        queues.into_iter().map(stats).collect()
    }
}
