//! Start times, backoffs and expiries: tasks are moved when they are due, to the millisecond that the store returns.
//! Also processes what other commits left to do: cascades and unsettled children.
//!
//! A notification may mean an earlier due time, so the store is queried again; under load at most every 50 ms, which
//! starts a delayed task within 100 ms of its time without a query per commit.

use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::PromoteReport;

use super::exhaust;
use crate::loops::state::State;
use taskyard_core::backoff::{Backoff, jittered};

/// Delay after a notification, which is left to the claim that it is meant for.
const AFTER_NOTIFICATION: Duration = Duration::from_millis(10);
/// Minimum time between two queries.
const GAP: Duration = Duration::from_millis(50);
/// Minimum time before a query for a time that became due during the last one.
const GAP_MIN: Duration = Duration::from_millis(2);
/// Minimum time between two queries for cascades, which are rare.
const CASCADE_GAP: Duration = Duration::from_millis(100);

fn poll(state: &State) -> Duration {
    let config = state.config();
    // Due times are known exactly; only additions by other processes without notifications need the shorter interval.
    if state.store.hears_others() && config.use_notify {
        config.fallback_polling_interval.min(config.polling_interval * 5)
    } else {
        config.polling_interval
    }
}

/// Backoff for starts that a rate limit allows but this server does not take: the tasks are held back otherwise, or
/// belong to other servers.
#[derive(Debug, Default)]
struct Untaken {
    looks: u32,
    claimed: u64,
}

impl Untaken {
    /// Returns the time until the next query for starts, doubled each time that none was taken.
    fn pause(&mut self, state: &State, report: &PromoteReport) -> Option<Duration> {
        let claimed = state.counters.claimed.load(std::sync::atomic::Ordering::Relaxed);
        let in_vain = report.freed && std::mem::replace(&mut self.claimed, claimed) == claimed;
        self.looks = if in_vain { (self.looks + 1).min(16) } else { 0 };
        report.next_start.map(|next| next.saturating_mul(1 << self.looks))
    }
}

pub(super) async fn promote(state: &State) {
    let mut work = state.store.notifications().work.listen();
    let mut backoff = Backoff::default();
    let mut untaken = Untaken::default();
    loop {
        work.take();
        let pause = match promote_all(state).await {
            Ok(report) => {
                backoff = Backoff::default();
                let poll = jittered(poll(state)).max(GAP_MIN);
                let next = report.next_due.into_iter().chain(untaken.pause(state, &report)).min();
                next.map_or(poll, |next| next.clamp(GAP_MIN, poll))
            }
            Err(error) => {
                if backoff.tries() % 10 == 0 {
                    tracing::warn!(%error, "cannot look for due tasks; trying again");
                }
                backoff.next_pause()
            }
        };
        let _ = exhaust("settle", || state.store.settle()).await;
        let gap = tokio::time::Instant::now() + GAP.min(pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => continue,
            () = work.notified() => tokio::time::sleep(AFTER_NOTIFICATION).await,
        }
        tokio::time::sleep_until(gap).await;
    }
}

/// Moves all due tasks and returns when the next one is due.
async fn promote_all(state: &State) -> taskyard_core::Result<PromoteReport> {
    loop {
        failpoint!("promote", Before);
        let report = state.store.promote().await?;
        if report.enqueued > 0 || report.freed {
            failpoint!("promote", After);
            state.request_claim();
        }
        if !report.more {
            return Ok(report);
        }
    }
}

pub(super) async fn cascade(state: &State) {
    let mut finished = state.store.notifications().finished.listen();
    let mut work = state.store.notifications().work.listen();
    loop {
        finished.take();
        work.take();
        failpoint!("cascade", Before);
        if exhaust("cascade", || state.store.cascade()).await.is_some_and(|tasks| tasks > 0) {
            failpoint!("cascade", After);
            state.request_claim();
        }
        tokio::time::sleep(CASCADE_GAP).await;
        tokio::select! {
            () = tokio::time::sleep(jittered(poll(state))) => {}
            () = finished.notified() => tokio::time::sleep(AFTER_NOTIFICATION).await,
            () = work.notified() => tokio::time::sleep(AFTER_NOTIFICATION).await,
        }
    }
}
