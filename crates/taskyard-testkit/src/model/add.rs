//! Adds tasks: all or none; parents are read under their locks.

use taskyard_core::TaskState;
use taskyard_core::state::OnParentFailure;

use super::db::{Db, Deadline, DeadlineWhat, Edge, Key, Task};
use super::names::{AdditionNo, KeyNo, QueueNo, TaskNo};
use super::rules::Rules;

/// Time from which a task may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// As soon as its parents are done.
    #[default]
    Now,
    /// This many seconds after it was added.
    After(i64),
    /// At this second.
    At(i64),
}

/// Duration for which a unique key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Until the task is final.
    Finished,
    /// Until a server starts it (or it is final).
    Started,
    /// This many seconds.
    For(i64),
}

/// A task to be added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `NewTask`")]
pub struct Addition {
    pub id: TaskNo,
    pub parents: Vec<TaskNo>,
    pub on_parent_failure: OnParentFailure,
    pub queue: QueueNo,
    pub priority: i8,
    pub python: bool,
    pub start: Start,
    pub expires: Option<i64>,
    pub unique: Option<(KeyNo, Hold)>,
    pub at_most_once: bool,
    pub auto_remove: bool,
    pub context: Option<u8>,
}

impl Addition {
    /// Returns a task with every option at its default.
    #[must_use]
    pub fn new(id: TaskNo) -> Self {
        Self {
            id,
            parents: Vec::new(),
            on_parent_failure: OnParentFailure::Fail,
            queue: QueueNo(0),
            priority: 0,
            python: false,
            start: Start::Now,
            expires: None,
            unique: None,
            at_most_once: false,
            auto_remove: false,
            context: None,
        }
    }
}

/// Reason why nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The id is taken.
    Duplicate(TaskNo),
    /// This task names a parent that does not exist.
    UnknownParent(TaskNo, TaskNo),
    /// The addition was revoked before it arrived.
    Refused,
}

impl Db {
    /// Executes one attempt to add a batch.
    ///
    /// # Errors
    /// As [`Db::add`], and [`AddError::Refused`] if the addition was revoked; nothing was added.
    pub fn add_as(&mut self, addition: AdditionNo, batch: &[Addition]) -> Result<Vec<(TaskNo, bool)>, AddError> {
        if self.refused.contains(&addition) { Err(AddError::Refused) } else { self.add(batch) }
    }

    /// Returns whether any task of an addition is stored; if none is, the addition is revoked and will never be stored.
    pub fn added(&mut self, addition: AdditionNo, batch: &[Addition], rules: &Rules) -> bool {
        let stored = batch.iter().any(|new| self.task(new.id).is_some());
        if !stored && !rules.asked_back_unmarked {
            self.refused.push(addition);
        }
        stored
    }

    /// Adds all tasks or none. Returns for each the id that stands for it, and whether that task existed before.
    ///
    /// # Errors
    /// [`AddError::Duplicate`] for a taken id, [`AddError::UnknownParent`] for a missing parent; nothing was added.
    pub fn add(&mut self, batch: &[Addition]) -> Result<Vec<(TaskNo, bool)>, AddError> {
        self.check_ids(batch)?;
        let before = self.keys.clone();
        let answers = self.resolve_keys(batch);
        let named = |id: TaskNo| batch.iter().position(|new| new.id == id).map_or(id, |at| answers[at].0);
        let mut left: Vec<(u32, Addition)> = Vec::new();
        for (at, new) in batch.iter().enumerate().filter(|(at, _)| !answers[*at].1) {
            let mut new = new.clone();
            let mut parents: Vec<TaskNo> = Vec::new();
            for parent in new.parents.iter().map(|id| named(*id)) {
                let known = self.place(parent).is_some() || answers.contains(&(parent, false));
                if !known {
                    self.keys = before;
                    return Err(AddError::UnknownParent(new.id, parent));
                }
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
            new.parents = parents;
            left.push((self.next_order + at as u32, new));
        }
        self.next_order += batch.len() as u32;
        // Parents first: whether a task falls at once depends on their states.
        while !left.is_empty() {
            let ids: Vec<TaskNo> = left.iter().map(|(_, new)| new.id).collect();
            let next = left.iter().position(|(_, new)| !new.parents.iter().any(|parent| ids.contains(parent)));
            let (order, new) = left.remove(next.expect("the caller has refused cycles"));
            let states = self.parent_states(&new.parents);
            self.insert(order, &new, &states);
        }
        Ok(answers)
    }

    /// Returns the parents' states as an addition reads them.
    #[must_use]
    pub fn parent_states(&self, parents: &[TaskNo]) -> Vec<TaskState> {
        parents.iter().map(|id| self.state(*id)).collect()
    }

    fn check_ids(&self, batch: &[Addition]) -> Result<(), AddError> {
        for (at, new) in batch.iter().enumerate() {
            if self.place(new.id).is_some() || batch[..at].iter().any(|other| other.id == new.id) {
                return Err(AddError::Duplicate(new.id));
            }
        }
        Ok(())
    }

    /// Takes the free keys; a task whose key is held gets the holder as its result.
    fn resolve_keys(&mut self, batch: &[Addition]) -> Vec<(TaskNo, bool)> {
        let mut answers = Vec::with_capacity(batch.len());
        for new in batch {
            let holder = new.unique.and_then(|(key, hold)| self.take_key(key, hold, new.id).err());
            answers.push(holder.map_or((new.id, false), |holder| (holder, true)));
        }
        answers
    }

    /// Takes a key, or returns its holder as the error.
    pub(super) fn take_key(&mut self, key: KeyNo, hold: Hold, task: TaskNo) -> Result<(), TaskNo> {
        let now = self.now;
        if let Some(row) = self.keys.iter().find(|row| row.key == key && row.until.is_none_or(|until| until > now)) {
            return Err(row.task);
        }
        self.keys.retain(|row| row.key != key);
        let until = if let Hold::For(seconds) = hold { Some(now + seconds) } else { None };
        self.keys.push(Key { key, task, until });
        Ok(())
    }

    /// Returns the task that holds the unique key of this one, and so prevents its revival.
    pub(super) fn other_holder(&self, id: TaskNo) -> Option<TaskNo> {
        let (key, _) = self.task(id)?.unique?;
        let held = |row: &&Key| row.key == key && row.task != id && row.until.is_none_or(|until| until > self.now);
        self.keys.iter().find(held).map(|row| row.task)
    }

    /// Stores one task, given the states of its parents as they were read.
    pub fn insert(&mut self, order: u32, new: &Addition, parent_states: &[TaskState]) {
        let run_at = match new.start {
            Start::Now => None,
            Start::After(seconds) => Some(self.now + seconds),
            Start::At(at) => Some(at),
        };
        self.tasks.push(Task {
            id: new.id,
            order,
            priority: new.priority,
            queue: new.queue,
            python: new.python,
            state: TaskState::Waiting,
            attempt: 0,
            failures: 0,
            lost: 0,
            crashes: 0,
            alone: false,
            token: None,
            server: None,
            cancel_requested: false,
            stop_requested: false,
            on_parent_failure: new.on_parent_failure,
            fallen_from: None,
            at_most_once: new.at_most_once,
            auto_remove: new.auto_remove,
            unique: new.unique,
            created_at: self.now,
            run_at,
            expires_at: new.expires.map(|seconds| self.now + seconds),
            started_at: None,
            finished_at: None,
            result: None,
            error: None,
            context: new.context,
            logs: 0,
            history: Vec::new(),
            ended: None,
            decided_by: None,
        });
        let mut fall = None;
        for (place, (parent, state)) in new.parents.iter().zip(parent_states).enumerate() {
            let fell = matches!(state, TaskState::Failed | TaskState::Cancelled);
            let open = match new.on_parent_failure {
                _ if *state == TaskState::Done => false,
                OnParentFailure::Run => !fell,
                _ => true,
            };
            if fell && new.on_parent_failure == OnParentFailure::Fail && fall.is_none() {
                fall = Some((*parent, *state));
            }
            self.edges.push(Edge { parent: *parent, child: new.id, place: place as u8, open });
        }
        if let Some(at) = self.row(new.id).expires_at {
            self.deadlines.push(Deadline { at, task: new.id, what: DeadlineWhat::Expire });
        }
        match fall {
            Some((parent, state)) => {
                let root = self.root_of(parent);
                self.fall(new.id, state, root);
            }
            None => self.settle_start(new.id),
        }
    }
}
