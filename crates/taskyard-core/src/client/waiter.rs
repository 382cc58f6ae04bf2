//! One waiter per client: all references that wait share it, so that a thousand of them cost one look.
//!
//! It looks when a finish rings, when a reference begins to wait, and on polling (often while other processes are not
//! heard, seldom otherwise).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::ClientConfig;
use crate::TaskId;
use crate::store::{Final, Store};

/// Ids asked for in one statement.
const LOOK_MAX: usize = 1_000;
/// The least time between two looks: rings that come faster are one.
const LOOK_GAP: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Board {
    waiting: HashMap<TaskId, Vec<oneshot::Sender<Final>>>,
    fresh: Vec<TaskId>,
    running: bool,
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

    /// Answers once the task is in a final state.
    pub(super) fn wait(self: &Arc<Self>, id: TaskId) -> oneshot::Receiver<Final> {
        let (sender, receiver) = oneshot::channel();
        let mut board = self.lock();
        board.waiting.entry(id).or_default().push(sender);
        board.fresh.push(id);
        if !std::mem::replace(&mut board.running, true) {
            self.runtime.spawn(Arc::clone(self).run());
        }
        drop(board);
        self.asked.notify_one();
        receiver
    }

    /// Looks until nobody waits any more.
    async fn run(self: Arc<Self>) {
        let mut finished = self.store.bells().finished.listen();
        let mut pause = Duration::from_millis(50);
        loop {
            let rang = finished.take();
            let looked = tokio::time::Instant::now();
            let ids: Vec<TaskId> = {
                let mut board = self.lock();
                board.waiting.retain(|_, senders| {
                    senders.retain(|sender| !sender.is_closed());
                    !senders.is_empty()
                });
                if board.waiting.is_empty() {
                    board.fresh.clear();
                    board.running = false;
                    return;
                }
                let fresh = std::mem::take(&mut board.fresh);
                // Nothing rang and nobody is new: this is the poll, which looks for all.
                if rang || fresh.is_empty() { board.waiting.keys().copied().collect() } else { fresh }
            };
            let mut failed = false;
            for chunk in ids.chunks(LOOK_MAX) {
                match self.store.finals(chunk).await {
                    Ok(finals) => self.answer(finals),
                    Err(error) => {
                        tracing::debug!(%error, "cannot look for finished tasks; trying again");
                        failed = true;
                        break;
                    }
                }
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
                finished = self.store.bells().finished.listen();
                continue;
            }
            pause = Duration::from_millis(50);
            let poll = {
                let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
                if self.store.hears_others() { config.fallback_poll } else { config.poll }
            };
            tokio::select! {
                () = self.asked.notified() => {}
                () = async { finished.clone().heard().await; tokio::time::sleep_until(looked + LOOK_GAP).await } => {}
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    fn answer(&self, finals: Vec<Final>) {
        let mut board = self.lock();
        for found in finals {
            for sender in board.waiting.remove(&found.id).unwrap_or_default() {
                let _ = sender.send(found.clone());
            }
        }
    }
}
