//! Counters: what each end of an attempt counts, and when it creates a dead letter.

use std::time::Duration;

use taskyard_core::store::{CRASHES_MAX, Claimed, Outcome, WriteReply};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState, WaitReason};

use super::Harness;
use crate::factory::{failure, task};

/// Returns attempt, failures, lost, crashes.
async fn counters(harness: &Harness, id: TaskId) -> [u32; 4] {
    let record = harness.record(id).await;
    [record.attempt, record.failures, record.lost, record.crashes]
}

fn at_most_once() -> NewTask {
    NewTask { at_most_once: true, ..task() }
}

pub(super) async fn a_claim_counts_an_attempt(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(claimed.attempt, 1);
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
    server.done(&claimed).await;
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
}

pub(super) async fn a_retry_counts_a_failure_and_waits(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let reply = server.fail_and_retry(&claimed, Duration::from_secs(8), failure("it broke")).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Waiting));
    harness.assert_waits(claimed.id, WaitReason::Retry).await;
    let record = harness.record(claimed.id).await;
    assert_eq!(record.run_at, Some(now + Duration::from_secs(8)));
    assert_eq!(record.error, Some(failure("it broke")), "the last failure is shown while it waits");
    assert_eq!(counters(&harness, claimed.id).await, [1, 1, 0, 0]);
    assert!(server.claim(1).await.is_empty());
}

pub(super) async fn failures_add_up_over_attempts(harness: Harness) {
    let server = harness.server().await;
    let first = harness.start(&server, task()).await;
    let mut claimed = first.clone();
    for failures in 1..=5 {
        server.fail_and_retry(&claimed, Duration::ZERO, failure("again")).await;
        claimed = server.claim_one().await;
        assert_eq!((claimed.attempt, claimed.failures), (failures + 1, failures));
    }
    server.fail(&claimed).await;
    assert_eq!(counters(&harness, first.id).await, [6, 6, 0, 0]);
}

pub(super) async fn a_dead_letter_keeps_the_failure(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail(&claimed).await;
    let record = harness.record(claimed.id).await;
    assert_eq!(record.state, TaskState::Failed);
    assert_eq!(record.error, Some(failure("it broke")), "type, message and traceback");
    assert_eq!(record.finished_at, Some(now));
    assert_eq!(counters(&harness, claimed.id).await, [1, 1, 0, 0]);
}

pub(super) async fn a_result_is_stored_with_its_time(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let now = harness.advance(Duration::from_secs(3)).await;
    server.finish(&claimed, Outcome::Done { result: br#"{"n": 1}"#.to_vec() }).await;
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.result), (TaskState::Done, Some(br#"{"n": 1}"#.to_vec())));
    assert_eq!(record.finished_at, Some(now));
    assert_eq!(record.started_at, Some(now - Duration::from_secs(3)));
}

pub(super) async fn a_snooze_costs_nothing_but_the_attempt(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Snooze { after: Duration::from_secs(60) }).await;
    harness.assert_waits(claimed.id, WaitReason::Retry).await;
    assert_eq!(harness.record(claimed.id).await.run_at, Some(now + Duration::from_secs(60)));
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
    harness.advance(Duration::from_secs(60)).await;
    assert_eq!(harness.promote().await.enqueued, 1);
    server.beat().await;
    assert_eq!(server.claim_one().await.failures, 0);
}

pub(super) async fn a_release_costs_nothing(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Released).await;
    assert_eq!(counters(&harness, claimed.id).await, [0, 0, 0, 0]);
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.started_at), (TaskState::Enqueued, None));
    assert_eq!(server.claim_one().await.attempt, 1);
}

pub(super) async fn crashes_make_it_run_alone_then_dead(harness: Harness) {
    let server = harness.server().await;
    let mut claimed = harness.start(&server, task()).await;
    for crashes in 1..CRASHES_MAX {
        let reply = server.finish(&claimed, Outcome::Crashed(failure("signal 11"))).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Enqueued));
        assert_eq!(counters(&harness, claimed.id).await, [crashes, 0, 0, crashes]);
        assert!(harness.record(claimed.id).await.alone);
        let reply = server.claim_with(&crate::factory::request(server.id, 10)).await;
        assert!(reply.tasks.is_empty(), "not among others");
        assert!(reply.alone_waiting, "but an idle server should know");
        claimed = server.claim_alone().await.expect("it is there to run alone");
        assert!(claimed.alone);
    }
    let reply = server.finish(&claimed, Outcome::Crashed(failure("signal 11"))).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Failed));
    let error = harness.record(claimed.id).await.error.expect("a dead letter says why");
    assert_eq!((error.error_type.as_str(), error.message.as_str()), ("WorkerDied", "worker died 3 times"));
    assert_eq!(error.traceback, failure("signal 11").traceback);
    assert_eq!(counters(&harness, claimed.id).await, [3, 0, 0, 3]);
}

pub(super) async fn a_death_beside_others_is_counted_for_none(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let reply = server.finish(&claimed, Outcome::Beside).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Enqueued));
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
    assert!(harness.record(claimed.id).await.alone);
    assert!(server.claim(1).await.is_empty());
    let alone = server.claim_alone().await.expect("it is there to run alone");
    server.done(&alone).await;
}

async fn assert_dead_at_once(harness: &Harness, claimed: &Claimed) {
    let record = harness.record(claimed.id).await;
    assert_eq!(record.state, TaskState::Failed);
    assert_eq!(record.error.expect("a dead letter says why").error_type, "WorkerDied");
    assert_eq!(record.attempt, 1);
}

pub(super) async fn at_most_once_dies_of_its_first_crash(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, at_most_once()).await;
    let reply = server.finish(&claimed, Outcome::Crashed(failure("signal 9"))).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Failed));
    assert_dead_at_once(&harness, &claimed).await;
}

pub(super) async fn at_most_once_dies_of_a_death_beside_others(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, at_most_once()).await;
    let reply = server.finish(&claimed, Outcome::Beside).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Failed));
    assert_dead_at_once(&harness, &claimed).await;
}

/// A failure reported by the body proves that it ended, so a retry never runs at the same time.
pub(super) async fn at_most_once_may_be_released(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, at_most_once()).await;
    server.finish(&claimed, Outcome::Released).await;
    harness.assert_state(claimed.id, TaskState::Enqueued).await;
}

pub(super) async fn what_had_begun_is_released_unless_it_may_run_only_once(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(server.finish(&claimed, Outcome::CutShort).await, WriteReply::Applied(TaskState::Enqueued));
    assert_eq!(counters(&harness, claimed.id).await, [0, 0, 0, 0]);
    server.done(&server.claim_one().await).await;

    let claimed = harness.start(&server, at_most_once()).await;
    assert_eq!(server.finish(&claimed, Outcome::CutShort).await, WriteReply::Applied(TaskState::Failed));
    let record = harness.record(claimed.id).await;
    let error = record.error.expect("a dead letter says why");
    assert_eq!((error.error_type.as_str(), record.attempt, record.alone), ("CutShort", 1, false));
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
}

pub(super) async fn alone_lasts_until_it_ends(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Beside).await;
    let alone = server.claim_alone().await.expect("alone");
    server.finish(&alone, Outcome::Released).await;
    assert!(server.claim(1).await.is_empty(), "released into the lane it came from");
    let alone = server.claim_alone().await.expect("alone again");
    server.fail_and_retry(&alone, Duration::ZERO, failure("once")).await;
    let alone = server.claim_alone().await.expect("still alone after a failure");
    server.done(&alone).await;
}

pub(super) async fn an_interruption_without_a_request_cancels(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let reply = server.finish(&claimed, Outcome::Interrupted).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Cancelled));
    assert_eq!(counters(&harness, claimed.id).await, [1, 0, 0, 0]);
}

pub(super) async fn a_zero_pause_is_enqueued_at_once(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let reply = server.fail_and_retry(&claimed, Duration::ZERO, failure("once")).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Enqueued));
    let claimed = server.claim_one().await;
    let reply = server.finish(&claimed, Outcome::Snooze { after: Duration::ZERO }).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Enqueued));
    assert_eq!(counters(&harness, claimed.id).await, [2, 1, 0, 0]);
}
