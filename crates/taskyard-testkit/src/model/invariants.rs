//! Invariants of every state of the database, whatever has happened before.

use taskyard_core::state::OnParentFailure;
use taskyard_core::{TaskState, WaitReason};

use super::db::{Db, Edge, ParentEvent, Task};
use super::dependents::fallen;

/// Returns the message as an error if the condition does not hold.
macro_rules! must {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(super) use must;

impl Db {
    /// Checks every row.
    ///
    /// # Errors
    /// A description of the first rule that does not hold.
    pub fn check(&self) -> Result<(), String> {
        for task in &self.tasks {
            self.check_ranges(task)?;
            self.check_lease(task)?;
            check_counters(task)?;
            self.check_fall(task)?;
        }
        self.edges.iter().try_for_each(|edge| self.check_edge(edge))?;
        for key in self.keys.iter().filter(|key| key.until.is_none()) {
            let held = self.task(key.task).is_some_and(|task| !task.state.is_final());
            must!(held, "the key {:?} is held for {:?}, which does not need it any more", key.key, key.task);
        }
        Ok(())
    }

    /// Enqueued: one ready row. Waiting: one waiting row. Otherwise none.
    fn check_ranges(&self, task: &Task) -> Result<(), String> {
        let id = task.id;
        let ready: Vec<_> = self.ready.iter().filter(|row| row.task == id).collect();
        let waiting: Vec<_> = self.waiting.iter().filter(|row| row.task == id).collect();
        must!(
            ready.len() == usize::from(task.state == TaskState::Enqueued),
            "{id:?} is {} and has {} ready rows",
            task.state,
            ready.len()
        );
        must!(
            waiting.len() == usize::from(task.state == TaskState::Waiting),
            "{id:?} is {} and has {} waiting rows",
            task.state,
            waiting.len()
        );
        if let Some(row) = ready.first() {
            let lane = self.lane(task.queue, task.alone);
            must!(row.lane == lane, "{id:?} stands in lane {:?} and belongs into {lane:?}", row.lane);
            must!(
                row.priority == task.priority,
                "{id:?} has priority {} and its place is that of {}",
                task.priority,
                row.priority
            );
        }
        if let Some(row) = waiting.first() {
            let open = self.open_edges(id);
            must!(row.open_parents == open, "{id:?} waits for {} parents, {open} are open", row.open_parents);
            must!((row.reason == WaitReason::Parents) == (open > 0), "{id:?} waits as {:?}: {open} open", row.reason);
            let timed = matches!(row.reason, WaitReason::Time | WaitReason::Retry);
            must!(!timed || row.run_at.is_some(), "{id:?} waits for a time that it does not have");
            must!((row.reason == WaitReason::Parked) == row.parked.is_some(), "{id:?} is parked without a reason");
        }
        let dead = self.dead.iter().filter(|row| **row == id).count();
        must!(dead == usize::from(task.state == TaskState::Failed), "{id:?} is {}: {dead} dead letters", task.state);
        Ok(())
    }

    /// A running task has a token, a server, and a claim row by which a rescue finds it; only a running task has flags.
    fn check_lease(&self, task: &Task) -> Result<(), String> {
        let id = task.id;
        let signals: Vec<_> = self.signals.iter().filter(|row| row.task == id).collect();
        let flagged = task.cancel_requested || task.stop_requested;
        must!(signals.len() == usize::from(flagged), "{id:?} has {} signals", signals.len());
        if task.state != TaskState::Doing {
            must!(!flagged, "{id:?} is {} and carries a flag", task.state);
            return Ok(());
        }
        must!(task.token.is_some(), "{id:?} runs without a token");
        let claims = self.claims.iter().filter(|row| Some(row.server) == task.server && row.tasks.contains(&id));
        must!(claims.count() > 0, "limbo: {id:?} runs and no claim names it");
        let server = self.servers.iter().find(|row| Some(row.id) == task.server);
        must!(server.is_some(), "limbo: {id:?} runs on a server that is unknown");
        if let Some(signal) = signals.first() {
            let right = Some(signal.token) == task.token && signal.cancel == task.cancel_requested;
            must!(right, "the signal of {id:?} names another attempt or request");
        }
        Ok(())
    }

    /// A task that fell with an ancestor is down as long as the ancestor is.
    fn check_fall(&self, task: &Task) -> Result<(), String> {
        let Some(root) = task.fallen_from else {
            return Ok(());
        };
        let id = task.id;
        must!(fallen(task.state), "{id:?} is {} and names {root:?} as what it fell with", task.state);
        let down = self.task(root).is_none_or(|root| fallen(root.state));
        must!(down || self.reviving() || self.thinned, "{id:?} lies fallen with {root:?}, which stands again");
        Ok(())
    }

    fn reviving(&self) -> bool {
        self.cascades.iter().any(|row| row.event == ParentEvent::Revived)
    }

    /// No child is forgotten: if it waits for a parent that has ended, a cascade is still pending.
    fn check_edge(&self, edge: &Edge) -> Result<(), String> {
        let (Some(parent), Some(child)) = (self.task(edge.parent), self.task(edge.child)) else {
            return Err(format!("the edge {edge:?} has an end that does not exist"));
        };
        let run = child.on_parent_failure == OnParentFailure::Run;
        must!(edge.open || run || parent.state == TaskState::Done, "{edge:?} is closed, its parent {}", parent.state);
        if !edge.open || child.state != TaskState::Waiting {
            return Ok(());
        }
        let told = match parent.state {
            TaskState::Done => false,
            TaskState::Failed | TaskState::Cancelled => child.on_parent_failure == OnParentFailure::Wait,
            _ => true,
        };
        let pending = self.cascades.iter().any(|row| row.task == parent.id && row.event != ParentEvent::Revived)
            || self.reviving();
        must!(told || pending, "limbo: {:?} waits for {:?}, which is {}", child.id, parent.id, parent.state);
        Ok(())
    }

    /// Returns whether nothing changes any more without an operator's action.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.cascades.is_empty() && self.tasks.iter().all(|task| self.is_at_rest(task))
    }

    /// Final, or waiting for a parent that is stopped, or that fell and must be waited for, or that is itself at rest.
    fn is_at_rest(&self, task: &Task) -> bool {
        let rests = |parent: &Task| match parent.state {
            TaskState::Stopped => true,
            TaskState::Failed | TaskState::Cancelled => task.on_parent_failure == OnParentFailure::Wait,
            TaskState::Waiting => self.is_at_rest(parent),
            _ => false,
        };
        let mut open = self.edges.iter().filter(|edge| edge.child == task.id && edge.open);
        task.state.is_final()
            || task.state == TaskState::Waiting && open.any(|edge| self.task(edge.parent).is_some_and(rests))
    }
}

/// Every claim is an attempt that is in the history, is running, or ended the task.
fn check_counters(task: &Task) -> Result<(), String> {
    let id = task.id;
    let current = usize::from(task.state == TaskState::Doing || task.ended.is_some());
    let kept = task.history.len();
    must!(
        task.attempt as usize == kept + current,
        "{id:?} counts {} attempts, {kept} + {current} are known",
        task.attempt
    );
    must!(task.state != TaskState::Doing || task.ended.is_none(), "{id:?} runs and its last attempt ended it");
    let max = taskyard_core::store::CRASHES_MAX;
    must!(task.crashes <= max, "{id:?} counts {} crashes", task.crashes);
    must!(task.crashes < max || task.state.is_final(), "{id:?} is {} after {max} crashes", task.state);
    let cautious = task.crashes == 0 && task.lost < taskyard_core::store::LOST_ALONE_MIN || task.alone;
    must!(cautious || task.state.is_final(), "{id:?} has killed or lost its server and does not run alone");
    Ok(())
}
