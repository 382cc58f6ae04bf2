//! The workers of one kind, and the queue from which they take tasks.
//!
//! All workers share one queue, so that a body which blocks its worker holds up nothing else, and tasks that have not
//! started can be released. A worker is started when all others are busy, up to `workers`, and ends after being idle.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Queued;
use super::line::Line;
use super::pool::Pool;
use super::room::Pace;
use super::worker::WorkerFace;
use crate::ServerConfig;
use crate::engine::lock;

/// Starts a worker; the number becomes part of its name.
type Spawn = fn(Arc<Pool>, u64) -> io::Result<Arc<WorkerFace>>;

pub(super) struct Crew {
    pub line: Line,
    pub workers: Mutex<Vec<Arc<WorkerFace>>>,
    pub pace: Pace,
    number: AtomicU64,
    spawn: Spawn,
}

impl Crew {
    pub fn new(spawn: Spawn) -> Self {
        Self {
            line: Line::default(),
            workers: Mutex::default(),
            pace: Pace::default(),
            number: AtomicU64::new(0),
            spawn,
        }
    }

    pub fn accept(&self, pool: &Arc<Pool>, tasks: Vec<Queued>) {
        if !tasks.is_empty() {
            self.line.extend(tasks);
            self.stir(pool);
        }
    }

    /// Takes the next task to start.
    pub fn pop(&self, pool: &Pool, worker: &WorkerFace) -> Option<Queued> {
        let (next, left) = self.line.pop(|| worker.take_task())?;
        // The next batch is to be claimed before the queue is empty.
        if left.is_multiple_of(64) {
            pool.changed.notify_one();
        }
        Some(next)
    }

    /// Wakes as many workers as there are tasks, and starts further ones if all are busy.
    pub fn stir(&self, pool: &Arc<Pool>) {
        let waiting = self.line.len();
        if waiting == 0 || pool.is_closing() {
            return;
        }
        let max = pool.config().workers.max(1);
        let mut workers = lock(&self.workers);
        let idle = workers.iter().filter(|worker| worker.is_idle()).count();
        for _ in 0..waiting.min(workers.len()) {
            self.line.arrived.notify_last();
        }
        let missing = waiting.saturating_sub(idle).min(max.saturating_sub(workers.len()));
        for _ in 0..missing {
            match (self.spawn)(pool.clone(), self.number.fetch_add(1, Ordering::Relaxed)) {
                Ok(face) => workers.push(face),
                Err(error) => {
                    // The existing workers continue, and the watchdog tries again.
                    tracing::error!(%error, "cannot start a worker");
                    break;
                }
            }
        }
    }

    pub fn free_places(&self, config: &ServerConfig) -> usize {
        let concurrency = config.concurrency.max(1);
        let taken: usize = lock(&self.workers).iter().map(|worker| worker.taken(concurrency)).sum();
        (config.workers.max(1) * concurrency).saturating_sub(taken)
    }

    /// Returns the number of workers that are not blocked by a body.
    pub fn responsive(&self, max: usize) -> usize {
        max.saturating_sub(lock(&self.workers).iter().filter(|worker| worker.is_stalled()).count())
    }

    /// Returns true if this worker exceeds `workers`, which was lowered.
    pub fn is_surplus(&self, face: &Arc<WorkerFace>, max: usize) -> bool {
        let workers = lock(&self.workers);
        workers.len() > max && workers.iter().skip(max).any(|worker| Arc::ptr_eq(worker, face))
    }

    /// Returns true if an idle worker may end; it is then removed from the list, so that no task counts on it.
    pub fn may_leave(&self, face: &Arc<WorkerFace>, min: usize) -> bool {
        let mut workers = lock(&self.workers);
        // A task that has just arrived counts on this worker.
        if workers.len() <= min || !face.is_idle() || self.line.len() > 0 {
            return false;
        }
        workers.retain(|worker| !Arc::ptr_eq(worker, face));
        true
    }

    /// Removes a worker from the list; returns false if it was not in it.
    pub fn remove(&self, face: &Arc<WorkerFace>) -> bool {
        let mut workers = lock(&self.workers);
        let before = workers.len();
        workers.retain(|worker| !Arc::ptr_eq(worker, face));
        workers.len() < before
    }
}
