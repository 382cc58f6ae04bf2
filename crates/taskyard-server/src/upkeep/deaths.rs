//! Tells the hooks of this server of dead letters, one after the other.
//!
//! A death is taken before it is told, and marked as told behind that: it is told again only if this server dies in between.
//! A stopping server still tells what died until then, within its grace period.

use std::time::{Duration, Instant};

use taskyard_core::failpoint;
use taskyard_core::store::DeadTake;
use taskyard_core::{Result, ServerId, TaskId, TaskRecord, TaskState};

use crate::backoff::{Backoff, jittered};
use crate::executor::Executor;
use crate::hooks::Heard;
use crate::state::{Phase, State};

/// Taken at once: what one server has, no other tells.
const TAKE: usize = 10;
/// How often the same one is told to somebody who does not live to call the hooks to their end, and who ran nothing else.
const TRIES: u32 = 3;
/// The same, whatever he ran beside it: tasks may kill their worker again and again.
const TRIES_BESIDE: u32 = 30;
/// The shortest time between two looks; and a look is made at most so rarely that it takes a twentieth of the time.
const GAP: Duration = Duration::from_millis(100);
const LOOK_SHARE: u32 = 20;

/// Until the server stops.
pub(crate) async fn run(state: std::sync::Arc<State>) {
    let mut finished = state.store.bells().finished.listen();
    loop {
        finished.take();
        let cost = tell_all(&state, || state.phase() == Phase::Running, false).await;
        let pause = async {
            tokio::time::sleep(GAP.max(cost * LOOK_SHARE)).await;
            tokio::select! {
                () = finished.heard() => {}
                // Another server may have died amid telling: as soon as that can be known.
                () = tokio::time::sleep(jittered(state.config().scan)) => {}
            }
        };
        tokio::select! {
            () = pause => {}
            () = state.reached(Phase::Draining) => return,
        }
    }
}

/// What is left when nothing runs here any more.
pub(crate) async fn tell_rest(state: &State) {
    tell_all(state, || true, true).await;
}

/// Tells all that there is while `goes_on`; how long the last look for it took. `known` = only hooks that are known to be
/// there.
async fn tell_all(state: &State, goes_on: impl Fn() -> bool, known: bool) -> Duration {
    let _telling = state.telling.lock().await;
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
            if dead.is_empty() || !tell(state, server, executor.as_ref(), dead, &goes_on).await {
                break;
            }
        }
    }
    cost
}

async fn take(state: &State, server: ServerId, executor: &dyn Executor) -> Result<Vec<TaskId>> {
    let queues = state.config().queues.clone().filter(|queues| !queues.is_empty());
    let namespace = state.engine.registry.namespace().cloned();
    let request = DeadTake { server, runtime: executor.runtime(), queues, namespace, limit: TAKE };
    failpoint!("dead_take", Before);
    let taken = state.store.dead_take(&request).await?;
    if !taken.is_empty() {
        failpoint!("dead_take", After);
    }
    Ok(taken)
}

/// Whether there may be more.
async fn tell(
    state: &State,
    server: ServerId,
    executor: &dyn Executor,
    dead: Vec<TaskId>,
    goes_on: &impl Fn() -> bool,
) -> bool {
    let mut rest = dead.into_iter();
    for id in rest.by_ref() {
        // Not those of a server that was declared dead: another one tells them.
        let told = goes_on() && state.id() == server && tell_one(state, executor, id).await;
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

/// Whether hooks were told, or need not be.
async fn tell_one(state: &State, executor: &dyn Executor, id: TaskId) -> bool {
    let (mut tries, mut tries_beside) = (0, 0);
    while tries < TRIES && tries_beside < TRIES_BESIDE {
        // As it is now: a person may have retried it.
        let dead = match state.store.get(&[id]).await {
            Ok(mut found) => found.pop().flatten().filter(|record: &TaskRecord| record.state == TaskState::Failed),
            Err(error) => {
                tracing::warn!(task = %id, %error, "a dead letter cannot be read; its hooks are run later");
                return false;
            }
        };
        let Some(dead) = dead else { return true };
        match executor.tell_death(dead).await {
            Heard::Told => return true,
            Heard::NoHook => return false,
            Heard::Late => {
                tracing::error!(task = %id, "a hook on death takes over a minute");
                return true;
            }
            Heard::Lost => tries += 1,
            Heard::Unheard => tries_beside += 1,
        }
    }
    tracing::error!(task = %id, "processes that ran the hooks on death ended repeatedly; the hooks are not run for this task again");
    true
}

/// Says so, however long the database is away: or it would be told again.
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
