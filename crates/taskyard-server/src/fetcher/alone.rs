//! Tasks that must run with nothing beside them: those that were there when a server was lost, until the one that
//! kills is known. What runs is let finish, nothing else is claimed meanwhile, then normal work goes on.

use std::time::{Duration, Instant};

use super::claim::Got;
use super::trail::Trail;
use super::{Fetcher, RECHECK};
use crate::state::Phase;

/// How long ends that are on their way to the database are waited for. One that it refuses is not.
const ENDS_MAX: Duration = Duration::from_secs(1);

impl Fetcher {
    /// Whether there was one to run.
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
        self.trails.iter_mut().for_each(Trail::reset);
        self.hungry |= ran;
        if !ran {
            // Another server took it, or its queue is at its limit: not asked again at once.
            self.recheck_at = Some(Instant::now() + RECHECK);
        }
        ran
    }

    /// Returns when what has ended here is written: if the next task kills the server, the one before it would seem to have run
    /// beside it.
    pub(super) async fn until_written(&self) {
        let mut written = self.state.written.subscribe();
        let all = async { while self.state.unwritten() > 0 && written.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(ENDS_MAX, all).await;
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
