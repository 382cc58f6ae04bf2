//! Renews the server's lease on a dedicated thread, so that a busy process is not mistaken for a dead one.
//!
//! Safety does not depend on this module; fencing tokens provide it. When heartbeats fail, the server stops claiming
//! while its lease may still be valid, and stops running tasks shortly before the lease must be over, so that hardly
//! any task runs twice. When a reply reports that the server was declared dead, it drops its work and registers again
//! under a new id.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::failpoint;
use taskyard_core::store::{Beat, BeatReply, NewServer, Serves};
use taskyard_core::{Error, ServerId};

use crate::ServerConfig;
use crate::attempt::Interrupt;
use crate::loops::state::{Lease, Phase, State};
use crate::primitives::clock;
use taskyard_core::backoff::{Backoff, jittered};

/// Starts the thread. It ends when the server aborts, or when `stop` becomes true.
pub(crate) fn spawn(state: Arc<State>, stop: tokio::sync::watch::Receiver<bool>) -> std::io::Result<()> {
    std::thread::Builder::new().name("taskyard-heartbeat".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot start the heartbeat");
                state.advance(Phase::Draining);
                return;
            }
        };
        runtime.block_on(async {
            let mut stop = stop;
            tokio::select! {
                () = beat_on(&state) => {}
                () = fence(&state) => {}
                () = state.reached(Phase::Aborted) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        runtime.shutdown_background();
        state.beat_ended.send_replace(true);
    })?;
    Ok(())
}

/// Returns the row that a server registers with.
pub(crate) fn newcomer(id: ServerId, config: &ServerConfig, serves: Serves) -> NewServer {
    NewServer {
        id,
        name: config.name.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease: config.lease,
        workers_max: count(config.max_workers),
        serves: Some(serves),
    }
}

fn count(figure: usize) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

async fn beat_on(state: &State) {
    let mut signal = state.store.notifications().signal.listen();
    let mut backoff = Backoff::default();
    let mut next = first_pause(&state.config());
    loop {
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = signal.notified() => {}
            () = state.beat_now.notified() => {}
        }
        signal.take();
        let config = state.config();
        match beat_once(state, &config).await {
            Ok(reply) if reply.dead => {
                register_again(state).await;
                next = first_pause(&config);
            }
            Ok(reply) => {
                backoff = Backoff::default();
                for executor in &state.executors {
                    executor.signal(&reply.signals);
                }
                next = first_pause(&config);
            }
            Err(error) => {
                state.note(&error);
                if backoff.tries() % 5 == 0 {
                    tracing::warn!(%error, "a heartbeat failed; trying again");
                }
                next = backoff.next_pause().min(config.heartbeat_interval);
            }
        }
    }
}

/// Pause before the next heartbeat, with jitter: the configured interval, or a third of the lease if that is shorter.
fn first_pause(config: &ServerConfig) -> Duration {
    jittered(config.heartbeat_interval.min(config.lease / 3)).min(config.heartbeat_interval)
}

async fn beat_once(state: &State, config: &ServerConfig) -> Result<BeatReply, Error> {
    let stats = state.stats();
    let beat = Beat {
        server: state.id(),
        lease: config.lease,
        workers_max: count(config.max_workers),
        workers_active: count(stats.workers_active),
        workers_idle: count(stats.workers_idle),
        tasks_running: count(stats.running),
    };
    // The lease runs at least from the moment before the heartbeat was sent.
    let sent = clock::elapsed();
    // Longer than a store's own limit, a quarter of the lease, so that the store first replaces a connection that does
    // not respond.
    let patience = (config.lease / 3).max(Duration::from_millis(200));
    failpoint!("beat", Before);
    let reply = tokio::time::timeout(patience, state.store.server_beat(&beat))
        .await
        .map_err(|_| Error::Connection(format!("no answer within {patience:?}")))??;
    failpoint!("beat", After);
    if !reply.dead {
        state.set_last_beat(sent);
        set_lease(state, Lease::Good);
    }
    Ok(reply)
}

fn set_lease(state: &State, to: Lease) -> bool {
    state.lease.send_if_modified(|lease| {
        let changed = *lease != to;
        *lease = to;
        changed
    })
}

/// Stops claiming, then running, as the lease runs out.
async fn fence(state: &State) {
    loop {
        let config = state.config();
        let age = clock::elapsed().saturating_sub(state.last_beat());
        let (doubt, end) = thresholds(config.lease);
        if age >= end {
            if set_lease(state, Lease::Over) {
                tracing::error!("no heartbeat for {age:?}: the lease may have expired; interrupting running tasks");
                state.drop_work(Interrupt::Release);
            }
        } else if age >= doubt && *state.lease.borrow() == Lease::Good && set_lease(state, Lease::Doubtful) {
            tracing::warn!("no heartbeat for {age:?}: claiming nothing");
        }
        let next = [doubt, end].into_iter().find(|at| *at > age).map_or(end, |at| at - age);
        // In short steps, because a sleep does not count the time for which a machine was suspended.
        tokio::time::sleep(next.clamp(Duration::from_millis(5), Duration::from_secs(1))).await;
    }
}

/// Ages of the last successful heartbeat at which claiming and running stop: 20 s and 28 s with a lease of 30 s.
fn thresholds(lease: Duration) -> (Duration, Duration) {
    (lease * 2 / 3, lease.saturating_sub(Duration::from_secs(2).min(lease / 10)))
}

/// Handles being declared dead: drops all work and registers again under a new id.
async fn register_again(state: &State) {
    tracing::error!(server = %state.id(), "this server was declared dead; it drops its tasks and registers again");
    set_lease(state, Lease::Over);
    state.drop_work(Interrupt::Release);
    let mut backoff = Backoff::default();
    loop {
        // A new id for each attempt: the row of one whose reply was lost expires by itself.
        let (id, sent) = (ServerId::generate(), clock::elapsed());
        let serves = state.serves();
        match state.store.server_enter(&newcomer(id, &state.config(), serves.clone())).await {
            Ok(()) => {
                state.note_serves(id, serves);
                state.set_last_beat(sent);
                state.identity.send_replace(id);
                state.counters.reborn.fetch_add(1, Ordering::Relaxed);
                set_lease(state, Lease::Good);
                state.request_claim();
                return;
            }
            Err(error) => {
                state.note(&error);
                tracing::warn!(%error, "cannot register again; trying again");
            }
        }
        backoff.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claiming_stops_well_before_running_and_running_before_the_lease() {
        let (doubt, end) = thresholds(Duration::from_secs(30));
        assert_eq!((doubt, end), (Duration::from_secs(20), Duration::from_secs(28)));
        let (doubt, end) = thresholds(Duration::from_secs(1));
        assert!(doubt < end && end < Duration::from_secs(1));
    }
}
