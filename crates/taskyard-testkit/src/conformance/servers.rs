//! Servers: entering, heartbeats, leaving, and their records.

use std::time::Duration;

use taskyard_core::store::{Beat, BeatReply};
use taskyard_core::{ServerId, TaskState};

use super::Yard;
use crate::factory::{LEASE, beat, request, server, task};

pub(super) async fn a_server_is_shown_as_it_entered(yard: Yard) {
    let now = yard.freeze().await;
    let new = server();
    yard.store.server_enter(&new).await.unwrap();
    let servers = yard.store.servers().await.unwrap();
    assert_eq!(servers.len(), 1);
    let record = &servers[0];
    assert_eq!((record.id, &record.name, record.pid, &record.version), (new.id, &new.name, new.pid, &new.version));
    assert!(record.is_running);
    assert_eq!(record.workers_max, 4);
    assert_eq!((record.started_at, record.last_heartbeat_at), (now, now));
}

pub(super) async fn a_beat_is_shown(yard: Yard) {
    let start = yard.freeze().await;
    let server = yard.server().await;
    let now = yard.advance(Duration::from_secs(5)).await;
    let reply = yard
        .store
        .server_beat(&Beat { workers_max: 9, workers_active: 3, workers_idle: 2, tasks_running: 7, ..beat(server.id) })
        .await
        .unwrap();
    assert_eq!(reply, BeatReply::default());
    let record = &yard.store.servers().await.unwrap()[0];
    let workers = (record.workers_max, record.workers_active, record.workers_idle, record.tasks_running);
    assert_eq!(workers, (9, 3, 2, 7));
    assert_eq!((record.started_at, record.last_heartbeat_at), (start, now));
}

pub(super) async fn a_lapsed_one_is_not_running(yard: Yard) {
    yard.freeze().await;
    yard.server().await;
    assert_eq!(yard.store.status().await.unwrap().servers_alive, 1);
    yard.advance(LEASE + Duration::from_secs(1)).await;
    assert_eq!(yard.store.status().await.unwrap().servers_alive, 0);
    assert!(!yard.store.servers().await.unwrap()[0].is_running);
}

/// A late server is not dead: it was not declared dead, and its tasks were not taken.
pub(super) async fn a_late_beat_revives_an_undeclared_one(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.add(task()).await;
    yard.advance(LEASE * 2).await;
    assert!(!server.beat().await.dead);
    server.claim_one().await;
}

pub(super) async fn a_beat_may_change_the_lease(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let short = Duration::from_secs(2);
    yard.store.server_beat(&Beat { lease: short, ..beat(server.id) }).await.unwrap();
    assert_eq!(yard.beat_of(server.id).await.lease, short);
    yard.advance(short + Duration::from_millis(1)).await;
    assert!(yard.beat_of(server.id).await.lapsed);
}

pub(super) async fn one_that_left_is_gone(yard: Yard) {
    let server = yard.server().await;
    let other = yard.server().await;
    let id = yard.add(task()).await;
    yard.store.server_leave(server.id).await.unwrap();
    let reply = server.claim_with(&request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty());
    let alive: Vec<ServerId> =
        yard.store.servers().await.unwrap().iter().filter(|record| record.is_running).map(|record| record.id).collect();
    assert_eq!(alive, [other.id]);
    assert!(!yard.store.beats().await.unwrap().iter().any(|seen| seen.server == server.id && !seen.dead));
    yard.assert_state(id, TaskState::Enqueued).await;
    yard.store.server_leave(server.id).await.expect("leaving twice is not an error");
}

pub(super) async fn a_stranger_beats_in_vain(yard: Yard) {
    let reply = yard.store.server_beat(&beat(ServerId::generate())).await.unwrap();
    assert!(reply.dead && reply.signals.is_empty());
}

pub(super) async fn a_dead_one_is_shown_for_a_day(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    yard.advance(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(yard.store.servers().await.unwrap().len(), 1);
    yard.advance(Duration::from_secs(2 * 3_600)).await;
    assert!(yard.store.servers().await.unwrap().is_empty());
}

/// A server that leaves by mistake while it runs a task must not put the task into limbo.
pub(super) async fn leaving_with_a_running_task_frees_it(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    // Refusing is as good as freeing.
    let left = yard.store.server_leave(server.id).await.is_ok();
    yard.advance(LEASE * 2).await;
    for seen in yard.store.beats().await.unwrap() {
        yard.store.rescue(seen.server, seen.beat, true).await.unwrap();
    }
    yard.assert_state(claimed.id, TaskState::Enqueued).await;
    assert!(left || yard.record(claimed.id).await.lost == 1);
}
