//! Rescue: a dead server's tasks run again, without blame; tasks that kill their server are identified.

use std::time::Duration;

use taskyard_core::store::{Claimed, Outcome, StepReport};
use taskyard_core::task::{AttemptOutcome, NewTask};
use taskyard_core::{ServerId, TaskId, TaskState};

use super::{Harness, TestServer};
use crate::factory::{LEASE, task, tasks};

/// Lets the server's lease lapse and rescues its tasks.
async fn lose(harness: &Harness, server: &TestServer) -> usize {
    harness.advance(LEASE + Duration::from_secs(1)).await;
    harness.rescue(server.id).await
}

pub(super) async fn a_lost_task_runs_again_unblamed(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(lose(&harness, &server).await, 1);
    let record = harness.record(claimed.id).await;
    assert_eq!(
        (record.state, record.attempt, record.failures, record.lost, record.crashes),
        (TaskState::Enqueued, 1, 0, 1, 0)
    );
    assert!(!record.alone);
    let again = harness.server().await.claim_one().await;
    assert_eq!((again.id, again.attempt), (claimed.id, 2));
}

pub(super) async fn a_rescued_task_comes_before_younger_ones(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let old = harness.start(&server, task()).await;
    harness.add_all(&tasks(5)).await;
    lose(&harness, &server).await;
    assert_eq!(harness.server().await.claim_one().await.id, old.id);
}

pub(super) async fn a_live_server_keeps_its_tasks(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let seen = harness.beat_of(server.id).await;
    assert!(!seen.lapsed && !seen.dead);
    assert_eq!(seen.lease, LEASE);
    let report = harness.store.rescue(server.id, seen.beat, false).await.unwrap();
    assert_eq!(report, StepReport::default());
    assert!(!server.beat().await.dead);
    harness.assert_state(claimed.id, TaskState::Doing).await;
}

pub(super) async fn a_beat_since_the_suspicion_saves_it(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let before = harness.beat_of(server.id).await.beat;
    server.beat().await;
    assert!(harness.beat_of(server.id).await.beat > before, "the counter grows");
    harness.advance(LEASE * 2).await;
    assert!(harness.beat_of(server.id).await.lapsed);
    for overdue in [false, true] {
        let report = harness.store.rescue(server.id, before, overdue).await.unwrap();
        assert_eq!(report.tasks, 0, "an old counter is not evidence");
    }
    harness.assert_state(claimed.id, TaskState::Doing).await;
}

/// The clock of the database may have been set back: then the rescuer's own observation counts.
pub(super) async fn an_overdue_server_needs_no_lapsed_lease(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let beat = harness.beat_of(server.id).await.beat;
    assert_eq!(harness.store.rescue(server.id, beat, true).await.unwrap().tasks, 1);
    harness.assert_state(claimed.id, TaskState::Enqueued).await;
    let reply = server.claim_with(&crate::factory::request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty(), "declared dead is dead, however long the lease still runs");
    assert!(server.beat().await.dead);
}

pub(super) async fn a_dead_server_is_told_and_claims_no_more(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.start(&server, task()).await;
    lose(&harness, &server).await;
    assert!(server.beat().await.dead, "its next beat says so");
    assert!(server.beat().await.dead, "and every one after");
    let reply = server.claim_with(&crate::factory::request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty());
    let servers = harness.store.servers().await.unwrap();
    assert!(!servers.iter().find(|record| record.id == server.id).expect("it is still shown").is_running);
}

pub(super) async fn an_idle_server_dies_too(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    assert_eq!(lose(&harness, &server).await, 0);
    assert!(server.beat().await.dead);
}

pub(super) async fn a_stranger_cannot_be_rescued(harness: Harness) {
    let report = harness.store.rescue(ServerId::generate(), 0, true).await.unwrap();
    assert_eq!(report, StepReport::default());
}

pub(super) async fn a_rescue_twice_counts_once(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    harness.advance(LEASE * 2).await;
    let beat = harness.beat_of(server.id).await.beat;
    let mut rescuers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = std::sync::Arc::clone(&harness.store);
        let server = server.id;
        rescuers.spawn(async move { store.rescue(server, beat, false).await.unwrap().tasks });
    }
    assert_eq!(rescuers.join_all().await.iter().sum::<usize>(), 1);
    assert_eq!(harness.record(claimed.id).await.lost, 1);
    assert_eq!(harness.attempts(claimed.id).await.len(), 1);
}

pub(super) async fn what_another_server_runs_is_left_alone(harness: Harness) {
    harness.freeze().await;
    let (dead, alive) = (harness.server().await, harness.server().await);
    let lost = harness.start(&dead, task()).await;
    let kept = harness.start(&alive, task()).await;
    harness.advance(LEASE - Duration::from_secs(1)).await;
    alive.beat().await;
    assert_eq!(lose(&harness, &dead).await, 1);
    harness.assert_state(lost.id, TaskState::Enqueued).await;
    harness.assert_state(kept.id, TaskState::Doing).await;
    alive.beat().await;
}

pub(super) async fn thousands_are_freed_in_bounded_steps(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let added = harness.add_many(&tasks(2_500)).await;
    for _ in 0..3 {
        server.claim(1_000).await;
    }
    assert_eq!(harness.count(&added, TaskState::Doing).await, 2_500);
    assert_eq!(lose(&harness, &server).await, 2_500);
    assert_eq!(harness.count(&added, TaskState::Enqueued).await, 2_500);
}

/// A step was made, then the rescuer died: the next one must find the rest.
pub(super) async fn a_rescue_half_done_is_carried_on(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let added = harness.add_many(&tasks(1_500)).await;
    server.claim(1_000).await;
    server.claim(500).await;
    harness.advance(LEASE * 2).await;
    let beat = harness.beat_of(server.id).await.beat;
    let first = harness.store.rescue(server.id, beat, false).await.unwrap();
    assert!(first.more && first.tasks <= 1_000);
    let seen = harness.beat_of(server.id).await;
    assert!(seen.dead, "still to be seen, as dead");
    assert_eq!(first.tasks + harness.rescue(server.id).await, 1_500);
    assert_eq!(harness.count(&added, TaskState::Enqueued).await, 1_500);
}

pub(super) async fn finished_ones_stay_finished(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(4)).await;
    let claimed = server.claim(4).await;
    server.done(&claimed[0]).await;
    server.fail(&claimed[1]).await;
    server.finish(&claimed[2], Outcome::Snooze { after: Duration::from_secs(3_600) }).await;
    assert_eq!(lose(&harness, &server).await, 1);
    harness.assert_state(claimed[0].id, TaskState::Done).await;
    harness.assert_state(claimed[1].id, TaskState::Failed).await;
    harness.assert_state(claimed[2].id, TaskState::Waiting).await;
    harness.assert_state(claimed[3].id, TaskState::Enqueued).await;
}

/// Released by one server and run by another: the first one's death must not touch it.
pub(super) async fn a_task_that_moved_on_is_not_taken(harness: Harness) {
    harness.freeze().await;
    let first = harness.server().await;
    let claimed = harness.start(&first, task()).await;
    first.finish(&claimed, Outcome::Released).await;
    harness.advance(LEASE - Duration::from_secs(1)).await;
    let second = harness.server().await;
    let again = second.claim_one().await;
    assert_eq!(again.id, claimed.id);
    assert_eq!(lose(&harness, &first).await, 0);
    harness.assert_state(again.id, TaskState::Doing).await;
    second.done(&again).await;
}

async fn lose_repeatedly(harness: &Harness, times: u32) -> TaskId {
    let id = harness.add(task()).await;
    for lost in 1..=times {
        let server = harness.server().await;
        assert_eq!(server.claim_one().await.id, id);
        lose(harness, &server).await;
        assert_eq!(harness.record(id).await.lost, lost);
    }
    id
}

async fn claim_alone(harness: &Harness) -> (TestServer, Claimed) {
    let server = harness.server().await;
    assert!(server.claim(10).await.is_empty(), "not among others");
    let claimed = server.claim_alone().await.expect("it is there to run alone");
    (server, claimed)
}

pub(super) async fn from_the_third_loss_it_runs_alone(harness: Harness) {
    harness.freeze().await;
    let id = lose_repeatedly(&harness, 2).await;
    assert!(!harness.record(id).await.alone);
    let server = harness.server().await;
    server.claim_one().await;
    lose(&harness, &server).await;
    assert!(harness.record(id).await.alone);
    let (server, claimed) = claim_alone(&harness).await;
    assert_eq!((claimed.id, claimed.alone), (id, true));
    server.done(&claimed).await;
}

pub(super) async fn one_that_kills_its_server_alone_is_a_crash(harness: Harness) {
    harness.freeze().await;
    let id = lose_repeatedly(&harness, 3).await;
    for crashes in 1..=3 {
        let (server, _) = claim_alone(&harness).await;
        lose(&harness, &server).await;
        let record = harness.record(id).await;
        assert_eq!((record.lost, record.crashes), (3, crashes));
        assert_eq!(record.state, if crashes < 3 { TaskState::Enqueued } else { TaskState::Failed });
    }
    let record = harness.record(id).await;
    let error = record.error.expect("a dead letter says why");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), ("WorkerDied", "worker died 3 times"));
    let attempts = harness.attempts(id).await;
    assert_eq!(attempts.len(), 6, "{attempts:#?}");
    assert_eq!(attempts[5].outcome, AttemptOutcome::Crashed);
}

pub(super) async fn at_most_once_dies_of_its_first_loss(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, NewTask { at_most_once: true, ..task() }).await;
    lose(&harness, &server).await;
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.lost), (TaskState::Failed, 1));
    let error = record.error.expect("a dead letter says why");
    let expected = ("ServerLost", "server was lost and the task may run only once");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), expected);
}

pub(super) async fn a_death_by_rescue_takes_the_children_along(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let parent = harness.start(&server, NewTask { at_most_once: true, ..task() }).await;
    let child = harness.add(crate::factory::child_of(&[parent.id])).await;
    lose(&harness, &server).await;
    harness.cascade().await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parent.id)));
}

pub(super) async fn requests_outlive_the_server(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(3)).await;
    let claimed = server.claim(3).await;
    harness.cancel(claimed[0].id).await;
    harness.stop(claimed[1].id).await;
    let now = harness.advance(LEASE * 2).await;
    assert_eq!(harness.rescue(server.id).await, 3);
    for (claimed, state) in claimed.iter().zip([TaskState::Cancelled, TaskState::Stopped, TaskState::Enqueued]) {
        let record = harness.record(claimed.id).await;
        assert_eq!(record.state, state);
        assert_eq!(record.finished_at, state.is_final().then_some(now));
    }
}

pub(super) async fn a_new_boot_of_the_same_host_is_another_server(harness: Harness) {
    harness.freeze().await;
    let first = harness.server().await;
    let claimed = harness.start(&first, task()).await;
    // A server with the same name and process id, but a new id, owns nothing of the first one's.
    let second = harness.server().await;
    assert!(second.claim(10).await.is_empty());
    harness.assert_state(claimed.id, TaskState::Doing).await;
    first.done(&claimed).await;
}
