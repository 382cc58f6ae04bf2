//! Groups that met a lock of another transaction, or that alone fail with a transient error: set aside and retried
//! apart.
//!
//! Another transaction may hold a unique key, a parent's row or a queue's row for long; a trigger may fail one group
//! with the error of a database that is full or unreachable. Such a group waits here, together with everything that
//! must not overtake it: groups with the same unique key, children of its tasks, control calls of its tasks, and
//! flushes. Everything else continues. Groups are retried with backoff, first all together, then in halves, for a
//! bounded time per round; a round continues where the previous one stopped.

use std::collections::BTreeMap;

use super::write::{APART_WAIT, Batch, Group, Tried};
use super::*;
use crate::backoff::{ASIDE, Backoff};

/// Maximum time that one round may divide groups.
const ROUND_MAX: Duration = Duration::from_millis(250);

/// Position among the groups set aside: the order of the calls.
pub(super) type CallOrder = u64;

enum Item {
    Group { tasks: Vec<NewTask>, group: Group },
    Control { verb: Verb, id: TaskId, reply: ControlSender },
    Flush(oneshot::Sender<()>),
}

/// Ids and unique keys of groups that later calls must not overtake.
#[derive(Default)]
pub(super) struct Claims {
    ids: HashSet<TaskId>,
    keys: HashSet<String>,
}

impl Claims {
    pub fn add(&mut self, tasks: &[NewTask]) {
        self.ids.extend(tasks.iter().map(|task| task.id));
        self.keys.extend(tasks.iter().filter_map(|task| task.unique.as_ref()).map(|unique| unique.key.clone()));
    }

    /// Returns whether these tasks depend on those.
    pub fn concern(&self, tasks: &[NewTask]) -> bool {
        !self.ids.is_empty()
            && tasks.iter().any(|task| {
                self.ids.contains(&task.id)
                    || task.parents.iter().any(|parent| self.ids.contains(parent))
                    || task.unique.as_ref().is_some_and(|unique| self.keys.contains(&unique.key))
            })
    }
}

/// The groups, control calls and flushes that are set aside.
#[derive(Default)]
pub(super) struct Deferred {
    items: BTreeMap<CallOrder, Item>,
    last: CallOrder,
    claims: Claims,
    /// Parents and queues that are probably locked: groups that name them are not tried together with others.
    parents: HashSet<TaskId>,
    queues: HashSet<String>,
    /// When the next round is due, and the pauses between rounds while nothing is written.
    next: Option<Instant>,
    backoff: Backoff,
    /// Position at which the next round begins.
    resume: CallOrder,
}

impl Deferred {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns whether a group with this task is here.
    pub fn has(&self, id: TaskId) -> bool {
        self.claims.ids.contains(&id)
    }

    pub fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }

    /// Returns when the next round is due; never returns if nothing is here.
    pub async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next.into()).await,
            None => std::future::pending().await,
        }
    }

    fn call_order(&mut self) -> CallOrder {
        self.last += 1;
        self.last
    }

    /// Sets a group aside: at its previous position, or after all others.
    pub fn put(&mut self, tasks: Vec<NewTask>, mut group: Group) {
        self.claims.add(&tasks);
        if group.alone {
            self.parents.extend(tasks.iter().flat_map(|task| &task.parents));
            if tasks.iter().all(is_plain) {
                self.queues.extend(tasks.iter().map(|task| task.queue.clone()));
            }
        }
        let call_order = group.call_order.unwrap_or_else(|| self.call_order());
        group.call_order = Some(call_order);
        self.items.insert(call_order, Item::Group { tasks, group });
        if self.next.is_none() {
            self.backoff = Backoff::new(ASIDE);
            self.next = Some(Instant::now() + self.backoff.next_pause());
        }
    }

    pub fn put_control(&mut self, verb: Verb, id: TaskId, reply: ControlSender) {
        let call_order = self.call_order();
        self.items.insert(call_order, Item::Control { verb, id, reply });
    }

    /// Returns whether a group must wait here, because it depends on one that does or will probably meet the same lock.
    pub fn concerns(&self, tasks: &[NewTask]) -> bool {
        self.claims.concern(tasks)
            || tasks.iter().any(|task| {
                self.queues.contains(&task.queue) || task.parents.iter().any(|parent| self.parents.contains(parent))
            })
    }

    fn groups(&self) -> usize {
        self.items.values().filter(|item| matches!(item, Item::Group { .. })).count()
    }

    fn tasks(&self) -> usize {
        let tasks = |item: &Item| if let Item::Group { tasks, .. } = item { tasks.len() } else { 0 };
        self.items.values().map(tasks).sum()
    }

    /// Returns the failure of the first group that has one.
    fn failure(&self) -> Option<&Error> {
        self.items
            .values()
            .find_map(|item| if let Item::Group { group, .. } = item { group.failure.as_deref() } else { None })
    }
}

/// Returns whether the task needs nothing that another addition may lock.
pub(super) fn is_plain(task: &NewTask) -> bool {
    task.parents.is_empty() && task.unique.is_none()
}

impl Writer {
    /// Replies to a flush once everything that came before it is settled.
    pub(super) fn flush(&mut self, reply: oneshot::Sender<()>) {
        if self.deferred.is_empty() {
            let _ = reply.send(());
        } else {
            let call_order = self.deferred.call_order();
            self.deferred.items.insert(call_order, Item::Flush(reply));
        }
    }

    /// Sets aside those groups of a batch that depend on groups already set aside.
    pub(super) fn leave_aside(&mut self, mut batch: Batch) -> Batch {
        if self.deferred.is_empty() || !batch.parts().0.any(|(tasks, _)| self.deferred.concerns(tasks)) {
            return batch;
        }
        let mut left = Batch::default();
        for (tasks, group) in batch.into_groups() {
            if self.deferred.concerns(&tasks) {
                self.deferred.put(tasks, group);
            } else {
                left.push(tasks, group);
            }
        }
        self.count_aside();
        left
    }

    pub(super) fn count_aside(&self) {
        let (tasks, failure) = (self.deferred.tasks(), self.deferred.failure().map(ToString::to_string));
        let mut waiting = self.shared.lock();
        (waiting.deferred, waiting.failure) = (tasks, failure);
    }

    /// Runs one round.
    pub(super) async fn retry_aside(&mut self) {
        let resume = self.deferred.resume;
        let (mut batch, mut before, mut begin) = (Batch::default(), Claims::default(), 0);
        let items = std::mem::take(&mut self.deferred.items);
        (self.deferred.claims, self.deferred.parents, self.deferred.queues) = Default::default();
        let mut rest = BTreeMap::new();
        for (call_order, item) in items {
            match item {
                // Withdrawn groups are dropped.
                Item::Group { group, .. } if group.ticket.peek().is_some() => {}
                Item::Group { tasks, mut group } => {
                    if call_order < resume {
                        before.add(&tasks);
                        begin += 1;
                    }
                    group.alone = false;
                    batch.push(tasks, group);
                }
                other => drop(rest.insert(call_order, other)),
            }
        }
        self.deferred.items = rest;
        let had = batch.len();
        if had > 0 {
            self.rename_parents(&mut batch);
            self.writing = Some(batch);
            let tried = Tried {
                parts: std::iter::once(begin..had).collect(),
                before,
                until: Instant::now() + ROUND_MAX,
                wait: APART_WAIT,
            };
            self.deferred.resume = self.divide(tried).await.unwrap_or(0);
            self.writing = None;
            self.shared.lock().withdrawn.clear();
        }
        let left = self.deferred.groups();
        if left < had {
            self.deferred.backoff = Backoff::new(ASIDE);
        }
        let pause = self.deferred.backoff.next_pause();
        self.count_aside();
        self.follow_aside().await;
        self.deferred.next = (!self.deferred.is_empty()).then(|| Instant::now() + pause);
    }

    /// Carries out control calls and flushes that do not wait for anything any more.
    async fn follow_aside(&mut self) {
        let first = self
            .deferred
            .items
            .iter()
            .find(|(_, item)| matches!(item, Item::Group { .. }))
            .map(|(call_order, _)| *call_order);
        let free = |call_order: &CallOrder, item: &Item| match item {
            Item::Group { .. } => false,
            Item::Control { id, .. } => !self.deferred.claims.ids.contains(id),
            Item::Flush(_) => first.is_none_or(|first| *call_order < first),
        };
        let call_orders: Vec<CallOrder> = self
            .deferred
            .items
            .iter()
            .filter(|(call_order, item)| free(call_order, item))
            .map(|(call_order, _)| *call_order)
            .collect();
        for call_order in call_orders {
            match self.deferred.items.remove(&call_order) {
                Some(Item::Control { verb, id, reply }) => self.control(verb, vec![(id, reply)]).await,
                Some(Item::Flush(reply)) => drop(reply.send(())),
                _ => {}
            }
        }
    }

    /// Gives up everything that is set aside.
    pub(super) fn lose_aside(&mut self) {
        let (error, closed) = {
            let waiting = self.shared.lock();
            (waiting.full(), waiting.shut_down())
        };
        for item in std::mem::take(&mut self.deferred).items.into_values() {
            match item {
                Item::Group { group, .. } if group.ticket.peek().is_some() => {}
                Item::Group { tasks, group } => shutdown::lose(&self.shared, &tasks, &group.ticket, &error),
                Item::Control { reply, .. } => drop(reply.send(Err(closed.clone()))),
                Item::Flush(_) => {}
            }
        }
    }
}
