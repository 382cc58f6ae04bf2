//! Schedules: what is due is decided ([`taskyard_core::schedule::plan`]) and written, fenced by the row's version.
//!
//! Any number of servers look at the same rows; of those that decide about one schedule at once one writes, and the
//! others' decisions change nothing. A server that is killed in between leaves the row as it was, still due.

use std::time::Duration;

use taskyard_core::schedule::{DueSchedule, Plan, plan, plan::plan_start};
use taskyard_core::{Result, Timestamp};

use crate::backoff::{Backoff, jittered};
use crate::state::State;

/// Schedules of one look.
const LOOK_MAX: usize = 100;
/// Looks while changes of other processes are heard, and while they are not: a change is in force within a second.
const EVERY: Duration = Duration::from_secs(10);
const EVERY_DEAF: Duration = Duration::from_millis(800);
/// Looks while runs are open: the next one may be waiting for their end.
const EVERY_OPEN: Duration = Duration::from_millis(500);
/// The shortest time between two looks that found nothing.
const GAP: Duration = Duration::from_millis(20);
/// The pause after a look all of whose decisions came too late.
const AFTER_LOSS: Duration = Duration::from_millis(50);

pub(super) async fn run(state: &State) {
    let mut changed = state.store.bells().schedules.listen();
    let mut backoff = Backoff::default();
    let mut is_started = false;
    loop {
        changed.take();
        let looked = if is_started { look(state).await } else { start(state).await };
        match looked {
            Ok(pause) => {
                is_started = true;
                backoff = Backoff::default();
                let gap = tokio::time::Instant::now() + GAP.min(pause);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = changed.heard() => {}
                }
                tokio::time::sleep_until(gap).await;
            }
            Err(error) => {
                if backoff.tries() % 10 == 0 {
                    tracing::warn!(%error, "cannot look for due schedules; trying again");
                }
                backoff.pause().await;
            }
        }
    }
}

/// Decides about what is due; answers how long to wait for the next look.
async fn look(state: &State) -> Result<Duration> {
    let found = state.store.schedule_look(LOOK_MAX).await?;
    let plans = found.due.iter().filter_map(|due| plan(due, found.now, &mut rand::random::<f64>));
    match apply(state, plans.collect()).await? {
        Applied::Something => return Ok(Duration::ZERO),
        // Another server was quicker, as a rule; if not, this one tries again.
        Applied::Nothing => return Ok(jittered(AFTER_LOSS)),
        Applied::NoPlans => {}
    }
    let poll = match (found.open, state.store.hears_others() && state.config().use_notify) {
        (true, _) => EVERY_OPEN,
        (false, true) => EVERY,
        (false, false) => EVERY_DEAF,
    };
    let poll = jittered(poll);
    Ok(found.next_due.map_or(poll, |due| due.min(poll)).max(Duration::from_millis(1)))
}

/// The first look: what runs whenever a server starts, and times that changed with the rules of their zone.
async fn start(state: &State) -> Result<Duration> {
    let mut after: Option<String> = None;
    loop {
        let page = state.store.schedules(after.as_deref(), LOOK_MAX).await?;
        let now: Timestamp = state.store.now().await?;
        let plans = page.iter().filter_map(|due| plan_start(due, now, &mut rand::random::<f64>));
        apply(state, plans.collect()).await?;
        match page.last() {
            Some(DueSchedule { record, .. }) if page.len() == LOOK_MAX => {
                after = Some(record.definition.name.clone());
            }
            _ => return Ok(Duration::ZERO),
        }
    }
}

/// What became of a look's plans.
enum Applied {
    NoPlans,
    Nothing,
    Something,
}

async fn apply(state: &State, plans: Vec<Plan>) -> Result<Applied> {
    if plans.is_empty() {
        return Ok(Applied::NoPlans);
    }
    for plan in &plans {
        if let Some(problem) = &plan.tick.problem {
            tracing::error!(schedule = plan.tick.name, problem, "this schedule is left alone until it is changed");
        }
    }
    // First: should this server die in between, the next one decides the same again.
    let cancel: Vec<_> = plans.iter().flat_map(|plan| plan.cancel.iter().copied()).collect();
    if !cancel.is_empty() {
        state.store.cancel(&cancel).await?;
    }
    let ticks: Vec<_> = plans.into_iter().map(|plan| plan.tick).collect();
    let written = state.store.schedule_tick(&ticks).await?;
    if written.iter().flatten().any(|tasks| !tasks.is_empty()) {
        state.look();
    }
    Ok(if written.iter().any(Option::is_some) { Applied::Something } else { Applied::Nothing })
}
