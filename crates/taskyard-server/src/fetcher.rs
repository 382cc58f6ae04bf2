//! Claims work for one executor: one claim at a time, only as much as can start soon.
//!
//! It looks when something rings, when room comes up after a full claim, and by polling, which is the net under lost
//! notifications. While claims come back full it goes on where the last one stopped, but starts from the head again
//! every 100 ms: order numbers commit out of order, and an older task may have become visible. Where an old snapshot
//! keeps what was claimed from being cleared away, the way from the head is long: then every second at the latest.

mod alone;
mod claim;
mod on_demand;
mod ordered;
mod shares;
mod trail;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimPlace, Claimed, Outcome};
use taskyard_core::wake::Listener;
use taskyard_core::{ClaimId, Error, Failure, QueueOrder};
use tokio::sync::watch;

use crate::ServerConfig;
use crate::attempt::Attempt;
use crate::executor::{Executor, Queued};
use crate::parked_reason;
use crate::references::{self, has_references};
use crate::state::{Lease, Phase, State};
use claim::Got;
pub(crate) use on_demand::{Wanted, Word};
use shares::Shares;
use trail::Trail;

/// A claimed task that has not started by then is given back.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a task is kept whose parents' results cannot be read before it is given back.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(500);
/// After a short claim, ends that are written may have freed a place in a limited queue: the shortest time between
/// two looks for that.
const RECHECK: Duration = Duration::from_millis(50);
/// Ends that wait for the database, in claims: beyond that claiming waits too.
const UNWRITTEN_CLAIMS: usize = 4;

/// Filled arguments that wait for their turn at most, before further ones are filled.
const FILLED_AHEAD_MAX: usize = 64 << 20;

pub(crate) struct Fetcher {
    state: Arc<State>,
    executor: usize,
    work: Listener,
    /// There may be more to claim now.
    hungry: bool,
    /// One for all queues, or, where they are served in an order, one for each.
    trails: Vec<Trail>,
    shares: Shares,
    /// The queues and their order at the last look.
    served: (Option<Vec<String>>, QueueOrder),
    looked: Instant,
    asked: watch::Receiver<u64>,
    written: watch::Receiver<u64>,
    // Kept from look to look, or a change between the look and the wait would be slept through.
    lease: watch::Receiver<Lease>,
    settings: watch::Receiver<Arc<ServerConfig>>,
    /// Ends were written since the last look.
    recheck_at: Option<Instant>,
}

impl Fetcher {
    /// A fetcher for one of the state's executors.
    pub fn new(state: Arc<State>, executor: usize) -> Self {
        let work = state.store.bells().work.listen();
        let (asked, written) = (state.look_now.subscribe(), state.written.subscribe());
        let (lease, settings) = (state.lease.subscribe(), state.engine.settings.watch());
        Self {
            state,
            executor,
            work,
            hungry: true,
            trails: vec![Trail::default()],
            shares: Shares::default(),
            served: (None, QueueOrder::Priority),
            looked: Instant::now(),
            asked,
            written,
            lease,
            settings,
            recheck_at: None,
        }
    }

    fn executor(&self) -> &dyn Executor {
        self.state.executors[self.executor].as_ref()
    }

    /// Runs until the server stops.
    pub async fn run(mut self) {
        while self.state.phase() == Phase::Running {
            if self.hungry && self.state.may_claim() && self.has_capacity() {
                let room = self.executor().room().min(self.state.config().claim_max.max(1));
                if room > 0 {
                    self.look(room).await;
                    continue;
                }
            }
            self.wait().await;
        }
    }

    fn has_capacity(&self) -> bool {
        self.state.unwritten() < self.state.config().claim_max.max(1) * UNWRITTEN_CLAIMS
    }

    /// Claims what there is room for, and what follows from it.
    async fn look(&mut self, room: usize) {
        // What rings from here on may be missed by this claim and asks for another.
        self.work.take();
        self.asked.mark_unchanged();
        self.written.mark_unchanged();
        self.recheck_at = None;
        self.looked = Instant::now();
        let config = self.state.config();
        self.follow(&config);
        match &config.queues {
            Some(queues) if config.queue_order != QueueOrder::Priority => {
                self.look_in_order(&config, queues, room).await;
            }
            queues => self.look_at_all(queues.clone(), room).await,
        }
    }

    /// Starts afresh where the queues or their order have changed.
    fn follow(&mut self, config: &ServerConfig) {
        if self.served.0 != config.queues || self.served.1 != config.queue_order {
            self.served = (config.queues.clone(), config.queue_order.clone());
            let ordered = config.queue_order != QueueOrder::Priority;
            let count = config.queues.as_ref().filter(|_| ordered).map_or(1, Vec::len);
            self.trails = (0..count).map(|_| Trail::default()).collect();
            self.shares.forget();
        }
    }

    /// One claim over all queues, by priority.
    async fn look_at_all(&mut self, queues: Option<Vec<String>>, room: usize) {
        let place = self.trails[0].place();
        match self.claim_at(0, queues.clone(), room, place).await {
            Got::Reply { claim, reply } => {
                self.hungry = reply.tasks.len() >= room || place.is_some();
                self.dispatch(claim, reply.tasks, |_| true);
                if reply.alone_waiting {
                    self.run_alone(queues).await;
                }
            }
            Got::Dead => self.until_entered_anew().await,
            Got::Nothing => {}
        }
    }

    /// One claim, which leaves its trail.
    async fn claim_at(
        &mut self,
        trail: usize,
        queues: Option<Vec<String>>,
        limit: usize,
        place: Option<ClaimPlace>,
    ) -> Got {
        let began = Instant::now();
        let got = self.claim(queues, limit, false, place).await;
        let trail = &mut self.trails[trail];
        match &got {
            Got::Reply { reply, .. } if reply.tasks.len() >= limit => {
                // Only large claims are alike enough to be compared.
                let large = limit * 2 >= self.state.config().claim_max;
                trail.full(place, reply.place, large.then(|| began.elapsed()));
            }
            _ => trail.reset(),
        }
        got
    }

    /// Another server declared this one dead; the heartbeat finds out and enters anew.
    async fn until_entered_anew(&self) {
        self.state.beat_now.notify_one();
        let mut identity = self.state.identity.subscribe();
        tokio::select! {
            _ = identity.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = self.state.reached(Phase::Draining) => {}
        }
    }

    /// Waits until it may be worth a claim.
    async fn wait(&mut self) {
        let (state, executor) = (self.state.clone(), self.executor);
        let config = state.config();
        let hears = state.store.hears_others() && config.use_notify;
        let poll = crate::backoff::jittered(if hears { config.fallback_poll } else { config.poll });
        let recheck = match self.recheck_at {
            // Who is hungry already waits for room only.
            Some(at) if !self.hungry => at.saturating_duration_since(Instant::now()).min(poll),
            _ => poll,
        };
        let wants_room = self.hungry && state.may_claim();
        tokio::select! {
            () = self.work.heard() => self.hungry = true,
            _ = self.asked.changed() => self.hungry = true,
            () = tokio::time::sleep(recheck) => self.hungry = true,
            () = state.executors[executor].changed().notified(), if wants_room => {}
            _ = self.written.changed() => {
                self.recheck_at.get_or_insert(self.looked + RECHECK);
            }
            _ = self.lease.changed() => self.hungry = true,
            _ = self.settings.changed() => self.hungry = true,
            () = state.reached(Phase::Draining) => {}
        }
    }

    /// Sends those that are wanted to the executor, and gives the others back; what cannot run here is decided at once.
    fn dispatch(&self, claim: ClaimId, tasks: Vec<Claimed>, is_wanted: impl Fn(&Claimed) -> bool) {
        if tasks.is_empty() {
            return;
        }
        let state = &self.state;
        state.counters.claims.fetch_add(1, Ordering::Relaxed);
        state.counters.claimed.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        let since = Instant::now();
        let keep = state.phase() == Phase::Running;
        let here = self.executor().runtime() == Runtime::Rust;
        let (mut ready, mut ends) = (Vec::with_capacity(tasks.len()), Vec::new());
        let mut refused = false;
        for claimed in tasks {
            let outcome = if !keep {
                Outcome::Released
            } else if claimed.expired {
                Outcome::Expired
            } else if !is_wanted(&claimed) {
                Outcome::Released
            } else {
                // Children know for themselves what they can run.
                let def = state.engine.registry.get(&claimed.kind).filter(|_| here);
                if def.is_some() || !here {
                    ready.push(Queued { claimed, claim, def, since, opened: Vec::new() });
                    continue;
                }
                refused = true;
                Outcome::Refused { reason: parked_reason(&claimed.kind), build: state.engine.rust_build.clone() }
            };
            ends.extend(Attempt::new(claimed, claim, state.engine.clone()).conclude(outcome));
        }
        state.engine.ends.append(&mut ends);
        if refused {
            state.engine.refused.notify_one();
        }
        if here && ready.iter().any(|queued| has_references(&queued.claimed)) {
            let (refer, plain): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|queued: &Queued| has_references(&queued.claimed));
            ready = plain;
            state.filling.fetch_add(refer.len(), Ordering::AcqRel);
            tokio::spawn(fill(self.state.clone(), self.executor, refer));
        }
        if !ready.is_empty() {
            self.executor().accept(ready);
        }
    }
}

/// Hands tasks over once the results that they name stand in their arguments: each as soon as it is filled, and none while
/// those before it are too large to be kept along with it.
async fn fill(state: Arc<State>, executor: usize, tasks: Vec<Queued>) {
    let executor = state.executors[executor].as_ref();
    let max = state.config().limits.arguments_filled_bytes_max;
    let mut waiting = 0;
    for mut queued in tasks {
        while waiting >= FILLED_AHEAD_MAX && state.phase() == Phase::Running {
            tokio::time::sleep(RECHECK).await;
            if executor.figures().unstarted == 0 {
                waiting = 0;
            }
        }
        match references::fill(state.store.as_ref(), &mut queued.claimed, max).await {
            Ok(()) if state.phase() == Phase::Running => {
                waiting += queued.claimed.payload.len();
                executor.accept(vec![queued]);
            }
            Ok(()) => state.give_back(vec![queued]),
            // A fault of the values stays, however often it is tried.
            Err(error) if error.is_about_the_value() => {
                let kind = if matches!(error, Error::OverLimit { .. }) { "OverLimit" } else { "InvalidArgument" };
                let failure = Failure::new(kind, error.to_string());
                Attempt::new(queued.claimed, queued.claim, state.engine.clone()).end(Outcome::Failed(failure));
            }
            Err(error) => {
                tracing::warn!(task = %queued.claimed.id, %error, "the results of its parents cannot be read; the task is given back");
                // Not at once, for it may come back at once.
                tokio::select! {
                    () = tokio::time::sleep(GIVE_BACK_AFTER) => {}
                    () = state.reached(Phase::Draining) => {}
                }
                state.give_back(vec![queued]);
            }
        }
        state.filling.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Gives back what was claimed and could not start soon: another server may have a place for it.
pub(crate) fn give_back_late(state: &State) {
    for executor in &state.executors {
        let late = executor.take_unstarted(PATIENCE);
        if !late.is_empty() {
            tracing::debug!(count = late.len(), "giving back tasks that could not start soon");
            state.give_back(late);
        }
    }
}
