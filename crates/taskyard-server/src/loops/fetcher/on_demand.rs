//! Claims tasks only on request, for programs that take tasks one by one and run them themselves.
//!
//! Requests for the same queues are served by one claim, in the order of the requests. A request that may wait is tried
//! again on notifications and by polling; when its waiting time is over it receives an empty reply. A task that must
//! run alone is assigned only when nothing else of this server runs, and nothing is assigned beside it.

use std::time::{Duration, Instant};

use taskyard_core::store::Claimed;
use taskyard_core::{ClaimId, TaskId};

use super::Fetcher;
use super::claim::Got;
use crate::execute::demand::{DemandMessage, TakeRequest};
use crate::loops::state::{Lease, Phase};
use taskyard_core::backoff::jittered;

/// Minimum time between two claims for the same requests, however many notifications arrive.
const CLAIMS_APART: Duration = Duration::from_millis(5);

impl Fetcher {
    /// Runs until the server stops.
    pub async fn run_on_demand(mut self) {
        let mut requests: Vec<TakeRequest> = Vec::new();
        // Set while a task that must run alone is known to wait; cleared by the next claim.
        let mut alone = false;
        // Starts the child before the first request arrives.
        self.executor().watch(Instant::now());
        while self.state.phase() == Phase::Running {
            self.listen(&mut requests);
            if self.hungry || requests.iter().any(|one| !one.has_looked) {
                self.hungry = false;
                if !requests.is_empty() {
                    alone = self.serve(&mut requests).await;
                }
            }
            let now = Instant::now();
            for over in requests.extract_if(.., |one| one.is_over(now)) {
                let _ = over.reply.send(Vec::new());
            }
            self.wait_for_askers(&requests, alone).await;
        }
    }

    /// Processes the messages in their order, so that a withdrawn request does not take what a later one asked for.
    fn listen(&self, requests: &mut Vec<TakeRequest>) {
        for word in self.state.run_context.demand.take() {
            match word {
                DemandMessage::Wants(one) => requests.push(one),
                DemandMessage::Waives(name) => {
                    for waived in requests.extract_if(.., |one| one.name == name) {
                        let _ = waived.reply.send(Vec::new());
                    }
                }
            }
        }
    }

    /// Claims once for all requests. Returns true if a task waits that must run alone.
    async fn serve(&mut self, requests: &mut Vec<TakeRequest>) -> bool {
        self.work.take();
        self.claim_now.mark_unchanged();
        self.written.mark_unchanged();
        self.claimed_at = Instant::now();
        let mut alone = false;
        let mut groups: Vec<Option<Vec<String>>> = Vec::new();
        for one in requests.iter_mut() {
            if !groups.contains(&one.queues) {
                groups.push(one.queues.clone());
            }
        }
        for queues in groups {
            // Requests that arrive during the claim are served by another one.
            for one in requests.iter_mut().filter(|one| one.queues == queues) {
                one.has_looked = true;
            }
            // Nothing is claimed while the lease is in doubt; requests that may wait do so.
            if self.state.may_claim() && self.has_capacity() && !self.runs_alone() {
                let limit: usize = requests.iter().filter(|one| one.queues == queues).map(|one| one.limit.max(1)).sum();
                let limit = limit.min(self.state.config().claim_max.max(1));
                alone |= self.give_out(requests, &queues, limit).await;
            }
        }
        alone
    }

    /// Claims for the requests on these queues. Returns true if a task waits that must run alone.
    async fn give_out(&mut self, requests: &mut Vec<TakeRequest>, queues: &Option<Vec<String>>, limit: usize) -> bool {
        let served = queues.clone().or_else(|| self.state.config().queues.clone());
        let (claim, reply) = match self.claim(served.clone(), limit, false, None).await {
            Got::Reply { claim, reply } => (claim, reply),
            Got::Dead => {
                self.state.beat_now.notify_one();
                return false;
            }
            Got::Nothing => return false,
        };
        // A request withdrawn during the claim receives nothing; its tasks may go to another one.
        self.listen(requests);
        let waits_alone = reply.alone_waiting;
        let nothing = reply.tasks.is_empty();
        self.assign(requests, queues, claim, reply.tasks);
        if !waits_alone || !nothing || self.is_busy() {
            return waits_alone;
        }
        self.until_written().await;
        match self.claim(served, 1, true, None).await {
            Got::Reply { claim, reply } => self.assign(requests, queues, claim, reply.tasks),
            Got::Dead => self.state.beat_now.notify_one(),
            Got::Nothing => {}
        }
        false
    }

    /// Dispatches the claimed tasks and replies to the requests. Tasks that no request takes any more are released.
    fn assign(
        &self,
        requests: &mut Vec<TakeRequest>,
        queues: &Option<Vec<String>>,
        claim: ClaimId,
        tasks: Vec<Claimed>,
    ) {
        let mut left: Vec<TaskId> = tasks.iter().filter(|task| !task.expired).map(|task| task.id).collect();
        while !left.is_empty() {
            let Some(place) = requests.iter().position(|one| one.queues == *queues) else { break };
            let one = requests.remove(place);
            let rest = left.split_off(one.limit.max(1).min(left.len()));
            // The reply cannot overtake the tasks that it names: it is sent on this thread, after the dispatch.
            left = match one.reply.send(left) {
                Ok(()) => rest,
                Err(unwanted) => unwanted.into_iter().chain(rest).collect(),
            };
        }
        self.dispatch(claim, tasks, |task| !left.contains(&task.id));
    }

    fn is_busy(&self) -> bool {
        let stats = self.state.stats();
        stats.running + stats.unstarted > 0
    }

    /// Returns true if a running task of this server must run alone.
    fn runs_alone(&self) -> bool {
        self.executor().runs_alone()
    }

    /// Waits until a claim may be worthwhile.
    async fn wait_for_askers(&mut self, requests: &[TakeRequest], alone: bool) {
        let (state, executor) = (self.state.clone(), self.executor);
        let config = state.config();
        let hears = state.store.hears_others() && config.use_notify;
        let poll = jittered(if hears { config.fallback_polling_interval } else { config.polling_interval });
        let now = Instant::now();
        let first = requests.iter().map(|one| one.until.saturating_duration_since(now)).min();
        let waits = !requests.is_empty();
        let patience = first.unwrap_or(poll).min(poll).max(Duration::from_millis(1));
        let polled = self.claimed_at + poll <= now + patience;
        tokio::select! {
            () = state.run_context.demand.filled() => {}
            () = tokio::time::sleep(patience) => self.hungry |= polled,
            () = state.reached(Phase::Draining) => {}
            () = self.work.notified(), if waits => self.claim_soon().await,
            _ = self.claim_now.changed(), if waits => self.claim_soon().await,
            _ = self.settings.changed(), if waits => self.claim_soon().await,
            _ = self.lease.changed() => self.hungry |= *state.lease.borrow() == Lease::Good,
            // The end of a task may have freed capacity in a limited queue, or made this server idle.
            _ = self.written.changed(), if waits => self.claim_soon().await,
            () = state.executors[executor].changed().notified(), if waits && alone => self.claim_soon().await,
        }
    }

    async fn claim_soon(&mut self) {
        let rested = self.claimed_at.elapsed();
        if rested < CLAIMS_APART {
            tokio::time::sleep(CLAIMS_APART - rested).await;
        }
        self.hungry = true;
    }
}
