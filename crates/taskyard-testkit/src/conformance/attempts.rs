//! The history: every attempt with its server, times and outcome.

use std::time::Duration;

use taskyard_core::store::Outcome;
use taskyard_core::task::AttemptOutcome;
use taskyard_core::{TaskId, TaskState};

use super::Harness;
use crate::factory::{LEASE, child_of, delayed, failure, task};

async fn outcomes(harness: &Harness, id: TaskId) -> Vec<(u32, AttemptOutcome)> {
    harness.attempts(id).await.iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
}

pub(super) async fn one_that_never_ran_has_none(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    let cancelled = harness.add(delayed(Duration::from_secs(60))).await;
    harness.cancel(cancelled).await;
    server.fail(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Failed).await;
    assert!(harness.attempts(child).await.is_empty(), "a parent's failure is not an attempt");
    assert!(harness.attempts(cancelled).await.is_empty());
}

pub(super) async fn the_running_one_is_shown(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let attempts = harness.attempts(claimed.id).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].number, attempts[0].outcome), (1, AttemptOutcome::Doing));
    assert_eq!((attempts[0].server, attempts[0].started_at, attempts[0].ended_at), (Some(server.id), Some(now), None));
}

pub(super) async fn every_end_is_kept(harness: Harness) {
    let start = harness.freeze().await;
    let server = harness.server().await;
    let second = Duration::from_secs(1);
    let claimed = harness.start(&server, task()).await;
    let id = claimed.id;
    harness.advance(second).await;
    server.fail_and_retry(&claimed, Duration::ZERO, failure("first")).await;
    harness.advance(second).await;
    let claimed = server.claim_one().await;
    harness.advance(second).await;
    server.finish(&claimed, Outcome::Snooze { after: Duration::ZERO }).await;
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Crashed(failure("signal 6"))).await;
    let claimed = server.claim_alone().await.expect("alone after a crash");
    server.finish(&claimed, Outcome::Done { result: b"1".to_vec() }).await;

    let attempts = harness.attempts(id).await;
    let expected = [
        (1, AttemptOutcome::Failed),
        (2, AttemptOutcome::Snoozed),
        (3, AttemptOutcome::Crashed),
        (4, AttemptOutcome::Done),
    ];
    assert_eq!(outcomes(&harness, id).await, expected);
    assert!(attempts.iter().all(|attempt| attempt.server == Some(server.id)));
    assert_eq!(attempts[0].error, Some(failure("first")));
    assert_eq!((attempts[0].started_at, attempts[0].ended_at), (Some(start), Some(start + second)));
    assert_eq!((attempts[1].started_at, attempts[1].ended_at), (Some(start + 2 * second), Some(start + 3 * second)));
    assert_eq!(attempts[2].error, Some(failure("signal 6")));
    assert_eq!((attempts[1].error.clone(), attempts[3].error.clone()), (None, None));
    assert_eq!(attempts[3].ended_at, Some(start + 3 * second));
}

pub(super) async fn released_and_parked_ones_leave_none(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Released).await;
    assert!(harness.attempts(claimed.id).await.is_empty());
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Parked { reason: "kind `x`".into() }).await;
    assert!(harness.attempts(claimed.id).await.is_empty());
}

pub(super) async fn final_ones_say_how_they_ended(harness: Harness) {
    let server = harness.server().await;
    for (state, outcome) in [
        (TaskState::Done, AttemptOutcome::Done),
        (TaskState::Failed, AttemptOutcome::Failed),
        (TaskState::Cancelled, AttemptOutcome::Cancelled),
        (TaskState::Stopped, AttemptOutcome::Stopped),
    ] {
        let id = harness.ended(&server, state).await;
        assert_eq!(outcomes(&harness, id).await, [(1, outcome)]);
        let attempt = &harness.attempts(id).await[0];
        assert!(attempt.ended_at.is_some());
        assert_eq!(attempt.error.is_some(), state == TaskState::Failed);
    }
}

pub(super) async fn a_retry_by_a_person_keeps_them(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail(&claimed).await;
    harness.retry(claimed.id).await;
    assert_eq!(outcomes(&harness, claimed.id).await, [(1, AttemptOutcome::Failed)]);
    assert_eq!(harness.attempts(claimed.id).await[0].error, Some(failure("it broke")));
    let again = server.claim_one().await;
    assert_eq!(again.attempt, 2, "the number goes on");
    server.done(&again).await;
    let expected = [(1, AttemptOutcome::Failed), (2, AttemptOutcome::Done)];
    assert_eq!(outcomes(&harness, claimed.id).await, expected);
}

pub(super) async fn a_cancel_between_two_attempts_adds_none(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail_and_retry(&claimed, Duration::from_secs(60), failure("once")).await;
    harness.cancel(claimed.id).await;
    assert_eq!(outcomes(&harness, claimed.id).await, [(1, AttemptOutcome::Failed)]);
}

pub(super) async fn a_lost_one_names_its_server(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let now = harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    let attempts = harness.attempts(claimed.id).await;
    assert_eq!((attempts.len(), attempts[0].number, attempts[0].outcome), (1, 1, AttemptOutcome::Lost));
    assert_eq!((attempts[0].server, attempts[0].ended_at), (Some(server.id), Some(now)));
    let error = attempts[0].error.clone().expect("a lost attempt says why");
    assert_eq!((error.error_type, error.message), ("ServerLost".into(), format!("server {} was lost", server.id)));
}

pub(super) async fn a_death_beside_others_is_kept_as_lost(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Beside).await;
    assert_eq!(outcomes(&harness, claimed.id).await, [(1, AttemptOutcome::Lost)]);
}

pub(super) async fn a_dead_letter_by_crashes_has_three(harness: Harness) {
    let server = harness.server().await;
    let mut claimed = harness.start(&server, task()).await;
    for crash in 1..=3 {
        server.finish(&claimed, Outcome::Crashed(failure("signal 11"))).await;
        if crash < 3 {
            claimed = server.claim_alone().await.expect("alone after a crash");
        }
    }
    let numbers: Vec<u32> = harness.attempts(claimed.id).await.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}
