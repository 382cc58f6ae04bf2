//! Snapshots for watchers: equal to the record and the history, without the parts that the watcher already has.

use std::time::Duration;

use taskyard_core::store::{Outcome, Record, SnapshotRequest, TaskSnapshot};
use taskyard_core::task::{AttemptOutcome, NewTask};
use taskyard_core::{Failure, TaskId, TaskState, WaitReason};

use super::Harness;
use crate::factory::{child_of, delayed, failure, task, tasks};

/// Returns a request of a watcher that has seen nothing.
fn unseen(id: TaskId) -> SnapshotRequest {
    SnapshotRequest { id, attempts_known: 0, context_known: None }
}

fn bare(message: &str) -> Failure {
    Failure { traceback: None, ..failure(message) }
}

async fn snapshots(harness: &Harness, id: TaskId) -> TaskSnapshot {
    harness.store.snapshots(&[unseen(id)]).await.unwrap().remove(0).expect("the task is there")
}

async fn numbers(harness: &Harness, id: TaskId, attempts_known: u32) -> Vec<(u32, AttemptOutcome)> {
    let asked = SnapshotRequest { attempts_known, ..unseen(id) };
    let found = harness.store.snapshots(&[asked]).await.unwrap().remove(0).expect("the task is there");
    found.ended.iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
}

pub(super) async fn it_follows_a_task_through_its_life(harness: Harness) {
    let added = harness.freeze().await;
    let server = harness.server().await;
    let second = Duration::from_secs(1);
    let id = harness.add(task()).await;
    let new = snapshots(&harness, id).await;
    assert_eq!((new.id, new.state, new.wait_reason, new.attempt), (id, TaskState::Enqueued, None, 0));
    assert_eq!((new.created_at, new.run_at, new.started_at, new.finished_at), (added, None, None, None));
    assert_eq!((new.context_revision, new.context, new.ended, new.error), (None, None, vec![], None));
    let started = harness.advance(second).await;
    let claimed = server.claim_one().await;
    let doing = snapshots(&harness, id).await;
    assert_eq!((doing.state, doing.attempt, doing.started_at), (TaskState::Doing, 1, Some(started)));
    let failed = harness.advance(second).await;
    server.fail_and_retry(&claimed, 5 * second, failure("once")).await;
    let paused = snapshots(&harness, id).await;
    assert_eq!((paused.state, paused.wait_reason), (TaskState::Waiting, Some(WaitReason::Retry)));
    assert_eq!((paused.attempt, paused.failures, paused.run_at), (1, 1, Some(failed + 5 * second)));
    assert_eq!(paused.ended.len(), 1);
    let ended = &paused.ended[0];
    assert_eq!((ended.number, ended.outcome), (1, AttemptOutcome::Failed));
    assert_eq!((ended.started_at, ended.ended_at), (Some(started), Some(failed)));
    assert_eq!(ended.error, Some(bare("once")));
    let done = harness.advance(10 * second).await;
    harness.promote().await;
    server.done(&server.claim_one().await).await;
    let last = snapshots(&harness, id).await;
    assert_eq!((last.state, last.attempt, last.finished_at), (TaskState::Done, 2, Some(done)));
}

pub(super) async fn waiting_ones_say_why(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.add(task()).await;
    let child = harness.add(child_of(&[parent])).await;
    let late = harness.add(delayed(Duration::from_secs(60))).await;
    let parked = server.claim_one().await;
    server.finish(&parked, Outcome::Parked { reason: "kind `x`".into() }).await;
    for (id, reason) in [(child, WaitReason::Parents), (late, WaitReason::Time), (parent, WaitReason::Parked)] {
        let found = snapshots(&harness, id).await;
        assert_eq!((found.state, found.wait_reason), (TaskState::Waiting, Some(reason)));
    }
    assert_eq!(snapshots(&harness, parent).await.started_at, None, "what was parked never started");
}

pub(super) async fn only_unknown_attempts_are_told_and_the_last(harness: Harness) {
    let server = harness.server().await;
    let mut claimed = harness.start(&server, task()).await;
    for _ in 0..3 {
        server.finish(&claimed, Outcome::Snooze { after: Duration::ZERO }).await;
        claimed = server.claim_one().await;
    }
    let id = claimed.id;
    let snoozed = |numbers: &[u32]| numbers.iter().map(|number| (*number, AttemptOutcome::Snoozed)).collect::<Vec<_>>();
    assert_eq!(numbers(&harness, id, 0).await, snoozed(&[1, 2, 3]));
    assert_eq!(numbers(&harness, id, 1).await, snoozed(&[2, 3]));
    assert_eq!(numbers(&harness, id, 3).await, snoozed(&[3]), "the last one in any case");
    assert_eq!(numbers(&harness, id, u32::MAX).await, snoozed(&[3]));
    server.fail(&claimed).await;
    harness.retry(id).await;
    assert_eq!(numbers(&harness, id, 3).await, [(3, AttemptOutcome::Snoozed), (4, AttemptOutcome::Failed)]);
}

pub(super) async fn a_known_context_is_not_told_again(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, NewTask { context: Some(b"{\"a\": 0}".to_vec()), ..task() }).await;
    let first = snapshots(&harness, claimed.id).await;
    assert_eq!(first.context.as_deref(), Some(&b"{\"a\": 0}"[..]));
    let known = SnapshotRequest { context_known: first.context_revision, ..unseen(claimed.id) };
    let again = harness.store.snapshots(&[known]).await.unwrap().remove(0).unwrap();
    assert_eq!((again.context, again.context_revision), (None, first.context_revision));
    let context = Some(b"{\"a\": 1, \"nul\": \"\\u0000\"}".to_vec());
    let record = Record { id: claimed.id, token: claimed.token, context: context.clone(), logs: Vec::new() };
    server.record(record).await;
    let changed = harness.store.snapshots(&[known]).await.unwrap().remove(0).unwrap();
    assert_eq!(changed.context, context);
    assert_ne!(changed.context_revision, first.context_revision);
}

pub(super) async fn one_look_answers_for_many_in_their_order(harness: Harness) {
    let server = harness.server().await;
    let ids = harness.add_all(&tasks(1_000)).await;
    server.done_all(&server.claim(300).await).await;
    let unknown = TaskId::generate();
    let mut asked: Vec<SnapshotRequest> = ids.iter().rev().map(|id| unseen(*id)).collect();
    asked.insert(500, unseen(unknown));
    let found = harness.store.snapshots(&asked).await.unwrap();
    assert_eq!(found.len(), 1_001);
    assert!(found[500].is_none());
    for (one, asked) in found.iter().zip(&asked) {
        assert_eq!(one.as_ref().map(|one| one.id), (asked.id != unknown).then_some(asked.id));
    }
    let done = found.iter().flatten().filter(|one| one.state == TaskState::Done).count();
    assert_eq!(done, 300);
    assert!(harness.store.snapshots(&[]).await.unwrap().is_empty());
}

pub(super) async fn failures_are_told_without_traceback(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail(&claimed).await;
    let found = snapshots(&harness, claimed.id).await;
    assert_eq!((found.state, found.error), (TaskState::Failed, Some(bare("it broke"))));
    assert!(found.ended.is_empty(), "the attempt that ended the task lives in its row");
    harness.retry(claimed.id).await;
    let again = snapshots(&harness, claimed.id).await;
    assert_eq!(again.ended.len(), 1);
    assert_eq!(again.ended[0].error, Some(bare("it broke")));
}
