//! Parents and children: propagates the end or the retry of a parent to its children, at once or in cascade steps.
//!
//! Propagation is idempotent: the rows themselves show which children are still to be processed, so a cascade row needs
//! no position and any server may continue with it.

use std::collections::VecDeque;

use taskyard_core::TaskState;
use taskyard_core::WaitReason;
use taskyard_core::state::OnParentFailure;

use super::add::Hold;
use super::db::{Cascade, Db, Deadline, DeadlineWhat, Edge, ParentEvent, Task};
use super::names::{Blame, TaskNo};

impl Db {
    /// Returns the ancestor to record when a task falls with this parent.
    pub(super) fn root_of(&self, parent: TaskNo) -> TaskNo {
        self.task(parent).and_then(|task| task.fallen_from).unwrap_or(parent)
    }

    /// Moves a task to a final state: ranges, key, deadlines, dead letter.
    pub(super) fn end(&mut self, id: TaskNo, state: TaskState) {
        self.out_of_ranges(id);
        let now = self.now;
        let task = self.row(id);
        task.state = state;
        task.finished_at = Some(now);
        let auto_remove = task.auto_remove;
        self.keys.retain(|row| row.task != id || row.until.is_some());
        self.deadlines.retain(|row| row.task != id);
        if auto_remove {
            let after = taskyard_core::store::AUTO_REMOVE_AFTER.as_secs() as i64;
            self.deadlines.push(Deadline { at: now + after, task: id, what: DeadlineWhat::Remove });
        }
        self.dead.retain(|row| *row != id);
        if state == TaskState::Failed {
            self.dead.push(id);
        }
    }

    /// Moves a task to a final state and propagates it to its children, as far as the budget allows.
    pub(super) fn end_and_notify(&mut self, id: TaskNo, state: TaskState, budget: &mut usize) {
        self.end(id, state);
        let event = match state {
            TaskState::Done => ParentEvent::Done,
            TaskState::Failed => ParentEvent::Failed,
            TaskState::Cancelled => ParentEvent::Cancelled,
            _ => return,
        };
        let root = (event != ParentEvent::Done).then(|| self.root_of(id));
        self.notify(Cascade { task: id, event, root }, budget);
    }

    /// Makes a task fall with an ancestor; its children are not processed yet.
    pub(super) fn fall(&mut self, id: TaskNo, state: TaskState, root: TaskNo) {
        let task = self.row(id);
        task.fallen_from = Some(root);
        task.error = Some(match state {
            TaskState::Failed => Blame::ParentFailed(root),
            _ => Blame::ParentCancelled(root),
        });
        self.end(id, state);
    }

    /// Propagates until all children are processed or the budget is spent; stores the rest as cascade rows.
    pub(super) fn notify(&mut self, first: Cascade, budget: &mut usize) {
        let mut work = VecDeque::from([first]);
        while let Some(job) = work.pop_front() {
            while let Some(edge) = self.next_untold(job) {
                if *budget == 0 {
                    if !self.cascades.contains(&job) {
                        self.cascades.push(job);
                    }
                    break;
                }
                *budget -= 1;
                self.tell_one(job, edge, &mut work);
            }
        }
    }

    /// Returns the next edge along which a child is still to be processed.
    fn next_untold(&self, job: Cascade) -> Option<usize> {
        self.edges.iter().position(|edge| {
            edge.parent == job.task && {
                let child = self.task(edge.child).expect("edges end at tasks that exist");
                match job.event {
                    ParentEvent::Done => edge.open,
                    ParentEvent::Failed | ParentEvent::Cancelled => {
                        edge.open
                            && match child.on_parent_failure {
                                OnParentFailure::Fail => child.state == TaskState::Waiting,
                                OnParentFailure::Run => true,
                                OnParentFailure::Wait => false,
                            }
                    }
                    ParentEvent::Revived => child.fallen_from.is_some() && !self.is_held_down(child),
                }
            }
        })
    }

    fn tell_one(&mut self, job: Cascade, edge: usize, work: &mut VecDeque<Cascade>) {
        let Edge { child, .. } = self.edges[edge];
        match job.event {
            ParentEvent::Done => self.close_edge(edge),
            ParentEvent::Revived => self.revive(child, work),
            ParentEvent::Failed | ParentEvent::Cancelled => {
                if self.row(child).on_parent_failure == OnParentFailure::Run {
                    self.close_edge(edge);
                    return;
                }
                let state = if job.event == ParentEvent::Failed { TaskState::Failed } else { TaskState::Cancelled };
                self.fall(child, state, job.root.expect("a fall has a root"));
                work.push_back(Cascade { task: child, ..job });
            }
        }
    }

    /// Stops waiting for a parent. With the last one the child becomes ready, or waits for its start time.
    fn close_edge(&mut self, edge: usize) {
        self.edges[edge].open = false;
        let child = self.edges[edge].child;
        let Some(row) = self.waiting.iter_mut().find(|row| row.task == child && row.reason == WaitReason::Parents)
        else {
            return;
        };
        row.open_parents -= 1;
        if row.open_parents == 0 {
            self.settle_start(child);
        }
    }

    /// Revives a fallen task, with two exceptions: if a parent that fell with another ancestor holds it down, it
    /// records that ancestor; if another task holds its unique key, it stays down on its own. In all cases its own
    /// children are checked next.
    fn revive(&mut self, id: TaskNo, work: &mut VecDeque<Cascade>) {
        let fallen = self.fallen_parent(id);
        let holder = if fallen.is_none() { self.other_holder(id) } else { None };
        let task = self.row(id);
        task.fallen_from = None;
        task.error = holder.map(Blame::KeyHeld);
        if holder.is_none() {
            // As for the task that was retried: its expiry time applied to the first run.
            task.expires_at = None;
            self.stand_up(id);
            match fallen {
                Some((state, root)) => self.fall(id, state, root),
                None => self.settle_start(id),
            }
        }
        work.push_back(Cascade { task: id, event: ParentEvent::Revived, root: None });
    }

    /// Reverts the effects of a task's end: finish time, dead letter, removal; takes the key again if it is free.
    pub(super) fn stand_up(&mut self, id: TaskNo) {
        let task = self.row(id);
        task.finished_at = None;
        // Any state that is not final; the caller sets the right one.
        task.state = TaskState::Waiting;
        let unique = task.unique;
        self.dead.retain(|row| *row != id);
        self.deadlines.retain(|row| row.task != id);
        // A key that is held for a time since the addition is independent of the task's end.
        if let Some((key, hold @ (Hold::Finished | Hold::Started))) = unique {
            let _ = self.take_key(key, hold, id);
        }
    }

    /// Returns the first open parent, in the order given, that is failed or cancelled and makes this task fall with it.
    pub(super) fn fallen_parent(&self, id: TaskNo) -> Option<(TaskState, TaskNo)> {
        let task = self.task(id)?;
        if task.on_parent_failure != OnParentFailure::Fail {
            return None;
        }
        let mut edges: Vec<&Edge> = self.edges.iter().filter(|edge| edge.child == id && edge.open).collect();
        edges.sort_by_key(|edge| edge.place);
        edges.iter().find_map(|edge| {
            let parent = self.task(edge.parent)?;
            fallen(parent.state).then(|| (parent.state, self.root_of(parent.id)))
        })
    }

    /// Returns whether a fallen task must stay down: an open parent fell with (or is) the ancestor that it records.
    /// Otherwise the task must be checked again, and it will be: whenever a task is revived or falls with another
    /// ancestor than before, its children are checked. So it need not be recorded which task was retried.
    fn is_held_down(&self, child: &Task) -> bool {
        self.edges.iter().filter(|edge| edge.child == child.id && edge.open).any(|edge| {
            let parent = self.task(edge.parent).filter(|parent| fallen(parent.state));
            parent.is_some_and(|parent| Some(self.root_of(parent.id)) == child.fallen_from)
        })
    }

    /// Makes a fallen task record this ancestor instead, if an open parent fell with it into this state; returns
    /// whether it did. Of several parents that end in one transaction any may be the first.
    pub fn falls_with(&mut self, id: TaskNo, state: TaskState, root: TaskNo) -> bool {
        let mut parents = self.edges.iter().filter(|edge| edge.child == id && edge.open).map(|edge| edge.parent);
        let held = parents.any(|parent| self.state(parent) == state && self.root_of(parent) == root);
        let fallen = self.task(id).is_some_and(|task| task.fallen_from.is_some());
        if held && fallen {
            self.fall(id, state, root);
        }
        held && fallen
    }

    /// Processes cascade rows, up to `budget` edges; returns whether more is left.
    pub fn cascade(&mut self, mut budget: usize) -> bool {
        let jobs = std::mem::take(&mut self.cascades);
        for job in jobs {
            self.notify(job, &mut budget);
        }
        !self.cascades.is_empty()
    }
}

/// Returns whether a task in this state makes its waiting children fall with it.
pub(super) fn fallen(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::Cancelled)
}
