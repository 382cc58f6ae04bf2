//! The waiter of a client, shared by all references that wait, so that a thousand waits cost one query.
//!
//! Queries when a task's end is notified, when a reference begins to wait, and periodically (often while notifications
//! of other processes do not arrive, rarely otherwise). The periodic query also checks whether the tasks still exist,
//! because a removed task never ends. Dropping a wait removes its entry at once.
//!
//! While the database is unreachable, waits continue. A store that is permanently lost ends them within a second. An
//! error that is not transient (a missing right or schema, a row that cannot be read) ends the affected waits after
//! [`REFUSED_MAX`].

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::guard::guarded;
use super::{ClientConfig, SHUT_DOWN};
use crate::backoff::{Backoff, READ};
use crate::store::{Final, Store};
use crate::{Error, Result, TaskId};

/// Maximum number of ids in one statement.
const LOOK_MAX: usize = 1_000;
/// Minimum time between two queries: notifications that arrive faster are merged.
const LOOK_GAP: Duration = Duration::from_millis(2);
/// Interval between two checks whether the store is lost.
const LOST_EVERY: Duration = Duration::from_secs(1);
/// Duration after which an error that is not transient ends waits. A restore may be in progress before.
const REFUSED_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Board {
    waiting: HashMap<TaskId, Vec<Asker>>,
    fresh: HashSet<TaskId>,
    running: bool,
    last: u64,
}

/// A wait for a task.
struct Asker {
    number: u64,
    sender: oneshot::Sender<Result<Final>>,
}

pub(super) struct Waiter {
    store: Arc<dyn Store>,
    config: Arc<RwLock<ClientConfig>>,
    runtime: tokio::runtime::Handle,
    board: Mutex<Board>,
    asked: Notify,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

/// A wait for the end of a task. Dropping it ends the wait.
pub(super) struct Waiting {
    waiter: Arc<Waiter>,
    id: TaskId,
    number: u64,
    answer: oneshot::Receiver<Result<Final>>,
}

impl Future for Waiting {
    type Output = Result<Final>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(poller).map(|answer| answer.unwrap_or(Err(SHUT_DOWN)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut board = self.waiter.lock();
        // The entries of completed waits have been removed already.
        let Some(askers) = board.waiting.get_mut(&self.id) else { return };
        askers.retain(|asker| asker.number != self.number);
        if askers.is_empty() {
            board.waiting.remove(&self.id);
            board.fresh.remove(&self.id);
        }
    }
}

/// Runs the waiter until no wait is left. If it ends before, all waits get an error.
fn looking(waiter: Arc<Waiter>) -> impl Future<Output = ()> + Send {
    let looks = Arc::clone(&waiter);
    let broke = "waiting for tasks failed because of a bug in Taskyard";
    guarded(async move { looks.run().await }, broke, move |error| {
        let waiting = {
            let mut board = waiter.lock();
            board.running = false;
            board.fresh.clear();
            std::mem::take(&mut board.waiting)
        };
        for asker in waiting.into_values().flatten() {
            let _ = asker.sender.send(Err(error.clone()));
        }
    })
}

impl Waiter {
    pub(super) fn new(
        store: Arc<dyn Store>,
        config: Arc<RwLock<ClientConfig>>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self { store, config, runtime, board: Mutex::default(), asked: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the task, which exists, is in a final state or is removed.
    pub(super) fn wait(self: &Arc<Self>, id: TaskId) -> Waiting {
        let (sender, answer) = oneshot::channel();
        let mut board = self.lock();
        board.last += 1;
        let number = board.last;
        board.waiting.entry(id).or_default().push(Asker { number, sender });
        board.fresh.insert(id);
        let starts = !std::mem::replace(&mut board.running, true);
        drop(board);
        // A runtime that has ended drops the future inside `spawn`, and its guard takes the lock.
        if starts {
            self.runtime.spawn(looking(Arc::clone(self)));
        }
        self.asked.notify_one();
        Waiting { waiter: Arc::clone(self), id, number, answer }
    }

    /// Returns the number of waits.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.values().map(Vec::len).sum()
    }

    /// Queries until no wait is left.
    async fn run(&self) {
        let mut finished = self.store.notifications().finished.listen();
        let mut backoff = Backoff::new(READ);
        let mut checked = tokio::time::Instant::now();
        // When queries first met an error that is not transient.
        let mut refused: Option<tokio::time::Instant> = None;
        loop {
            let notified = finished.take();
            let looked = tokio::time::Instant::now();
            let poll = {
                let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
                if self.store.hears_others() { config.fallback_polling_interval } else { config.polling_interval }
            };
            // A store with constant notifications is never polled, but may lose a task all the same.
            let checks = looked.duration_since(checked) >= poll;
            let (ids, all): (Vec<TaskId>, bool) = {
                let mut board = self.lock();
                if board.waiting.is_empty() {
                    board.fresh = HashSet::new();
                    board.waiting = HashMap::new();
                    board.running = false;
                    return;
                }
                let fresh = std::mem::take(&mut board.fresh);
                // Without a notification or a new wait, this is the periodic query, which covers all tasks.
                let all = notified || checks || fresh.is_empty();
                (if all { board.waiting.keys().copied().collect() } else { fresh.into_iter().collect() }, all)
            };
            if let Err(error) = self.look(&ids, checks).await {
                if error.is_permanent() {
                    ids.iter().for_each(|id| self.answer(*id, &Err(error.clone())));
                    continue;
                }
                tracing::debug!(%error, "cannot look for finished tasks; trying again");
                if !error.is_transient() {
                    let since = *refused.get_or_insert(looked);
                    self.look_apart(&ids, looked.duration_since(since) >= REFUSED_MAX).await;
                }
                backoff.pause().await;
                finished = self.store.notifications().finished.listen();
                continue;
            }
            backoff = Backoff::new(READ);
            if all {
                refused = None;
            }
            if checks {
                checked = looked;
            }
            tokio::select! {
                () = self.asked.notified() => {}
                () = async { finished.clone().notified().await; tokio::time::sleep_until(looked + LOOK_GAP).await } => {}
                () = tokio::time::sleep(poll) => {}
                () = self.lost() => {}
            }
        }
    }

    /// Returns once the store is lost.
    async fn lost(&self) {
        while self.store.lost().is_none() {
            tokio::time::sleep(LOST_EVERY).await;
        }
    }

    /// Queries each task by itself, so that one that cannot be read does not affect the others. With `ends`, an error
    /// that is not transient ends the waits for that task.
    async fn look_apart(&self, ids: &[TaskId], ends: bool) {
        for id in ids {
            match self.look(&[*id], true).await {
                Err(error) if error.is_transient() || error.is_permanent() => return,
                Err(error) if ends => self.answer(*id, &Err(error)),
                _ => {}
            }
        }
    }

    async fn look(&self, ids: &[TaskId], checks: bool) -> Result<()> {
        for chunk in ids.chunks(LOOK_MAX) {
            let finals = self.store.finals(chunk).await?;
            let open: Vec<TaskId> = if checks {
                let ended: HashSet<TaskId> = finals.iter().map(|found| found.id).collect();
                chunk.iter().copied().filter(|id| !ended.contains(id)).collect()
            } else {
                Vec::new()
            };
            for found in finals {
                self.answer(found.id, &Ok(found));
            }
            if !open.is_empty() {
                let present = self.store.present(&open).await?;
                for (id, _) in open.into_iter().zip(present).filter(|(_, present)| !present) {
                    self.answer(id, &Err(Error::TaskRemoved(id)));
                }
            }
        }
        Ok(())
    }

    fn answer(&self, id: TaskId, answer: &Result<Final>) {
        let askers = self.lock().waiting.remove(&id).unwrap_or_default();
        for asker in askers {
            let _ = asker.sender.send(answer.clone());
        }
    }
}
