//! Servers: entering, heartbeats, leaving, and their records.

use std::time::Duration;

use taskyard_core::store::{Beat, BeatReply};
use taskyard_core::{ServerId, TaskState};

use super::Harness;
use crate::factory::{LEASE, beat, request, server, task};

pub(super) async fn a_server_is_shown_as_it_entered(harness: Harness) {
    let now = harness.freeze().await;
    let new = server();
    harness.store.server_enter(&new).await.unwrap();
    let servers = harness.store.servers().await.unwrap();
    assert_eq!(servers.len(), 1);
    let record = &servers[0];
    assert_eq!((record.id, &record.name, record.pid, &record.version), (new.id, &new.name, new.pid, &new.version));
    assert!(record.is_running);
    assert_eq!(record.workers_max, 4);
    assert_eq!((record.started_at, record.last_heartbeat_at), (now, now));
}

pub(super) async fn a_beat_is_shown(harness: Harness) {
    let start = harness.freeze().await;
    let server = harness.server().await;
    let now = harness.advance(Duration::from_secs(5)).await;
    let reply = harness
        .store
        .server_beat(&Beat { workers_max: 9, workers_active: 3, workers_idle: 2, tasks_running: 7, ..beat(server.id) })
        .await
        .unwrap();
    assert_eq!(reply, BeatReply::default());
    let record = &harness.store.servers().await.unwrap()[0];
    let workers = (record.workers_max, record.workers_active, record.workers_idle, record.tasks_running);
    assert_eq!(workers, (9, 3, 2, 7));
    assert_eq!((record.started_at, record.last_heartbeat_at), (start, now));
}

pub(super) async fn a_lapsed_one_is_not_running(harness: Harness) {
    harness.freeze().await;
    harness.server().await;
    assert_eq!(harness.store.status().await.unwrap().servers_alive, 1);
    harness.advance(LEASE + Duration::from_secs(1)).await;
    assert_eq!(harness.store.status().await.unwrap().servers_alive, 0);
    assert!(!harness.store.servers().await.unwrap()[0].is_running);
}

/// A late server is not dead: it was not declared dead, and its tasks were not taken.
pub(super) async fn a_late_beat_revives_an_undeclared_one(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add(task()).await;
    harness.advance(LEASE * 2).await;
    assert!(!server.beat().await.dead);
    server.claim_one().await;
}

pub(super) async fn a_beat_may_change_the_lease(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let short = Duration::from_secs(2);
    harness.store.server_beat(&Beat { lease: short, ..beat(server.id) }).await.unwrap();
    assert_eq!(harness.beat_of(server.id).await.lease, short);
    harness.advance(short + Duration::from_millis(1)).await;
    assert!(harness.beat_of(server.id).await.lapsed);
}

pub(super) async fn one_that_left_is_gone(harness: Harness) {
    let server = harness.server().await;
    let other = harness.server().await;
    let id = harness.add(task()).await;
    harness.store.server_leave(server.id).await.unwrap();
    let reply = server.claim_with(&request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty());
    let alive: Vec<ServerId> = harness
        .store
        .servers()
        .await
        .unwrap()
        .iter()
        .filter(|record| record.is_running)
        .map(|record| record.id)
        .collect();
    assert_eq!(alive, [other.id]);
    assert!(!harness.store.beats().await.unwrap().iter().any(|seen| seen.server == server.id && !seen.dead));
    harness.assert_state(id, TaskState::Enqueued).await;
    harness.store.server_leave(server.id).await.expect("leaving twice is not an error");
}

pub(super) async fn a_stranger_beats_in_vain(harness: Harness) {
    let reply = harness.store.server_beat(&beat(ServerId::generate())).await.unwrap();
    assert!(reply.dead && reply.signals.is_empty());
}

pub(super) async fn a_dead_one_is_shown_for_a_day(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    harness.advance(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(harness.store.servers().await.unwrap().len(), 1);
    harness.advance(Duration::from_secs(2 * 3_600)).await;
    assert!(harness.store.servers().await.unwrap().is_empty());
}

/// A server that leaves by mistake while it runs a task must not put the task into limbo.
pub(super) async fn leaving_with_a_running_task_frees_it(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    // Refusing is as good as freeing.
    let left = harness.store.server_leave(server.id).await.is_ok();
    harness.advance(LEASE * 2).await;
    for seen in harness.store.beats().await.unwrap() {
        harness.store.rescue(seen.server, seen.beat, true).await.unwrap();
    }
    harness.assert_state(claimed.id, TaskState::Enqueued).await;
    assert!(left || harness.record(claimed.id).await.lost == 1);
}
