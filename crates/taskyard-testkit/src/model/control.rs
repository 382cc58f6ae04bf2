//! Operator commands: cancel, stop, retry, priority, edit, purge.

use taskyard_core::TaskState;
use taskyard_core::task::AttemptOutcome;

use super::db::{Cascade, Db, ParentEvent, Signal};
use super::names::{QueueNo, TaskNo};
use super::rules::Rules;

/// Result of a command for one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Executed; contains the state now.
    Applied(TaskState),
    /// The task's server was asked.
    Requested,
    /// The task is in this state; nothing was changed.
    Refused(TaskState),
    /// This task holds its unique key; nothing was changed.
    KeyHeld(TaskNo),
    /// There is no such task.
    NotFound,
}

impl Db {
    /// Cancels a task, or asks its server to.
    pub fn cancel(&mut self, id: TaskNo, rules: &Rules) -> Control {
        let Some(task) = self.task(id) else {
            return Control::NotFound;
        };
        match task.state {
            TaskState::Waiting | TaskState::Enqueued | TaskState::Stopped => {
                self.end_and_notify(id, TaskState::Cancelled, &mut { rules.inline_max });
                Control::Applied(TaskState::Cancelled)
            }
            TaskState::Doing => {
                self.row(id).cancel_requested = true;
                self.signal(id);
                Control::Requested
            }
            state => Control::Refused(state),
        }
    }

    /// Asks the server of a running task to stop it.
    pub fn stop(&mut self, id: TaskNo) -> Control {
        let Some(task) = self.task(id) else {
            return Control::NotFound;
        };
        if task.state != TaskState::Doing {
            return Control::Refused(task.state);
        }
        self.row(id).stop_requested = true;
        self.signal(id);
        Control::Requested
    }

    /// Stores the one signal of a running task; a cancel takes precedence over a stop.
    fn signal(&mut self, id: TaskNo) {
        self.signals.retain(|row| row.task != id);
        let task = self.row(id);
        let signal = Signal {
            server: task.server.expect("a running task has a server"),
            task: id,
            token: task.token.expect("a running task has a token"),
            cancel: task.cancel_requested,
        };
        self.signals.push(signal);
    }

    /// Retries a failed, cancelled or stopped task, and revives those that fell with it.
    pub fn retry(&mut self, id: TaskNo, rules: &Rules) -> Control {
        let Some(task) = self.task(id) else {
            return Control::NotFound;
        };
        if !matches!(task.state, TaskState::Failed | TaskState::Cancelled | TaskState::Stopped) {
            return Control::Refused(task.state);
        }
        if !rules.retry_beside_cascade {
            while self.cascade(rules.inline_max.max(1)) {}
        }
        if let Some(holder) = self.other_holder(id) {
            return Control::KeyHeld(holder);
        }
        let task = self.row(id);
        if let Some(outcome) = task.ended.take() {
            let error =
                if outcome == AttemptOutcome::Failed || outcome == AttemptOutcome::Crashed { task.error } else { None };
            task.keep_attempt(outcome, error);
        }
        task.failures = 0;
        task.lost = 0;
        task.crashes = 0;
        task.alone = false;
        task.token = None;
        task.decided_by = None;
        task.result = None;
        task.error = None;
        task.fallen_from = None;
        task.expires_at = None;
        task.run_at = None;
        self.stand_up(id);
        match self.fallen_parent(id) {
            Some((state, root)) => self.fall(id, state, root),
            None => self.settle_start(id),
        }
        self.notify(Cascade { task: id, event: ParentEvent::Revived, root: None }, &mut { rules.inline_max });
        Control::Applied(self.state(id))
    }

    /// Sets the priority of a task that is waiting or enqueued, and moves its row accordingly.
    pub fn set_priority(&mut self, id: TaskNo, priority: i8, rules: &Rules) -> Control {
        let Some(task) = self.task(id) else {
            return Control::NotFound;
        };
        let state = task.state;
        if !matches!(state, TaskState::Waiting | TaskState::Enqueued) {
            return Control::Refused(state);
        }
        self.row(id).priority = priority;
        if state == TaskState::Enqueued && !rules.place_left_behind {
            self.enqueue(id);
        }
        Control::Applied(state)
    }

    /// Changes a task that ended without success, which stays in its state.
    pub fn edit(&mut self, id: TaskNo, queue: QueueNo, priority: i8) -> Control {
        let Some(task) = self.task(id) else {
            return Control::NotFound;
        };
        let state = task.state;
        if !matches!(state, TaskState::Failed | TaskState::Cancelled | TaskState::Stopped) {
            return Control::Refused(state);
        }
        let task = self.row(id);
        task.queue = queue;
        task.priority = priority;
        Control::Applied(state)
    }

    /// Deletes tasks that are final and whose children are, and returns how many were deleted.
    pub fn purge(&mut self, ids: &[TaskNo]) -> usize {
        let gone: Vec<TaskNo> = ids.iter().copied().filter(|id| self.removable(*id)).collect();
        for id in &gone {
            self.remove(*id);
        }
        gone.len()
    }

    /// Returns whether a task and all its children are final.
    pub(super) fn removable(&self, id: TaskNo) -> bool {
        self.task(id).is_some_and(|task| task.state.is_final())
            && self.edges.iter().filter(|edge| edge.parent == id).all(|edge| self.state(edge.child).is_final())
    }

    /// Deletes a task with all its rows.
    pub(super) fn remove(&mut self, id: TaskNo) {
        self.thinned = true;
        self.tasks.retain(|row| row.id != id);
        self.edges.retain(|row| row.parent != id && row.child != id);
        self.cascades.retain(|row| row.task != id);
        self.deadlines.retain(|row| row.task != id);
        self.dead.retain(|row| *row != id);
        // A key that is held for a time is deleted, too: an addition that gets its holder as the result must find that
        // task.
        self.keys.retain(|row| row.task != id);
    }
}
