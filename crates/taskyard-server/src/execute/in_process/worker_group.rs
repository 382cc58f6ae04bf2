//! The workers of one kind, and the queue from which they take tasks.
//!
//! All workers share one queue, so that a body which blocks its worker holds up nothing else, and tasks that have not
//! started can be released. A worker is started when all others are busy, up to `max_workers`, and ends after being idle.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::Pool;
use super::run_queue::RunQueue;
use super::worker::WorkerHandle;
use crate::ServerConfig;
use crate::execute::Queued;
use crate::execute::capacity::ThroughputEstimate;
use crate::primitives::lock::lock;

/// Starts a worker; the number becomes part of its name.
type Spawn = fn(Arc<Pool>, u64) -> io::Result<Arc<WorkerHandle>>;

pub(super) struct WorkerGroup {
    pub run_queue: RunQueue,
    pub workers: Mutex<Vec<Arc<WorkerHandle>>>,
    pub throughput: ThroughputEstimate,
    number: AtomicU64,
    spawn: Spawn,
}

impl WorkerGroup {
    pub fn new(spawn: Spawn) -> Self {
        Self {
            run_queue: RunQueue::default(),
            workers: Mutex::default(),
            throughput: ThroughputEstimate::default(),
            number: AtomicU64::new(0),
            spawn,
        }
    }

    pub fn accept(&self, pool: &Arc<Pool>, tasks: Vec<Queued>) {
        if !tasks.is_empty() {
            self.run_queue.extend(tasks);
            self.stir(pool);
        }
    }

    /// Takes the next task to start.
    pub fn pop(&self, pool: &Pool, worker: &WorkerHandle) -> Option<Queued> {
        let (next, left) = self.run_queue.pop(|| worker.take_task())?;
        // The next batch is to be claimed before the queue is empty.
        if left.is_multiple_of(64) {
            pool.changed.notify_one();
        }
        Some(next)
    }

    /// Wakes as many workers as there are tasks, and starts further ones if all are busy.
    pub fn stir(&self, pool: &Arc<Pool>) {
        let waiting = self.run_queue.len();
        if waiting == 0 || pool.is_closing() {
            return;
        }
        let max = pool.config().max_workers.max(1);
        let mut workers = lock(&self.workers);
        let idle = workers.iter().filter(|worker| worker.is_idle()).count();
        for _ in 0..waiting.min(workers.len()) {
            self.run_queue.arrived.notify_last();
        }
        let missing = waiting.saturating_sub(idle).min(max.saturating_sub(workers.len()));
        for _ in 0..missing {
            match (self.spawn)(pool.clone(), self.number.fetch_add(1, Ordering::Relaxed)) {
                Ok(worker_handle) => workers.push(worker_handle),
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
        (config.max_workers.max(1) * concurrency).saturating_sub(taken)
    }

    /// Returns the number of workers that are not blocked by a body.
    pub fn responsive(&self, max: usize) -> usize {
        max.saturating_sub(lock(&self.workers).iter().filter(|worker| worker.is_stalled()).count())
    }

    /// Returns true if this worker exceeds `max_workers`, which was lowered.
    pub fn is_surplus(&self, worker_handle: &Arc<WorkerHandle>, max: usize) -> bool {
        let workers = lock(&self.workers);
        workers.len() > max && workers.iter().skip(max).any(|worker| Arc::ptr_eq(worker, worker_handle))
    }

    /// Returns true if an idle worker may end; it is then removed from the list, so that no task counts on it.
    pub fn may_leave(&self, worker_handle: &Arc<WorkerHandle>, min: usize) -> bool {
        let mut workers = lock(&self.workers);
        // A task that has just arrived counts on this worker.
        if workers.len() <= min || !worker_handle.is_idle() || self.run_queue.len() > 0 {
            return false;
        }
        workers.retain(|worker| !Arc::ptr_eq(worker, worker_handle));
        true
    }

    /// Removes a worker from the list; returns false if it was not in it.
    pub fn remove(&self, worker_handle: &Arc<WorkerHandle>) -> bool {
        let mut workers = lock(&self.workers);
        let before = workers.len();
        workers.retain(|worker| !Arc::ptr_eq(worker, worker_handle));
        workers.len() < before
    }
}
