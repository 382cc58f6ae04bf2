//! Releases the tasks of servers that are gone.
//!
//! Two clocks must agree. A server is suspect if the database reports its lease as over, or if its heartbeat counter
//! has not changed for longer than a lease on this host's clock (the database's clock may have been set back). A
//! suspect is rescued only if its counter has also been unchanged here for a grace period: if the database's clock
//! jumps ahead, every lease seems over at once, but the servers continue to send heartbeats.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskyard_core::ServerId;
use taskyard_core::failpoint;
use taskyard_core::store::BeatSeen;

use super::exhaust;
use crate::ServerConfig;
use crate::loops::state::State;
use crate::primitives::clock;
use taskyard_core::backoff::jittered;

/// Observations of one server.
#[derive(Clone, Copy, Debug)]
struct Watched {
    beat: i64,
    /// When, on this host's clock, the counter was first observed at this value.
    since: Duration,
}

/// State of another server.
#[derive(Debug, PartialEq, Eq)]
enum Liveness {
    Alive,
    /// Check again after this time.
    Suspect(Duration),
    /// Gone; `overdue` if only this host's clock indicates it.
    Gone {
        overdue: bool,
    },
}

pub(super) async fn run(state: &State) {
    let mut watched = HashMap::new();
    loop {
        let pause = scan(state, &mut watched).await;
        tokio::time::sleep(pause).await;
    }
}

/// Checks all servers once. Returns the time until the next check.
async fn scan(state: &State, watched: &mut HashMap<ServerId, Watched>) -> Duration {
    let config = state.config();
    let mut pause = jittered(config.rescue_interval);
    let beats = match state.store.beats().await {
        Ok(beats) => beats,
        Err(error) => {
            tracing::warn!(%error, "cannot check the other servers; trying again");
            return pause;
        }
    };
    let now = clock::elapsed();
    watched.retain(|server, _| beats.iter().any(|seen| seen.server == *server));
    let own = state.id();
    for seen in beats.iter().filter(|seen| seen.server != own) {
        match liveness(watched, seen, &config, now) {
            Liveness::Alive => {}
            Liveness::Suspect(wait) => pause = pause.min(wait + Duration::from_millis(5)),
            Liveness::Gone { overdue } => rescue(state, seen, overdue).await,
        }
    }
    pause
}

fn liveness(
    watched: &mut HashMap<ServerId, Watched>,
    seen: &BeatSeen,
    config: &ServerConfig,
    now: Duration,
) -> Liveness {
    let entry = watched.entry(seen.server).or_insert(Watched { beat: seen.beat, since: now });
    if entry.beat != seen.beat {
        *entry = Watched { beat: seen.beat, since: now };
    }
    if seen.dead {
        return Liveness::Gone { overdue: false };
    }
    let still = now.saturating_sub(entry.since);
    // Longer than the interval between heartbeats of any healthy server, whatever its clock.
    let grace = config.rescue_interval.max(seen.lease / 3);
    if seen.lapsed {
        return if still >= grace { Liveness::Gone { overdue: false } } else { Liveness::Suspect(grace - still) };
    }
    if still >= seen.lease + config.rescue_interval { Liveness::Gone { overdue: true } } else { Liveness::Alive }
}

async fn rescue(state: &State, seen: &BeatSeen, overdue: bool) {
    failpoint!("rescue", Before);
    let freed = exhaust("rescue", || state.store.rescue(seen.server, seen.beat, overdue)).await;
    let tasks = freed.unwrap_or(0);
    if tasks > 0 {
        failpoint!("rescue", After);
        tracing::warn!(server = %seen.server, tasks, "a server was lost; its tasks are runnable again");
        state.counters.rescued.fetch_add(tasks as u64, Ordering::Relaxed);
        state.request_claim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(server: ServerId, beat: i64, lapsed: bool) -> BeatSeen {
        BeatSeen { server, beat, lapsed, dead: false, lease: 30 * SECOND }
    }

    #[test]
    fn a_jump_of_the_database_clock_condemns_no_live_server() {
        let (mut watched, config, server) = (HashMap::new(), ServerConfig::default(), ServerId::generate());
        for second in 0..60_u32 {
            let beat = i64::from(second / 5);
            let liveness = liveness(&mut watched, &seen(server, beat, second > 3), &config, SECOND * second);
            assert!(!matches!(liveness, Liveness::Gone { .. }), "at {second} s: {liveness:?}");
        }
    }

    #[test]
    fn a_server_that_died_is_gone_as_soon_as_its_lease_is_over() {
        let (mut watched, config, server) = (HashMap::new(), ServerConfig::default(), ServerId::generate());
        assert_eq!(liveness(&mut watched, &seen(server, 7, false), &config, SECOND), Liveness::Alive);
        assert_eq!(
            liveness(&mut watched, &seen(server, 7, true), &config, 31 * SECOND),
            Liveness::Gone { overdue: false }
        );
    }

    #[test]
    fn a_rescuer_that_has_just_started_watches_first() {
        let (mut watched, config, server) = (HashMap::new(), ServerConfig::default(), ServerId::generate());
        assert_eq!(liveness(&mut watched, &seen(server, 7, true), &config, SECOND), Liveness::Suspect(10 * SECOND));
        assert_eq!(
            liveness(&mut watched, &seen(server, 7, true), &config, 11 * SECOND),
            Liveness::Gone { overdue: false }
        );
    }

    #[test]
    fn a_database_clock_set_back_keeps_no_one_alive() {
        let (mut watched, config, server) = (HashMap::new(), ServerConfig::default(), ServerId::generate());
        assert_eq!(liveness(&mut watched, &seen(server, 7, false), &config, Duration::ZERO), Liveness::Alive);
        assert_eq!(liveness(&mut watched, &seen(server, 7, false), &config, 34 * SECOND), Liveness::Alive);
        assert_eq!(
            liveness(&mut watched, &seen(server, 7, false), &config, 35 * SECOND),
            Liveness::Gone { overdue: true }
        );
    }
}
