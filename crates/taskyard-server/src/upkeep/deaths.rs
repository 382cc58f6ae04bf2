//! Delivers dead letters to the hooks of this server, one after the other.
//!
//! A dead letter is taken before its delivery and marked as delivered afterwards, so it is delivered again only if this
//! server dies in between. A stopping server still delivers the dead letters that occurred until then, within its grace
//! period.

use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::store::DeadTake;
use taskyard_core::{Result, ServerId, TaskId, TaskRecord, TaskState};

use crate::execute::Executor;
use crate::layer::death_hooks::DeliveryResult;
use crate::loops::state::{Phase, State};
use taskyard_core::backoff::{Backoff, jittered};

/// Maximum number of dead letters taken at once: those that one server has taken, no other delivers.
const TAKE: usize = 10;
/// Maximum number of deliveries of one dead letter during which the calling process ends without running a task beside
/// it.
const TRIES: u32 = 3;
/// As `TRIES`, for a process that also ran tasks: these may kill it again and again.
const TRIES_BESIDE: u32 = 30;
/// Minimum time between two checks.
const GAP: Duration = Duration::from_millis(100);
/// Minimum pause after a check, as a multiple of its duration, so that checks take at most a twentieth of the time.
const LOOK_SHARE: u32 = 20;

/// Runs until the server stops.
pub(crate) async fn run(state: std::sync::Arc<State>) {
    let mut finished = state.store.notifications().finished.listen();
    loop {
        finished.take();
        let cost = deliver_all(&state, || state.phase() == Phase::Running, false).await;
        let pause = async {
            tokio::time::sleep(GAP.max(cost * LOOK_SHARE)).await;
            tokio::select! {
                () = finished.notified() => {}
                // Another server may have died during a delivery, which is known after this time at the earliest.
                () = tokio::time::sleep(jittered(state.config().rescue_interval)) => {}
            }
        };
        tokio::select! {
            () = pause => {}
            () = state.reached(Phase::Draining) => return,
        }
    }
}

/// Delivers the remaining dead letters when nothing runs here any more.
pub(crate) async fn deliver_rest(state: &State) {
    deliver_all(state, || true, true).await;
}

/// Delivers all dead letters while `goes_on` returns true, and returns the duration of the last query for them.
/// `known`: only to hooks that are known to exist.
async fn deliver_all(state: &State, goes_on: impl Fn() -> bool, known: bool) -> Duration {
    let _hook_delivery = state.hook_delivery.lock().await;
    let mut cost = Duration::ZERO;
    for executor in &state.executors {
        loop {
            let hears = executor.hears_deaths();
            if !goes_on() || hears == Some(false) || known && hears.is_none() {
                break;
            }
            let (server, began) = (state.id(), Instant::now());
            let taken = take(state, server, executor.as_ref()).await;
            cost = began.elapsed();
            let dead = match taken {
                Ok(dead) => dead,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for dead letters whose hooks are due; trying again later");
                    break;
                }
            };
            if dead.is_empty() || !deliver(state, server, executor.as_ref(), dead, &goes_on).await {
                break;
            }
        }
    }
    cost
}

async fn take(state: &State, server: ServerId, executor: &dyn Executor) -> Result<Vec<TaskId>> {
    let queues = state.config().queues.clone().filter(|queues| !queues.is_empty());
    let namespace = state.run_context.registry.namespace().cloned();
    let request = DeadTake { server, runtime: executor.runtime(), queues, namespace, limit: TAKE };
    failpoint!("dead_take", Before);
    let taken = state.store.dead_take(&request).await?;
    if !taken.is_empty() {
        failpoint!("dead_take", After);
    }
    Ok(taken)
}

/// Returns true if there may be more.
async fn deliver(
    state: &State,
    server: ServerId,
    executor: &dyn Executor,
    dead: Vec<TaskId>,
    goes_on: &impl Fn() -> bool,
) -> bool {
    let mut rest = dead.into_iter();
    for id in rest.by_ref() {
        // If this server was declared dead, another one delivers them.
        let told = goes_on() && state.id() == server && deliver_one(state, executor, id).await;
        note(state, server, id, told).await;
        if !told {
            for id in rest {
                note(state, server, id, false).await;
            }
            return false;
        }
    }
    true
}

/// Returns true if the hooks were called or need not be.
async fn deliver_one(state: &State, executor: &dyn Executor, id: TaskId) -> bool {
    let (mut tries, mut tries_beside) = (0, 0);
    while tries < TRIES && tries_beside < TRIES_BESIDE {
        // Read anew, because the task may have been retried.
        let dead = match state.store.get(&[id]).await {
            Ok(mut found) => found.pop().flatten().filter(|record: &TaskRecord| record.state == TaskState::Failed),
            Err(error) => {
                tracing::warn!(task = %id, %error, "a dead letter cannot be read; its hooks are run later");
                return false;
            }
        };
        let Some(dead) = dead else { return true };
        match executor.deliver_death(dead).await {
            DeliveryResult::Delivered => return true,
            DeliveryResult::NoHook => return false,
            DeliveryResult::Late => {
                tracing::error!(task = %id, "a hook on death takes over a minute");
                return true;
            }
            DeliveryResult::Lost => tries += 1,
            DeliveryResult::Undelivered => tries_beside += 1,
        }
    }
    tracing::error!(task = %id, "processes that ran the hooks on death ended repeatedly; the hooks are not run for this task again");
    true
}

/// Records the delivery, retrying while the database is unavailable, because it would otherwise be repeated.
async fn note(state: &State, server: ServerId, id: TaskId, told: bool) {
    let mut backoff = Backoff::default();
    failpoint!("dead_told", Before);
    while let Err(error) = state.store.dead_told(server, &[id], told).await {
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, "cannot record for which dead letters hooks have run; trying again");
        }
        backoff.pause().await;
    }
    failpoint!("dead_told", After);
}
