//! Attempts that run where others may have to find them: pending async bodies and blocking ones, by task id and token:
//! two attempts of one task may run at once, when the database has lost the claim of the first. A body that ends at its
//! first poll is never in here; its lane names it while the poll lasts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use taskyard_core::{TaskId, Token};

use crate::attempt::Attempt;
use crate::engine::lock;

/// Where an attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Lane(u64),
    Thread,
}

pub(super) struct Running {
    pub attempt: Arc<Attempt>,
    pub started: Instant,
    pub place: Place,
    /// Given up: its thread no longer counts, whatever it still does.
    abandoned: AtomicBool,
}

impl Running {
    pub fn new(attempt: Arc<Attempt>, started: Instant, place: Place) -> Arc<Self> {
        Arc::new(Self { attempt, started, place, abandoned: AtomicBool::new(false) })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.attempt.claimed.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    /// Gives it up; `false` if it was already.
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

    /// Takes this very attempt out; a later attempt of the same task stays.
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
