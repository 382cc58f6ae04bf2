//! Running attempts that other code may have to find: pending async bodies and blocking ones, by task id and token. Two
//! attempts of one task may run at once if the database has lost the claim of the first. A body that ends at its first
//! poll is not included; its worker refers to it during the poll.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use taskyard_core::{TaskId, Token};

use super::poll_watch::PollWatch;
use super::worker::WorkerHandle;
use crate::attempt::Attempt;
use crate::primitives::lock::lock;

/// Moves a body to another task.
pub(super) type Revive = Box<dyn Fn(&Arc<Running>) + Send + Sync>;

/// Where an attempt runs.
pub(super) enum RunSite {
    /// On the caller's runtime, started by this worker. `revive` moves the body to another task of that runtime.
    Shared { worker: Arc<WorkerHandle>, revive: Revive },
    /// On this worker's thread.
    Local(Arc<WorkerHandle>),
    /// On a thread of its own.
    Thread,
}

pub(super) struct Running {
    pub attempt: Arc<Attempt>,
    pub started: Instant,
    pub site: RunSite,
    /// State of the polls of an async body.
    pub polls: PollWatch,
    /// Number of the task that polls an async body.
    carrier: AtomicU64,
    /// Set once it was revived although no thread is known to be blocked.
    revived: AtomicBool,
    /// Set once it was abandoned: its thread no longer counts, whatever it still does.
    abandoned: AtomicBool,
}

impl Running {
    pub fn new(attempt: Arc<Attempt>, started: Instant, site: RunSite) -> Arc<Self> {
        Arc::new(Self {
            attempt,
            started,
            site,
            polls: PollWatch::default(),
            carrier: AtomicU64::new(0),
            revived: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.attempt.claimed.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    pub fn is_carried_by(&self, carrier: u64) -> bool {
        self.carrier.load(Ordering::Acquire) == carrier
    }

    /// Returns the number of the task that polls the body from now on.
    pub fn next_carrier(&self) -> u64 {
        self.carrier.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Moves its body to another task, if it is on the caller's runtime and waits to be polled.
    pub fn revive(self: &Arc<Self>) {
        if let RunSite::Shared { revive, .. } = &self.site {
            revive(self);
        }
    }

    /// As [`Self::revive`], but only the first time.
    pub fn revive_once(self: &Arc<Self>) {
        if !self.revived.swap(true, Ordering::AcqRel) {
            self.revive();
        }
    }

    /// Marks it as abandoned; returns false if it was already.
    pub fn abandon(&self) -> bool {
        !self.abandoned.swap(true, Ordering::AcqRel)
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

fn key(attempt: &Attempt) -> (TaskId, Token) {
    (attempt.id(), attempt.claimed.token)
}

#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<(TaskId, Token), Arc<Running>>>);

impl Table {
    pub fn insert(&self, running: Arc<Running>) {
        lock(&self.0).insert(key(&running.attempt), running);
    }

    /// Removes exactly this attempt; a later attempt of the same task stays.
    pub fn remove(&self, running: &Arc<Running>) {
        let mut table = lock(&self.0);
        let key = key(&running.attempt);
        if table.get(&key).is_some_and(|found| Arc::ptr_eq(found, running)) {
            table.remove(&key);
        }
    }

    pub fn get(&self, id: TaskId, token: Token) -> Option<Arc<Running>> {
        lock(&self.0).get(&(id, token)).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Running>> {
        lock(&self.0).values().cloned().collect()
    }
}
