//! Schedules: decides about due ones ([`taskyard_core::schedule::plan`]) and writes the decisions, fenced by the row's
//! version.
//!
//! Any number of servers read the same rows; if several decide about one schedule at once, one of them writes, and the
//! decisions of the others have no effect. A server that is killed in between leaves the row as it was, still due.
//!
//! A decision that the database refuses does not hold up other schedules. If its values are at fault, the schedule is
//! set aside with the reason; other errors may be temporary, so the decision is retried after a pause of its own
//! ([`Refused`]).

mod refused;

use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::schedule::{Tick, plan, plan::plan_start};
use taskyard_core::{Result, TaskId, Timestamp};

use self::refused::Refused;
use crate::loops::bisect::Failed;
use crate::loops::state::State;
use taskyard_core::backoff::{Backoff, jittered};

/// Maximum number of schedules read at once.
const LOOK_MAX: usize = 100;
/// Interval between checks while notifications of other processes are received.
const EVERY: Duration = Duration::from_secs(10);
/// Interval while no notifications are received: a change takes effect within a second.
const EVERY_DEAF: Duration = Duration::from_millis(800);
/// Interval between checks while runs are open: the next run may be waiting for their end.
const EVERY_OPEN: Duration = Duration::from_millis(500);
/// Minimum time between two checks that found nothing.
const GAP: Duration = Duration::from_millis(20);
/// Pause between checks while every due schedule waits for its retry.
const WHILE_REFUSED: Duration = Duration::from_millis(200);
/// Maximum number of times that a start tries to write a decision on the row it has just read.
const START_TRIES: usize = 20;
/// Pause after a check whose decisions all came too late.
const AFTER_LOSS: Duration = Duration::from_millis(50);

pub(super) async fn run(state: &State) {
    let mut changed = state.store.notifications().schedules.listen();
    let mut backoff = Backoff::default();
    let mut starting = Some(Starting::default());
    let mut refused = Refused::default();
    loop {
        changed.take();
        let looked = match &mut starting {
            Some(begun) => begun.page(state, &mut refused).await,
            None => look(state, &mut refused).await.map(Some),
        };
        match looked {
            Ok(Some(pause)) => {
                starting = None;
                backoff = Backoff::default();
                let gap = tokio::time::Instant::now() + GAP.min(pause);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = changed.notified() => {}
                }
                tokio::time::sleep_until(gap).await;
            }
            Ok(None) => backoff = Backoff::default(),
            Err(error) => {
                if backoff.tries() % 10 == 0 {
                    tracing::warn!(%error, "cannot look for due schedules; trying again");
                }
                backoff.pause().await;
            }
        }
    }
}

/// Decides about the due schedules and returns the time until the next check.
async fn look(state: &State, refused: &mut Refused) -> Result<Duration> {
    // Schedules that wait for their retry must not displace others.
    let found = state.store.schedule_look(LOOK_MAX + refused.len()).await?;
    let due: Vec<_> = found.due.iter().filter(|due| !refused.waits(&due.record.definition.name)).collect();
    let ticks: Vec<_> = due.iter().filter_map(|due| plan(due, found.now, &mut rand::random::<f64>)).collect();
    let had_ticks = !ticks.is_empty();
    if had_ticks && apply(state, ticks, refused).await?.contains(&true) {
        return Ok(Duration::ZERO);
    }
    if had_ticks || !due.is_empty() {
        // Normally another server was faster, or the row is locked; otherwise this one tries again.
        return Ok(jittered(AFTER_LOSS));
    }
    if !found.due.is_empty() {
        return Ok(jittered(WHILE_REFUSED));
    }
    let poll = match (found.open, state.store.hears_others() && state.config().use_notify) {
        (true, _) => EVERY_OPEN,
        (false, true) => EVERY,
        (false, false) => EVERY_DEAF,
    };
    let poll = jittered(poll);
    Ok(found.next_due.map_or(poll, |due| due.min(poll)).max(Duration::from_millis(1)))
}

/// The first check: schedules that run whenever a server starts, and times that changed with the rules of their time
/// zone. Page by page, each schedule once, whatever errors occur in between.
#[derive(Default)]
struct Starting {
    after: Option<String>,
}

impl Starting {
    /// Processes one page; returns a pause if it was the last one.
    async fn page(&mut self, state: &State, refused: &mut Refused) -> Result<Option<Duration>> {
        let page = state.store.schedules(self.after.as_deref(), LOOK_MAX).await?;
        let is_last = page.len() < LOOK_MAX;
        for mut due in page {
            let name = due.record.definition.name.clone();
            for _ in 0..START_TRIES {
                let now: Timestamp = state.store.now().await?;
                let Some(tick) = plan_start(&due, now, &mut rand::random::<f64>) else { break };
                if apply(state, vec![tick], refused).await? == [true] || refused.waits(&name) {
                    break;
                }
                tokio::time::sleep(jittered(AFTER_LOSS)).await;
                match state.store.schedule(&name).await? {
                    Some(fresh) => due = fresh,
                    None => break,
                }
            }
            self.after = Some(name);
        }
        Ok(is_last.then_some(Duration::ZERO))
    }
}

/// Writes decisions and returns for each whether it was applied.
async fn apply(state: &State, ticks: Vec<Tick>, refused: &mut Refused) -> Result<Vec<bool>> {
    for tick in &ticks {
        if let Some(problem) = &tick.problem {
            tracing::error!(schedule = tick.name, problem, "this schedule does not run until it is changed");
        }
    }
    failpoint!("schedule_tick", Before);
    let written = match Failed::check(state.store.schedule_tick(&ticks).await, state.store.as_ref()).await {
        Ok(written) => {
            failpoint!("schedule_tick", After);
            ticks.iter().for_each(|tick| refused.forget(&tick.name));
            written
        }
        Err(failed) if failed.away => return Err(failed.error),
        Err(_) => {
            let mut written = Vec::with_capacity(ticks.len());
            for tick in ticks {
                written.push(apply_alone(state, tick, refused).await?);
            }
            written
        }
    };
    if written.iter().flatten().any(|tasks| !tasks.is_empty()) {
        state.request_claim();
    }
    Ok(written.iter().map(Option::is_some).collect())
}

/// Writes one decision after several were refused together. Returns the tasks that it added, if it was applied.
async fn apply_alone(state: &State, tick: Tick, refused: &mut Refused) -> Result<Option<Vec<TaskId>>> {
    let written = state.store.schedule_tick(std::slice::from_ref(&tick)).await;
    let mut written = match Failed::check(written, state.store.as_ref()).await {
        Ok(written) => {
            refused.forget(&tick.name);
            written
        }
        Err(failed) if failed.away => return Err(failed.error),
        Err(Failed { error, .. }) if error.is_about_the_value() => {
            tracing::error!(schedule = tick.name, %error, "this schedule does not run until it is changed");
            refused.forget(&tick.name);
            state.store.schedule_tick(&[tick.broken(error.to_string())]).await?
        }
        Err(Failed { error, .. }) => {
            refused.note(&tick.name, &error);
            return Ok(None);
        }
    };
    Ok(written.pop().flatten())
}
