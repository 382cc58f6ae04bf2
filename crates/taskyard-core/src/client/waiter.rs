//! One waiter per client: all references that wait share it, so that a thousand of them cost one look.
//!
//! It looks when a finish rings, when a reference begins to wait, and on polling (often while other processes are not
//! heard, seldom otherwise). As often as it polls it looks whether the tasks are still there, too: one that was removed
//! will never end.
//!
//! A wait that is dropped takes its entry with it, at once.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::ClientConfig;
use crate::store::{Final, Store};
use crate::{Error, Result, TaskId};

/// Ids asked for in one statement.
const LOOK_MAX: usize = 1_000;
/// The least time between two looks: rings that come faster are one.
const LOOK_GAP: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Board {
    waiting: HashMap<TaskId, Vec<Asker>>,
    fresh: HashSet<TaskId>,
    running: bool,
    last: u64,
}

/// One that waits for a task.
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
        Pin::new(&mut self.answer).poll(poller).map(|answer| answer.unwrap_or(Err(Error::ShutDown("this client"))))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut board = self.waiter.lock();
        // Answered ones are out already.
        let Some(askers) = board.waiting.get_mut(&self.id) else { return };
        askers.retain(|asker| asker.number != self.number);
        if askers.is_empty() {
            board.waiting.remove(&self.id);
            board.fresh.remove(&self.id);
        }
    }
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

    /// Waits until the task, which is there, is in a final state, or is there no more.
    pub(super) fn wait(self: &Arc<Self>, id: TaskId) -> Waiting {
        let (sender, answer) = oneshot::channel();
        let mut board = self.lock();
        board.last += 1;
        let number = board.last;
        board.waiting.entry(id).or_default().push(Asker { number, sender });
        board.fresh.insert(id);
        if !std::mem::replace(&mut board.running, true) {
            self.runtime.spawn(Arc::clone(self).run());
        }
        drop(board);
        self.asked.notify_one();
        Waiting { waiter: Arc::clone(self), id, number, answer }
    }

    /// How many waits there are.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.values().map(Vec::len).sum()
    }

    /// Looks until nobody waits any more.
    async fn run(self: Arc<Self>) {
        let mut finished = self.store.bells().finished.listen();
        let mut pause = Duration::from_millis(50);
        let mut checked = tokio::time::Instant::now();
        loop {
            let rang = finished.take();
            let looked = tokio::time::Instant::now();
            let poll = {
                let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
                if self.store.hears_others() { config.fallback_poll } else { config.poll }
            };
            // A store that rings all the time is never polled, and may lose a task all the same.
            let checks = looked.duration_since(checked) >= poll;
            let ids: Vec<TaskId> = {
                let mut board = self.lock();
                if board.waiting.is_empty() {
                    board.fresh = HashSet::new();
                    board.waiting = HashMap::new();
                    board.running = false;
                    return;
                }
                let fresh = std::mem::take(&mut board.fresh);
                // Nothing rang and nobody is new: this is the poll, which looks for all.
                let all = rang || checks || fresh.is_empty();
                if all { board.waiting.keys().copied().collect() } else { fresh.into_iter().collect() }
            };
            if let Err(error) = self.look(&ids, checks).await {
                if matches!(error, Error::ShutDown(_)) {
                    ids.iter().for_each(|id| self.answer(*id, &Err(error.clone())));
                    continue;
                }
                tracing::debug!(%error, "cannot look for finished tasks; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
                finished = self.store.bells().finished.listen();
                continue;
            }
            pause = Duration::from_millis(50);
            if checks {
                checked = looked;
            }
            tokio::select! {
                () = self.asked.notified() => {}
                () = async { finished.clone().heard().await; tokio::time::sleep_until(looked + LOOK_GAP).await } => {}
                () = tokio::time::sleep(poll) => {}
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
