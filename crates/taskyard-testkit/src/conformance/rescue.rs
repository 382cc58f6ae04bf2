//! Rescue: a dead server's tasks run again, without blame; tasks that kill their server are identified.

use std::time::Duration;

use taskyard_core::store::{Claimed, Outcome, StepReport};
use taskyard_core::task::{AttemptOutcome, NewTask};
use taskyard_core::{ServerId, TaskId, TaskState};

use super::{TestServer, Yard};
use crate::factory::{LEASE, task, tasks};

/// Lets the server's lease lapse and rescues its tasks.
async fn lose(yard: &Yard, server: &TestServer) -> usize {
    yard.advance(LEASE + Duration::from_secs(1)).await;
    yard.rescue(server.id).await
}

pub(super) async fn a_lost_task_runs_again_unblamed(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    assert_eq!(lose(&yard, &server).await, 1);
    let record = yard.record(claimed.id).await;
    assert_eq!(
        (record.state, record.attempt, record.failures, record.lost, record.crashes),
        (TaskState::Enqueued, 1, 0, 1, 0)
    );
    assert!(!record.alone);
    let again = yard.server().await.claim_one().await;
    assert_eq!((again.id, again.attempt), (claimed.id, 2));
}

pub(super) async fn a_rescued_task_comes_before_younger_ones(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let old = yard.start(&server, task()).await;
    yard.add_all(&tasks(5)).await;
    lose(&yard, &server).await;
    assert_eq!(yard.server().await.claim_one().await.id, old.id);
}

pub(super) async fn a_live_server_keeps_its_tasks(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    let seen = yard.beat_of(server.id).await;
    assert!(!seen.lapsed && !seen.dead);
    assert_eq!(seen.lease, LEASE);
    let report = yard.store.rescue(server.id, seen.beat, false).await.unwrap();
    assert_eq!(report, StepReport::default());
    assert!(!server.beat().await.dead);
    yard.assert_state(claimed.id, TaskState::Doing).await;
}

pub(super) async fn a_beat_since_the_suspicion_saves_it(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    let before = yard.beat_of(server.id).await.beat;
    server.beat().await;
    assert!(yard.beat_of(server.id).await.beat > before, "the counter grows");
    yard.advance(LEASE * 2).await;
    assert!(yard.beat_of(server.id).await.lapsed);
    for overdue in [false, true] {
        let report = yard.store.rescue(server.id, before, overdue).await.unwrap();
        assert_eq!(report.tasks, 0, "an old counter is not evidence");
    }
    yard.assert_state(claimed.id, TaskState::Doing).await;
}

/// The clock of the database may have been set back: then the rescuer's own observation counts.
pub(super) async fn an_overdue_server_needs_no_lapsed_lease(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    let beat = yard.beat_of(server.id).await.beat;
    assert_eq!(yard.store.rescue(server.id, beat, true).await.unwrap().tasks, 1);
    yard.assert_state(claimed.id, TaskState::Enqueued).await;
    let reply = server.claim_with(&crate::factory::request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty(), "declared dead is dead, however long the lease still runs");
    assert!(server.beat().await.dead);
}

pub(super) async fn a_dead_server_is_told_and_claims_no_more(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.start(&server, task()).await;
    lose(&yard, &server).await;
    assert!(server.beat().await.dead, "its next beat says so");
    assert!(server.beat().await.dead, "and every one after");
    let reply = server.claim_with(&crate::factory::request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty());
    let servers = yard.store.servers().await.unwrap();
    assert!(!servers.iter().find(|record| record.id == server.id).expect("it is still shown").is_running);
}

pub(super) async fn an_idle_server_dies_too(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    assert_eq!(lose(&yard, &server).await, 0);
    assert!(server.beat().await.dead);
}

pub(super) async fn a_stranger_cannot_be_rescued(yard: Yard) {
    let report = yard.store.rescue(ServerId::generate(), 0, true).await.unwrap();
    assert_eq!(report, StepReport::default());
}

pub(super) async fn a_rescue_twice_counts_once(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    yard.advance(LEASE * 2).await;
    let beat = yard.beat_of(server.id).await.beat;
    let mut rescuers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = std::sync::Arc::clone(&yard.store);
        let server = server.id;
        rescuers.spawn(async move { store.rescue(server, beat, false).await.unwrap().tasks });
    }
    assert_eq!(rescuers.join_all().await.iter().sum::<usize>(), 1);
    assert_eq!(yard.record(claimed.id).await.lost, 1);
    assert_eq!(yard.attempts(claimed.id).await.len(), 1);
}

pub(super) async fn what_another_server_runs_is_left_alone(yard: Yard) {
    yard.freeze().await;
    let (dead, alive) = (yard.server().await, yard.server().await);
    let lost = yard.start(&dead, task()).await;
    let kept = yard.start(&alive, task()).await;
    yard.advance(LEASE - Duration::from_secs(1)).await;
    alive.beat().await;
    assert_eq!(lose(&yard, &dead).await, 1);
    yard.assert_state(lost.id, TaskState::Enqueued).await;
    yard.assert_state(kept.id, TaskState::Doing).await;
    alive.beat().await;
}

pub(super) async fn thousands_are_freed_in_bounded_steps(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let added = yard.add_many(&tasks(2_500)).await;
    for _ in 0..3 {
        server.claim(1_000).await;
    }
    assert_eq!(yard.count(&added, TaskState::Doing).await, 2_500);
    assert_eq!(lose(&yard, &server).await, 2_500);
    assert_eq!(yard.count(&added, TaskState::Enqueued).await, 2_500);
}

/// A step was made, then the rescuer died: the next one must find the rest.
pub(super) async fn a_rescue_half_done_is_carried_on(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let added = yard.add_many(&tasks(1_500)).await;
    server.claim(1_000).await;
    server.claim(500).await;
    yard.advance(LEASE * 2).await;
    let beat = yard.beat_of(server.id).await.beat;
    let first = yard.store.rescue(server.id, beat, false).await.unwrap();
    assert!(first.more && first.tasks <= 1_000);
    let seen = yard.beat_of(server.id).await;
    assert!(seen.dead, "still to be seen, as dead");
    assert_eq!(first.tasks + yard.rescue(server.id).await, 1_500);
    assert_eq!(yard.count(&added, TaskState::Enqueued).await, 1_500);
}

pub(super) async fn finished_ones_stay_finished(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.add_all(&tasks(4)).await;
    let claimed = server.claim(4).await;
    server.done(&claimed[0]).await;
    server.fail(&claimed[1]).await;
    server.finish(&claimed[2], Outcome::Snooze { after: Duration::from_secs(3_600) }).await;
    assert_eq!(lose(&yard, &server).await, 1);
    yard.assert_state(claimed[0].id, TaskState::Done).await;
    yard.assert_state(claimed[1].id, TaskState::Failed).await;
    yard.assert_state(claimed[2].id, TaskState::Waiting).await;
    yard.assert_state(claimed[3].id, TaskState::Enqueued).await;
}

/// Released by one server and run by another: the first one's death must not touch it.
pub(super) async fn a_task_that_moved_on_is_not_taken(yard: Yard) {
    yard.freeze().await;
    let first = yard.server().await;
    let claimed = yard.start(&first, task()).await;
    first.finish(&claimed, Outcome::Released).await;
    yard.advance(LEASE - Duration::from_secs(1)).await;
    let second = yard.server().await;
    let again = second.claim_one().await;
    assert_eq!(again.id, claimed.id);
    assert_eq!(lose(&yard, &first).await, 0);
    yard.assert_state(again.id, TaskState::Doing).await;
    second.done(&again).await;
}

async fn lose_repeatedly(yard: &Yard, times: u32) -> TaskId {
    let id = yard.add(task()).await;
    for lost in 1..=times {
        let server = yard.server().await;
        assert_eq!(server.claim_one().await.id, id);
        lose(yard, &server).await;
        assert_eq!(yard.record(id).await.lost, lost);
    }
    id
}

async fn claim_alone(yard: &Yard) -> (TestServer, Claimed) {
    let server = yard.server().await;
    assert!(server.claim(10).await.is_empty(), "not among others");
    let claimed = server.claim_alone().await.expect("it is there to run alone");
    (server, claimed)
}

pub(super) async fn from_the_third_loss_it_runs_alone(yard: Yard) {
    yard.freeze().await;
    let id = lose_repeatedly(&yard, 2).await;
    assert!(!yard.record(id).await.alone);
    let server = yard.server().await;
    server.claim_one().await;
    lose(&yard, &server).await;
    assert!(yard.record(id).await.alone);
    let (server, claimed) = claim_alone(&yard).await;
    assert_eq!((claimed.id, claimed.alone), (id, true));
    server.done(&claimed).await;
}

pub(super) async fn one_that_kills_its_server_alone_is_a_crash(yard: Yard) {
    yard.freeze().await;
    let id = lose_repeatedly(&yard, 3).await;
    for crashes in 1..=3 {
        let (server, _) = claim_alone(&yard).await;
        lose(&yard, &server).await;
        let record = yard.record(id).await;
        assert_eq!((record.lost, record.crashes), (3, crashes));
        assert_eq!(record.state, if crashes < 3 { TaskState::Enqueued } else { TaskState::Failed });
    }
    let record = yard.record(id).await;
    let error = record.error.expect("a dead letter says why");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), ("WorkerDied", "worker died 3 times"));
    let attempts = yard.attempts(id).await;
    assert_eq!(attempts.len(), 6, "{attempts:#?}");
    assert_eq!(attempts[5].outcome, AttemptOutcome::Crashed);
}

pub(super) async fn at_most_once_dies_of_its_first_loss(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let claimed = yard.start(&server, NewTask { at_most_once: true, ..task() }).await;
    lose(&yard, &server).await;
    let record = yard.record(claimed.id).await;
    assert_eq!((record.state, record.lost), (TaskState::Failed, 1));
    let error = record.error.expect("a dead letter says why");
    let expected = ("ServerLost", "server was lost and the task may run only once");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), expected);
}

pub(super) async fn a_death_by_rescue_takes_the_children_along(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let parent = yard.start(&server, NewTask { at_most_once: true, ..task() }).await;
    let child = yard.add(crate::factory::child_of(&[parent.id])).await;
    lose(&yard, &server).await;
    yard.cascade().await;
    let record = yard.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Failed, Some(parent.id)));
}

pub(super) async fn requests_outlive_the_server(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.add_all(&tasks(3)).await;
    let claimed = server.claim(3).await;
    yard.cancel(claimed[0].id).await;
    yard.stop(claimed[1].id).await;
    let now = yard.advance(LEASE * 2).await;
    assert_eq!(yard.rescue(server.id).await, 3);
    for (claimed, state) in claimed.iter().zip([TaskState::Cancelled, TaskState::Stopped, TaskState::Enqueued]) {
        let record = yard.record(claimed.id).await;
        assert_eq!(record.state, state);
        assert_eq!(record.finished_at, state.is_final().then_some(now));
    }
}

pub(super) async fn a_new_boot_of_the_same_host_is_another_server(yard: Yard) {
    yard.freeze().await;
    let first = yard.server().await;
    let claimed = yard.start(&first, task()).await;
    // A server with the same name and process id, but a new id, owns nothing of the first one's.
    let second = yard.server().await;
    assert!(second.claim(10).await.is_empty());
    yard.assert_state(claimed.id, TaskState::Doing).await;
    first.done(&claimed).await;
}
