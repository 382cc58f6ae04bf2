//! The queue of tasks that wait for a worker, in the order in which they are started.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use taskyard_core::{TaskId, Token};
use tokio::sync::Notify;

use crate::execute::Queued;
use crate::primitives::lock::lock;

#[derive(Default)]
pub(super) struct RunQueue {
    tasks: Mutex<VecDeque<Queued>>,
    /// Number of tasks, readable without the lock.
    len: AtomicUsize,
    /// Wakes idle workers; the one that became idle last is first, so that the others can end.
    pub arrived: Notify,
}

impl RunQueue {
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Runs `f` on the tasks and updates their number.
    fn with<T>(&self, f: impl FnOnce(&mut VecDeque<Queued>) -> T) -> T {
        let mut tasks = lock(&self.tasks);
        let done = f(&mut tasks);
        self.len.store(tasks.len(), Ordering::Release);
        done
    }

    pub fn extend(&self, more: Vec<Queued>) {
        self.with(|tasks| tasks.extend(more));
    }

    /// Takes the next task to start; also returns how many are left. `count` counts the task elsewhere before it is
    /// removed here, so that an observer sees it at least once.
    pub fn pop(&self, count: impl FnOnce()) -> Option<(Queued, usize)> {
        if self.len() == 0 {
            return None;
        }
        self.with(|tasks| {
            let next = tasks.pop_front()?;
            count();
            Some((next, tasks.len()))
        })
    }

    /// Puts back a task that was not started after all. `count` undoes its count elsewhere.
    pub fn put_back(&self, queued: Queued, count: impl FnOnce()) {
        self.with(|tasks| tasks.push_front(queued));
        count();
        self.arrived.notify_last();
    }

    /// Takes the tasks that have waited for `patience`.
    pub fn take_older(&self, now: Instant, patience: Duration) -> Vec<Queued> {
        self.with(|tasks| {
            let mut taken = Vec::new();
            while tasks.front().is_some_and(|queued| now.saturating_duration_since(queued.since) >= patience) {
                taken.extend(tasks.pop_front());
            }
            taken
        })
    }

    /// Takes the queued tasks in `meant`, and removes them from it.
    pub fn take_meant(&self, meant: &mut HashSet<(TaskId, Token)>) -> Vec<Queued> {
        let key = |queued: &Queued| (queued.claimed.id, queued.claimed.token);
        self.with(|tasks| {
            if !tasks.iter().any(|queued| meant.contains(&key(queued))) {
                return Vec::new();
            }
            let (taken, kept) = std::mem::take(tasks).into_iter().partition(|queued| meant.remove(&key(queued)));
            *tasks = kept;
            Vec::from(taken)
        })
    }

    pub fn clear(&self) {
        self.with(VecDeque::clear);
    }
}
