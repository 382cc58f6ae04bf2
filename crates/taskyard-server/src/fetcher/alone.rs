//! Tasks that must run with nothing beside them: those that were there when a server was lost, until the one that
//! kills is known. What runs is let finish, nothing else is claimed meanwhile, then normal work goes on.

use std::time::{Duration, Instant};

use super::claim::Got;
use super::trail::Trail;
use super::{Fetcher, RECHECK};
use crate::state::Phase;

impl Fetcher {
    /// Whether there was one to run.
    pub(super) async fn run_alone(&mut self, queues: Option<Vec<String>>) -> bool {
        if !self.until_idle().await {
            return false;
        }
        let mut ran = false;
        if let Got::Reply { claim, reply } = self.claim(queues, 1, true, None).await {
            ran = !reply.tasks.is_empty();
            self.dispatch(claim, reply.tasks, |_| true);
            self.until_idle().await;
        }
        self.trails.iter_mut().for_each(Trail::reset);
        self.hungry |= ran;
        if !ran {
            // Another server took it, or its queue is at its limit: not asked again at once.
            self.recheck_at = Some(Instant::now() + RECHECK);
        }
        ran
    }

    /// Returns when nothing of this server runs; `false` if it stops first.
    async fn until_idle(&self) -> bool {
        loop {
            if !self.state.may_claim() {
                return false;
            }
            let figures = self.state.figures();
            // What waits for another task may wait for one that is still to be claimed.
            if figures.running - figures.resting.min(figures.running) + figures.unstarted == 0 {
                return true;
            }
            tokio::select! {
                () = self.executor().changed().notified() => {}
                // Another executor's tasks end without ringing here.
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                () = self.state.reached(Phase::Draining) => return false,
            }
        }
    }
}
