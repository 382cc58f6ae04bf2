//! Claims work for one executor: one claim at a time, and only as many tasks as can start soon.
//!
//! Claims on notifications, when capacity frees up after a full claim, and by polling as a fallback for lost
//! notifications. While claims come back full, each continues where the previous one stopped, but every 100 ms one
//! starts from the head again: order numbers commit out of order, so an older task may have become visible. Where an
//! old snapshot keeps claimed rows from being vacuumed, scanning from the head is slow; then it happens every second at
//! the latest.

mod alone;
mod claim;
mod cursor_state;
mod on_demand;
mod ordered;
mod shares;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taskyard_core::notifications::Listener;
use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimCursor, Claimed, Outcome};
use taskyard_core::{ClaimId, Error, Failure, QueueOrder};
use tokio::sync::watch;

use crate::ServerConfig;
use crate::execute::references::{self, has_references};
use crate::execute::{Executor, Queued};
use crate::loops::state::{Lease, Phase, State};
use crate::parked_reason;
use claim::Got;
use cursor_state::CursorState;
use shares::Shares;
use taskyard_core::backoff::jittered;

/// A claimed task that has not started after this time is released.
const PATIENCE: Duration = Duration::from_secs(1);
/// Delay before a task whose parents' results cannot be read is released.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(500);
/// After a claim that was not full, written ends may have freed capacity in a limited queue: minimum time between two
/// claims that check for this.
const RECHECK: Duration = Duration::from_millis(50);
/// Maximum of unwritten ends, as a multiple of `claim_max`; beyond it claiming waits too.
const UNWRITTEN_CLAIMS: usize = 4;

/// Maximum number of bytes of filled arguments that wait for a start before further ones are filled.
const FILLED_AHEAD_MAX: usize = 64 << 20;

/// The claim loop of one executor.
pub(crate) struct Fetcher {
    state: Arc<State>,
    executor: usize,
    work: Listener,
    /// Set when there may be more to claim.
    hungry: bool,
    /// A single cursor for all queues, or one per queue if they are served in an order.
    cursor_states: Vec<CursorState>,
    shares: Shares,
    /// The queues and their order at the last claim.
    served: (Option<Vec<String>>, QueueOrder),
    claimed_at: Instant,
    claim_now: watch::Receiver<u64>,
    written: watch::Receiver<u64>,
    // Stored across claims, or a change between the claim and the wait would be missed.
    lease: watch::Receiver<Lease>,
    settings: watch::Receiver<Arc<ServerConfig>>,
    /// When to claim again because ends were written since the last claim.
    recheck_at: Option<Instant>,
}

impl Fetcher {
    /// Creates the fetcher of one of the state's executors.
    pub fn new(state: Arc<State>, executor: usize) -> Self {
        let work = state.store.notifications().work.listen();
        let (claim_now, written) = (state.claim_now.subscribe(), state.written.subscribe());
        let (lease, settings) = (state.lease.subscribe(), state.run_context.settings.watch());
        Self {
            state,
            executor,
            work,
            hungry: true,
            cursor_states: vec![CursorState::default()],
            shares: Shares::default(),
            served: (None, QueueOrder::Priority),
            claimed_at: Instant::now(),
            claim_now,
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
                let capacity = self.executor().capacity().min(self.state.config().claim_max.max(1));
                if capacity > 0 {
                    self.claim_and_dispatch(capacity).await;
                    continue;
                }
            }
            self.wait().await;
        }
    }

    fn has_capacity(&self) -> bool {
        self.state.unwritten() < self.state.config().claim_max.max(1) * UNWRITTEN_CLAIMS
    }

    /// Claims up to `capacity` tasks and dispatches them.
    async fn claim_and_dispatch(&mut self, capacity: usize) {
        // A notification from here on may be missed by this claim and requests another one.
        self.work.take();
        self.claim_now.mark_unchanged();
        self.written.mark_unchanged();
        self.recheck_at = None;
        self.claimed_at = Instant::now();
        let config = self.state.config();
        self.follow(&config);
        match &config.queues {
            Some(queues) if config.queue_order != QueueOrder::Priority => {
                self.claim_in_order(&config, queues, capacity).await;
            }
            queues => self.claim_by_priority(queues.clone(), capacity).await,
        }
    }

    /// Resets the cursors and shares if the queues or their order have changed.
    fn follow(&mut self, config: &ServerConfig) {
        if self.served.0 != config.queues || self.served.1 != config.queue_order {
            self.served = (config.queues.clone(), config.queue_order.clone());
            let ordered = config.queue_order != QueueOrder::Priority;
            let count = config.queues.as_ref().filter(|_| ordered).map_or(1, Vec::len);
            self.cursor_states = (0..count).map(|_| CursorState::default()).collect();
            self.shares.forget();
        }
    }

    /// Claims once over all queues, by priority.
    async fn claim_by_priority(&mut self, queues: Option<Vec<String>>, capacity: usize) {
        let cursor = self.cursor_states[0].cursor();
        match self.claim_at(0, queues.clone(), capacity, cursor).await {
            Got::Reply { claim, reply } => {
                self.hungry = reply.tasks.len() >= capacity || cursor.is_some();
                self.dispatch(claim, reply.tasks, |_| true);
                if reply.alone_waiting {
                    self.run_alone(queues).await;
                }
            }
            Got::Dead => self.until_entered_anew().await,
            Got::Nothing => {}
        }
    }

    /// Claims once and updates the cursor.
    async fn claim_at(
        &mut self,
        cursor_state: usize,
        queues: Option<Vec<String>>,
        limit: usize,
        cursor: Option<ClaimCursor>,
    ) -> Got {
        let began = Instant::now();
        let got = self.claim(queues, limit, false, cursor).await;
        let cursor_state = &mut self.cursor_states[cursor_state];
        match &got {
            Got::Reply { reply, .. } if reply.tasks.len() >= limit => {
                // Only large claims are similar enough for their durations to be compared.
                let large = limit * 2 >= self.state.config().claim_max;
                cursor_state.full(cursor, reply.cursor, large.then(|| began.elapsed()));
            }
            _ => cursor_state.reset(),
        }
        got
    }

    /// Waits after another server declared this one dead; the heartbeat detects that and registers again.
    async fn until_entered_anew(&self) {
        self.state.beat_now.notify_one();
        let mut identity = self.state.identity.subscribe();
        tokio::select! {
            _ = identity.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = self.state.reached(Phase::Draining) => {}
        }
    }

    /// Waits until a claim may be worthwhile.
    async fn wait(&mut self) {
        let (state, executor) = (self.state.clone(), self.executor);
        let config = state.config();
        let hears = state.store.hears_others() && config.use_notify;
        let poll = jittered(if hears { config.fallback_polling_interval } else { config.polling_interval });
        let recheck = match self.recheck_at {
            // If more work is known already, only capacity is missing.
            Some(at) if !self.hungry => at.saturating_duration_since(Instant::now()).min(poll),
            _ => poll,
        };
        let wants_room = self.hungry && state.may_claim();
        tokio::select! {
            () = self.work.notified() => self.hungry = true,
            _ = self.claim_now.changed() => self.hungry = true,
            () = tokio::time::sleep(recheck) => self.hungry = true,
            () = state.executors[executor].changed().notified(), if wants_room => {}
            _ = self.written.changed() => {
                self.recheck_at.get_or_insert(self.claimed_at + RECHECK);
            }
            _ = self.lease.changed() => self.hungry = true,
            _ = self.settings.changed() => self.hungry = true,
            () = state.reached(Phase::Draining) => {}
        }
    }

    /// Sends the wanted tasks to the executor and releases the others. Tasks that cannot run here are decided at once.
    fn dispatch(&self, claim: ClaimId, tasks: Vec<Claimed>, is_wanted: impl Fn(&Claimed) -> bool) {
        if tasks.is_empty() {
            return;
        }
        let state = &self.state;
        let outbox = &state.run_context.host.outbox;
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
                // Child processes decide themselves what they can run.
                let def = state.run_context.registry.get(&claimed.kind).filter(|_| here);
                if def.is_some() || !here {
                    ready.push(Queued { claimed, claim, def, since, opened: Vec::new() });
                    continue;
                }
                refused = true;
                Outcome::Refused { reason: parked_reason(&claimed.kind), build: state.run_context.rust_build.clone() }
            };
            ends.push(outbox.ended(&claimed, claim, outcome));
        }
        outbox.ends.append(&mut ends);
        if refused {
            state.run_context.host.refused.notify_one();
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

/// Passes each task to the executor once the referenced results are filled into its arguments. Waits while the filled
/// tasks that have not started are too large to hold more in memory.
async fn fill(state: Arc<State>, executor: usize, tasks: Vec<Queued>) {
    let executor = state.executors[executor].as_ref();
    let max = state.config().limits.arguments_filled_bytes_max;
    let mut waiting = 0;
    for mut queued in tasks {
        while waiting >= FILLED_AHEAD_MAX && state.phase() == Phase::Running {
            tokio::time::sleep(RECHECK).await;
            if executor.stats().unstarted == 0 {
                waiting = 0;
            }
        }
        match references::fill(state.store.as_ref(), &mut queued.claimed, max).await {
            Ok(()) if state.phase() == Phase::Running => {
                waiting += queued.claimed.payload.len();
                executor.accept(vec![queued]);
            }
            Ok(()) => state.give_back(vec![queued]),
            // An error caused by the value recurs however often the task is tried.
            Err(error) if error.is_about_the_value() => {
                let kind = if matches!(error, Error::OverLimit { .. }) { "OverLimit" } else { "InvalidArgument" };
                let failure = Failure::new(kind, error.to_string());
                queued.end(Outcome::Failed(failure), &state.run_context.host.outbox);
            }
            Err(error) => {
                tracing::warn!(task = %queued.claimed.id, %error, "the results of its parents cannot be read; the task is given back");
                // Delayed, because a released task may be claimed again at once.
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

/// Releases claimed tasks that could not start soon: another server may have capacity for them.
pub(crate) fn give_back_late(state: &State) {
    for executor in &state.executors {
        let late = executor.take_unstarted(PATIENCE);
        if !late.is_empty() {
            tracing::debug!(count = late.len(), "giving back tasks that could not start soon");
            state.give_back(late);
        }
    }
}
