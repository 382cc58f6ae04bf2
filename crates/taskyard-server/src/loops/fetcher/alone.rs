//! Tasks that must run alone: those that were running when a server was lost, until the one that kills servers is
//! identified. Running tasks are left to finish and nothing else is claimed meanwhile; normal claiming continues
//! afterwards.

use std::time::{Duration, Instant};

use super::claim::Got;
use super::cursor_state::CursorState;
use super::{Fetcher, RECHECK};
use crate::loops::state::Phase;

/// Maximum wait for ends that are being written. Ends that the database refuses are not waited for any longer.
const ENDS_MAX: Duration = Duration::from_secs(1);

impl Fetcher {
    /// Runs one such task. Returns true if there was one.
    pub(super) async fn run_alone(&mut self, queues: Option<Vec<String>>) -> bool {
        if !self.until_idle().await {
            return false;
        }
        self.until_written().await;
        let mut ran = false;
        if let Got::Reply { claim, reply } = self.claim(queues, 1, true, None).await {
            ran = !reply.tasks.is_empty();
            self.dispatch(claim, reply.tasks, |_| true);
            self.until_idle().await;
        }
        self.cursor_states.iter_mut().for_each(CursorState::reset);
        self.hungry |= ran;
        if !ran {
            // Another server took it, or its queue is at its limit: do not claim again at once.
            self.recheck_at = Some(Instant::now() + RECHECK);
        }
        ran
    }

    /// Returns when all ends of this server are written. Otherwise, if the next task kills the server, the one before
    /// it would seem to have run beside it.
    pub(super) async fn until_written(&self) {
        let mut written = self.state.written.subscribe();
        let all = async { while self.state.unwritten() > 0 && written.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(ENDS_MAX, all).await;
    }

    /// Returns true when no task of this server runs; false if the server stops first.
    async fn until_idle(&self) -> bool {
        loop {
            if !self.state.may_claim() {
                return false;
            }
            let stats = self.state.stats();
            // A task that waits for another may wait for one that is still to be claimed.
            if stats.running - stats.released_slots.min(stats.running) + stats.unstarted == 0 {
                return true;
            }
            tokio::select! {
                () = self.executor().changed().notified() => {}
                // Tasks of another executor end without a notification here.
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                () = self.state.reached(Phase::Draining) => return false,
            }
        }
    }
}
