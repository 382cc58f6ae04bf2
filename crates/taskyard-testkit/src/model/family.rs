//! Parents and children: what a child is told when its parent ends or is retried, at once or in cascade steps.
//!
//! Telling is idempotent: which children still have to be told is read off the rows themselves, so a cascade row needs
//! no position and any server may carry on with it.

use std::collections::VecDeque;

use taskyard_core::TaskState;
use taskyard_core::WaitReason;
use taskyard_core::state::OnParentFailure;

use super::add::Hold;
use super::db::{Cascade, Db, Deadline, DeadlineWhat, Edge, Fate, Task};
use super::names::{Blame, TaskNo};

impl Db {
    /// The ancestor that is to be named when a task falls with this parent.
    pub(super) fn root_of(&self, parent: TaskNo) -> TaskNo {
        self.task(parent).and_then(|task| task.fallen_from).unwrap_or(parent)
    }

    /// Brings a task into a final state: ranges, key, deadlines, dead letter.
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

    /// Brings a task into a final state and tells its children, as many as fit.
    pub(super) fn end_and_tell(&mut self, id: TaskNo, state: TaskState, budget: &mut usize) {
        self.end(id, state);
        let fate = match state {
            TaskState::Done => Fate::Done,
            TaskState::Failed => Fate::Failed,
            TaskState::Cancelled => Fate::Cancelled,
            _ => return,
        };
        let root = (fate != Fate::Done).then(|| self.root_of(id));
        self.tell(Cascade { task: id, fate, root }, budget);
    }

    /// A task falls with an ancestor; its children are not told yet.
    pub(super) fn fall(&mut self, id: TaskNo, state: TaskState, root: TaskNo) {
        let task = self.row(id);
        task.fallen_from = Some(root);
        task.error = Some(match state {
            TaskState::Failed => Blame::ParentFailed(root),
            _ => Blame::ParentCancelled(root),
        });
        self.end(id, state);
    }

    /// Tells children until all are told or the budget is spent; the rest is left in cascade rows.
    pub(super) fn tell(&mut self, first: Cascade, budget: &mut usize) {
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

    /// The next edge along which a child still has to be told.
    fn next_untold(&self, job: Cascade) -> Option<usize> {
        self.edges.iter().position(|edge| {
            edge.parent == job.task && {
                let child = self.task(edge.child).expect("edges end at tasks that exist");
                match job.fate {
                    Fate::Done => edge.open,
                    Fate::Failed | Fate::Cancelled => {
                        edge.open
                            && match child.on_parent_failure {
                                OnParentFailure::Fail => child.state == TaskState::Waiting,
                                OnParentFailure::Run => true,
                                OnParentFailure::Wait => false,
                            }
                    }
                    Fate::Revived => child.fallen_from.is_some() && !self.is_held_down(child),
                }
            }
        })
    }

    fn tell_one(&mut self, job: Cascade, edge: usize, work: &mut VecDeque<Cascade>) {
        let Edge { child, .. } = self.edges[edge];
        match job.fate {
            Fate::Done => self.close_edge(edge),
            Fate::Revived => self.revive(child, work),
            Fate::Failed | Fate::Cancelled => {
                if self.row(child).on_parent_failure == OnParentFailure::Run {
                    self.close_edge(edge);
                    return;
                }
                let state = if job.fate == Fate::Failed { TaskState::Failed } else { TaskState::Cancelled };
                self.fall(child, state, job.root.expect("a fall has a root"));
                work.push_back(Cascade { task: child, ..job });
            }
        }
    }

    /// The parent is no longer waited for; with the last one the child starts, or waits for its time.
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

    /// A fallen task stands again, unless a parent that is down with another ancestor holds it: then it names that one; or
    /// another task holds its unique key: then it stays down by itself.
    /// Either way its own children are looked at next.
    fn revive(&mut self, id: TaskNo, work: &mut VecDeque<Cascade>) {
        let fallen = self.fallen_parent(id);
        let holder = if fallen.is_none() { self.other_holder(id) } else { None };
        let task = self.row(id);
        task.fallen_from = None;
        task.error = holder.map(Blame::KeyHeld);
        if holder.is_none() {
            // As for the task that was retried: its time to start was of the first try.
            task.expires_at = None;
            self.stand_up(id);
            match fallen {
                Some((state, root)) => self.fall(id, state, root),
                None => self.settle_start(id),
            }
        }
        work.push_back(Cascade { task: id, fate: Fate::Revived, root: None });
    }

    /// Takes back what the end of a task left: the finish time, the dead letter, the removal; the key if it is free.
    pub(super) fn stand_up(&mut self, id: TaskNo) {
        let task = self.row(id);
        task.finished_at = None;
        // A state that says "not final"; the caller sets the right one.
        task.state = TaskState::Waiting;
        let unique = task.unique;
        self.dead.retain(|row| *row != id);
        self.deadlines.retain(|row| row.task != id);
        // A key that is held for a time since the addition is no matter of the task's end.
        if let Some((key, hold @ (Hold::Finished | Hold::Started))) = unique {
            let _ = self.take_key(key, hold, id);
        }
    }

    /// The first open parent, in the order given, that is failed or cancelled and takes this task along.
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

    /// Whether a fallen task still lies rightly: an open parent is down with (or is) the ancestor that it names. If not,
    /// it is to be looked at again, and it will be: whenever a task stands up or falls with another ancestor than before,
    /// its children are. So nobody has to remember whose retry it was.
    fn is_held_down(&self, child: &Task) -> bool {
        self.edges.iter().filter(|edge| edge.child == child.id && edge.open).any(|edge| {
            let parent = self.task(edge.parent).filter(|parent| fallen(parent.state));
            parent.is_some_and(|parent| Some(self.root_of(parent.id)) == child.fallen_from)
        })
    }

    /// Lets a fallen task name this ancestor instead, if an open parent is down with it in this state: of several parents
    /// that end in one transaction any may be the first.
    pub fn falls_with(&mut self, id: TaskNo, state: TaskState, root: TaskNo) -> bool {
        let mut parents = self.edges.iter().filter(|edge| edge.child == id && edge.open).map(|edge| edge.parent);
        let held = parents.any(|parent| self.state(parent) == state && self.root_of(parent) == root);
        let fallen = self.task(id).is_some_and(|task| task.fallen_from.is_some());
        if held && fallen {
            self.fall(id, state, root);
        }
        held && fallen
    }

    /// Works off cascade rows, up to `budget` edges; whether more is left.
    pub fn cascade(&mut self, mut budget: usize) -> bool {
        let jobs = std::mem::take(&mut self.cascades);
        for job in jobs {
            self.tell(job, &mut budget);
        }
        !self.cascades.is_empty()
    }
}

/// Whether a task in this state takes its waiting children along.
pub(super) fn fallen(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::Cancelled)
}
