//! Tells the hooks of this server of dead letters, one after the other.
//!
//! A death is taken before it is told, and marked as told behind that: it is told again only if this server dies in between.
//! A stopping server still tells what died until then, within its grace period.

use std::time::{Duration, Instant};

use taskyard_core::store::DeadTake;
use taskyard_core::{Result, ServerId, TaskId, TaskRecord, TaskState};

use crate::backoff::{Backoff, jittered};
use crate::executor::Executor;
use crate::hooks::Heard;
use crate::state::{Phase, State};

/// Taken at once.
const TAKE: usize = 100;
/// How often the same one is told to somebody who does not live to call the hooks to their end.
const TRIES: u32 = 3;
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
            let dead = match take(state, server, executor.as_ref()).await {
                Ok(dead) => dead,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for dead letters that hooks are to be told of; trying again later");
                    break;
                }
            };
            cost = began.elapsed();
            if dead.is_empty() || !tell(state, server, executor.as_ref(), dead, &goes_on).await {
                break;
            }
        }
    }
    cost
}

/// Ids, each with its record if it still is a dead letter.
type Taken = Vec<(TaskId, Option<TaskRecord>)>;

async fn take(state: &State, server: ServerId, executor: &dyn Executor) -> Result<Taken> {
    let queues = state.config().queues.clone().filter(|queues| !queues.is_empty());
    let request = DeadTake { server, runtime: executor.runtime(), queues, limit: TAKE };
    let ids = state.store.dead_take(&request).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let records = state.store.get(&ids).await?;
    let dead = |record: Option<TaskRecord>| record.filter(|record| record.state == TaskState::Failed);
    Ok(ids.into_iter().zip(records.into_iter().map(dead)).collect())
}

/// Whether there may be more.
async fn tell(
    state: &State,
    server: ServerId,
    executor: &dyn Executor,
    dead: Taken,
    goes_on: &impl Fn() -> bool,
) -> bool {
    let mut rest = dead.into_iter();
    for (id, record) in rest.by_ref() {
        let told = match record {
            Some(record) => goes_on() && tell_one(executor, record).await,
            None => true,
        };
        if told {
            note(state, server, &[id], true).await;
        } else {
            let left: Vec<TaskId> = std::iter::once(id).chain(rest.map(|(id, _)| id)).collect();
            note(state, server, &left, false).await;
            return false;
        }
    }
    true
}

/// Whether hooks were told.
async fn tell_one(executor: &dyn Executor, dead: TaskRecord) -> bool {
    for _ in 0..TRIES {
        match executor.tell_death(dead.clone()).await {
            Heard::Told => return true,
            Heard::NoHook => return false,
            Heard::Late => {
                tracing::error!(task = %dead.id, "a hook on death takes over a minute; it is left to itself");
                return true;
            }
            Heard::Lost => {}
        }
    }
    tracing::error!(task = %dead.id, "whoever called the hooks on death ended amid it {TRIES} times; this death is told no more");
    true
}

/// Says so, however long the database is away: or it would be told again.
async fn note(state: &State, server: ServerId, ids: &[TaskId], told: bool) {
    let mut backoff = Backoff::default();
    while let Err(error) = state.store.dead_told(server, ids, told).await {
        if backoff.tries() % 10 == 0 {
            tracing::warn!(%error, "cannot note which dead letters were told of; trying again");
        }
        backoff.pause().await;
    }
}
