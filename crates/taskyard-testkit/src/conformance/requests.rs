//! Requests to running tasks: cancel and stop reach the server, and no end of the attempt loses them.

use std::time::Duration;

use taskyard_core::store::{Claimed, ControlReply, Outcome, Signal, WriteReply};
use taskyard_core::task::AttemptOutcome;
use taskyard_core::{TaskId, TaskState};

use super::{Harness, TestServer};
use crate::factory::{child_of, failure, in_queue, task};

/// Returns every end but success.
fn other_ends() -> Vec<Outcome> {
    let error = failure("it broke");
    vec![
        Outcome::Failed(error.clone()),
        Outcome::Retry { after: Duration::from_secs(60), error: error.clone() },
        Outcome::Retry { after: Duration::ZERO, error: error.clone() },
        Outcome::Snooze { after: Duration::from_secs(60) },
        Outcome::Released,
        Outcome::Parked { reason: "kind `x`".into() },
        Outcome::Crashed(error),
        Outcome::Beside,
        Outcome::Interrupted,
        Outcome::Expired,
    ]
}

async fn start(harness: &Harness, server: &TestServer) -> Claimed {
    let queue = TaskId::generate().to_string();
    harness.add(in_queue(&queue)).await;
    server.claim_queue(&queue, 1).await.remove(0)
}

pub(super) async fn a_cancel_reaches_the_server_with_every_beat(harness: Harness) {
    let server = harness.server().await;
    let other = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(harness.cancel(claimed.id).await, ControlReply::Requested);
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.cancel_requested), (TaskState::Doing, true));
    let signal = Signal { id: claimed.id, token: claimed.token, cancel: true };
    for _ in 0..3 {
        assert_eq!(server.beat().await.signals, [signal], "repeated until the attempt ended");
        assert!(other.beat().await.signals.is_empty(), "no business of another server");
    }
    server.finish(&claimed, Outcome::Interrupted).await;
    assert!(server.beat().await.signals.is_empty());
    harness.assert_state(claimed.id, TaskState::Cancelled).await;
}

pub(super) async fn a_stop_reaches_the_server(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(harness.stop(claimed.id).await, ControlReply::Requested);
    assert!(harness.record(claimed.id).await.stop_requested);
    let signal = Signal { id: claimed.id, token: claimed.token, cancel: false };
    assert_eq!(server.beat().await.signals, [signal]);
    let reply = server.finish(&claimed, Outcome::Interrupted).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Stopped));
    assert!(server.beat().await.signals.is_empty());
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.stop_requested), (TaskState::Stopped, false));
    assert!(record.finished_at.is_some());
}

pub(super) async fn every_end_but_success_is_cancelled(harness: Harness) {
    let server = harness.server().await;
    for outcome in other_ends() {
        let claimed = start(&harness, &server).await;
        harness.cancel(claimed.id).await;
        let reply = server.finish(&claimed, outcome.clone()).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Cancelled), "{outcome:?}");
        let record = harness.record(claimed.id).await;
        assert!(!record.cancel_requested, "{outcome:?}");
        assert_eq!((record.failures, record.lost, record.crashes), (0, 0, 0), "{outcome:?}");
    }
}

pub(super) async fn every_end_but_success_is_stopped(harness: Harness) {
    let server = harness.server().await;
    for outcome in other_ends() {
        let claimed = start(&harness, &server).await;
        harness.stop(claimed.id).await;
        let reply = server.finish(&claimed, outcome.clone()).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Stopped), "{outcome:?}");
        assert!(!harness.record(claimed.id).await.stop_requested, "{outcome:?}");
    }
}

pub(super) async fn a_success_wins_over_both(harness: Harness) {
    let server = harness.server().await;
    for stop in [false, true] {
        let claimed = start(&harness, &server).await;
        if stop {
            harness.stop(claimed.id).await;
        } else {
            harness.cancel(claimed.id).await;
        }
        server.done(&claimed).await;
        let record = harness.record(claimed.id).await;
        assert_eq!((record.state, record.cancel_requested, record.stop_requested), (TaskState::Done, false, false));
        assert!(server.beat().await.signals.is_empty());
    }
}

pub(super) async fn a_cancel_after_the_success_loses(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.done(&claimed).await;
    assert_eq!(harness.cancel(claimed.id).await, ControlReply::Refused(TaskState::Done));
    harness.assert_state(claimed.id, TaskState::Done).await;
}

pub(super) async fn cancel_wins_over_stop(harness: Harness) {
    let server = harness.server().await;
    for cancel_first in [false, true] {
        let claimed = start(&harness, &server).await;
        if cancel_first {
            harness.cancel(claimed.id).await;
            harness.stop(claimed.id).await;
        } else {
            harness.stop(claimed.id).await;
            harness.cancel(claimed.id).await;
        }
        let signals = server.beat().await.signals;
        assert!(signals.iter().any(|signal| signal.id == claimed.id && signal.cancel), "{signals:?}");
        let reply = server.finish(&claimed, Outcome::Interrupted).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Cancelled));
    }
}

pub(super) async fn asking_twice_is_asking_once(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    assert_eq!(harness.cancel(claimed.id).await, ControlReply::Requested);
    assert_eq!(harness.cancel(claimed.id).await, ControlReply::Requested);
    assert_eq!(server.beat().await.signals.len(), 1);
    server.finish(&claimed, Outcome::Interrupted).await;
}

/// The next attempt must not inherit a signal meant for one that is over.
pub(super) async fn a_request_dies_with_its_attempt(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    harness.stop(claimed.id).await;
    server.finish(&claimed, Outcome::Interrupted).await;
    harness.retry(claimed.id).await;
    let again = server.claim_one().await;
    assert!(server.beat().await.signals.is_empty());
    let reply = server.finish(&again, Outcome::Released).await;
    assert_eq!(reply, WriteReply::Applied(TaskState::Enqueued));
}

pub(super) async fn the_history_says_cancelled(harness: Harness) {
    let server = harness.server().await;
    for (stop, expected) in [(false, AttemptOutcome::Cancelled), (true, AttemptOutcome::Stopped)] {
        let claimed = start(&harness, &server).await;
        if stop {
            harness.stop(claimed.id).await;
        } else {
            harness.cancel(claimed.id).await;
        }
        server.finish(&claimed, Outcome::Interrupted).await;
        let attempts = harness.attempts(claimed.id).await;
        assert_eq!(attempts.iter().map(|attempt| attempt.outcome).collect::<Vec<_>>(), [expected]);
    }
}

pub(super) async fn a_cancelled_run_cancels_its_children(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let child = harness.add(child_of(&[claimed.id])).await;
    harness.cancel(claimed.id).await;
    harness.assert_state(child, TaskState::Waiting).await;
    server.finish(&claimed, Outcome::Failed(failure("late"))).await;
    let record = harness.record(child).await;
    assert_eq!((record.state, record.fallen_from), (TaskState::Cancelled, Some(claimed.id)));
}

pub(super) async fn a_stopped_run_leaves_its_children_waiting(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let child = harness.add(child_of(&[claimed.id])).await;
    harness.stop(claimed.id).await;
    server.finish(&claimed, Outcome::Interrupted).await;
    harness.assert_waits(child, taskyard_core::WaitReason::Parents).await;
    let waits_for = harness.record(child).await.waiting_for.expect("it says what it waits for");
    assert!(waits_for.contains("stopped"), "{waits_for}");
    harness.retry(claimed.id).await;
    server.done(&server.claim_one().await).await;
    harness.assert_state(child, TaskState::Enqueued).await;
}

/// Whichever comes first, the reply to the cancel and the end of the task agree.
pub(super) async fn a_cancel_and_a_success_at_once_agree(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..25 {
        let claimed = start(&harness, &server).await;
        let (asked, done) =
            tokio::join!(harness.cancel(claimed.id), server.finish(&claimed, Outcome::Done { result: b"1".to_vec() }));
        assert_eq!(done, WriteReply::Applied(TaskState::Done));
        assert!(matches!(asked, ControlReply::Requested | ControlReply::Refused(TaskState::Done)), "{asked:?}");
        let record = harness.record(claimed.id).await;
        assert_eq!((record.state, record.cancel_requested), (TaskState::Done, false));
        assert!(server.beat().await.signals.is_empty());
    }
}
