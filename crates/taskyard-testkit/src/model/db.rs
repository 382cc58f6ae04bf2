//! The tables of the database, as rows of small numbers, and the transitions of a row between ranges.
//!
//! The ranges (`ready`, `waiting`) are separate from the tasks' states on purpose, as in the stores: their agreement is
//! checked (`invariants.rs`), not assumed.

use taskyard_core::TaskState;
use taskyard_core::WaitReason;
use taskyard_core::state::OnParentFailure;
use taskyard_core::task::AttemptOutcome;

use super::add::Hold;
use super::names::{AdditionNo, Blame, ClaimNo, KeyNo, QueueNo, ServerNo, TaskNo, Token};

/// The wide row of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `TaskRecord`, which documents them")]
pub struct Task {
    pub id: TaskNo,
    pub order: u32,
    pub priority: i8,
    pub queue: QueueNo,
    pub python: bool,
    pub state: TaskState,
    pub attempt: u32,
    pub failures: u32,
    pub lost: u32,
    pub crashes: u32,
    pub alone: bool,
    pub token: Option<Token>,
    pub server: Option<ServerNo>,
    pub cancel_requested: bool,
    pub stop_requested: bool,
    pub on_parent_failure: OnParentFailure,
    pub fallen_from: Option<TaskNo>,
    pub at_most_once: bool,
    pub auto_remove: bool,
    pub unique: Option<(KeyNo, Hold)>,
    pub created_at: i64,
    pub run_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub result: Option<u8>,
    pub error: Option<Blame>,
    /// Number of the last context written; next, the number of log lines stored.
    pub context: Option<u8>,
    pub logs: u32,
    /// Ended attempts that did not end the task.
    pub history: Vec<AttemptRow>,
    /// Outcome of the last attempt, if it ended the task: stored in this row.
    pub ended: Option<AttemptOutcome>,
    /// Not a column: token of the write that made the row leave `doing`, for checking the replies to repeated writes.
    pub decided_by: Option<Token>,
}

/// A row of the attempts' history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are those of `Attempt`")]
pub struct AttemptRow {
    pub number: u32,
    pub outcome: AttemptOutcome,
    pub server: Option<ServerNo>,
    pub error: Option<Blame>,
}

/// The partition from which a runnable task is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// The common partition.
    Shared,
    /// The partition of a queue that is paused, limited or set apart.
    Own(QueueNo),
    /// The partition of tasks that run with nothing beside them.
    Alone,
}

/// A runnable task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `ready`")]
pub struct Ready {
    pub lane: Lane,
    pub python: bool,
    pub priority: i8,
    pub order: u32,
    pub task: TaskNo,
    pub queue: QueueNo,
}

/// A task that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `waiting`")]
pub struct Waiting {
    pub task: TaskNo,
    pub reason: WaitReason,
    pub open_parents: usize,
    pub run_at: Option<i64>,
    pub parked: Option<u8>,
    pub python: bool,
}

/// An edge between a parent and a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `edge`")]
pub struct Edge {
    pub parent: TaskNo,
    pub child: TaskNo,
    pub place: u8,
    pub open: bool,
}

/// A claim statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `claim`")]
pub struct Claim {
    pub id: ClaimNo,
    pub server: ServerNo,
    pub tasks: Vec<TaskNo>,
}

/// A server and its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `server`")]
pub struct Server {
    pub id: ServerNo,
    pub beat: u32,
    pub lease_until: i64,
    pub lease: i64,
    pub dead: bool,
    /// Build of the server, if it reported one.
    pub build: Option<u8>,
}

/// A configured queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `queue`")]
pub struct Queue {
    pub id: QueueNo,
    pub paused: bool,
    pub running_max: Option<usize>,
    pub apart: bool,
}

/// A unique key that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a row of the layout's `unique_key`")]
pub struct Key {
    pub key: KeyNo,
    pub task: TaskNo,
    pub until: Option<i64>,
}

/// Event of a parent that is propagated to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParentEvent {
    /// The parent is done.
    Done,
    /// The parent failed.
    Failed,
    /// The parent was cancelled.
    Cancelled,
    /// The parent, or the ancestor it fell with, was retried.
    Revived,
}

/// A pending propagation to the children of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "a row of the layout's `cascade`")]
pub struct Cascade {
    pub task: TaskNo,
    pub event: ParentEvent,
    pub root: Option<TaskNo>,
}

/// Kind of a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadlineWhat {
    /// The task is cancelled if it has not started.
    Expire,
    /// The finished task is removed (`auto_remove`).
    Remove,
}

/// A deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "a row of the layout's `deadline`")]
pub struct Deadline {
    pub at: i64,
    pub task: TaskNo,
    pub what: DeadlineWhat,
}

/// A request for the server of a running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "a row of the layout's `signal`")]
pub struct Signal {
    pub server: ServerNo,
    pub task: TaskNo,
    pub token: Token,
    pub cancel: bool,
}

/// The whole database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the layout's tables")]
pub struct Db {
    pub now: i64,
    pub next_order: u32,
    pub tasks: Vec<Task>,
    pub ready: Vec<Ready>,
    pub waiting: Vec<Waiting>,
    pub edges: Vec<Edge>,
    pub claims: Vec<Claim>,
    pub servers: Vec<Server>,
    pub queues: Vec<Queue>,
    pub keys: Vec<Key>,
    pub cascades: Vec<Cascade>,
    pub deadlines: Vec<Deadline>,
    pub dead: Vec<TaskNo>,
    pub signals: Vec<Signal>,
    pub refused: Vec<AdditionNo>,
    /// Pairs of a build and a kind that it does not know.
    pub refusals: Vec<(u8, TaskNo)>,
    /// Not a table: whether a task was ever removed. Tasks that fell with a removed one are not found by a retry.
    pub thinned: bool,
}

impl Db {
    /// Returns the task, if it exists.
    #[must_use]
    pub fn task(&self, id: TaskNo) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// Returns the row of a task that is known to exist.
    pub(super) fn row(&mut self, id: TaskNo) -> &mut Task {
        self.tasks.iter_mut().find(|task| task.id == id).expect("rows refer to tasks that exist")
    }

    /// Returns the index of a task in the table, if it exists.
    pub(super) fn place(&self, id: TaskNo) -> Option<usize> {
        self.tasks.iter().position(|task| task.id == id)
    }

    /// Returns the state of a task that is known to exist.
    pub(super) fn state(&self, id: TaskNo) -> TaskState {
        self.task(id).expect("rows refer to tasks that exist").state
    }

    /// Returns the waiting row of a task.
    #[must_use]
    pub fn waiting_row(&self, id: TaskNo) -> Option<&Waiting> {
        self.waiting.iter().find(|row| row.task == id)
    }

    /// Returns the number of parents for which a task still waits.
    #[must_use]
    pub fn open_edges(&self, child: TaskNo) -> usize {
        self.edges.iter().filter(|edge| edge.child == child && edge.open).count()
    }

    /// Returns the partition for runnable tasks of this queue.
    pub(super) fn lane(&self, queue: QueueNo, alone: bool) -> Lane {
        if alone {
            return Lane::Alone;
        }
        match self.queues.iter().find(|row| row.id == queue) {
            Some(row) if row.paused || row.running_max.is_some() || row.apart => Lane::Own(queue),
            _ => Lane::Shared,
        }
    }

    /// Removes a task from both ranges.
    pub(super) fn out_of_ranges(&mut self, id: TaskNo) {
        self.ready.retain(|row| row.task != id);
        self.waiting.retain(|row| row.task != id);
    }

    /// Makes a task runnable.
    pub(super) fn enqueue(&mut self, id: TaskNo) {
        self.out_of_ranges(id);
        let task = self.row(id);
        task.state = TaskState::Enqueued;
        let (queue, alone) = (task.queue, task.alone);
        let (python, priority, order) = (task.python, task.priority, task.order);
        let lane = self.lane(queue, alone);
        self.ready.push(Ready { lane, python, priority, order, task: id, queue });
        self.ready.sort_by_key(|row| (-i16::from(row.priority), row.order));
    }

    /// Makes a task wait.
    pub(super) fn wait(&mut self, id: TaskNo, reason: WaitReason, run_at: Option<i64>, parked: Option<u8>) {
        self.out_of_ranges(id);
        let open_parents = self.open_edges(id);
        let task = self.row(id);
        task.state = TaskState::Waiting;
        let python = task.python;
        self.waiting.push(Waiting { task: id, reason, open_parents, run_at, parked, python });
    }

    /// Moves a task without an unfinished attempt to the state that its parents and its start time require.
    pub(super) fn settle_start(&mut self, id: TaskNo) {
        let run_at = self.row(id).run_at;
        if self.open_edges(id) > 0 {
            self.wait(id, WaitReason::Parents, run_at, None);
        } else if run_at.is_some_and(|at| at > self.now) {
            self.wait(id, WaitReason::Time, run_at, None);
        } else {
            self.enqueue(id);
        }
    }
}
