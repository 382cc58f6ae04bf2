//! Ends that the rows of their tasks do not accept: set aside, neither run again nor propagated to children, written
//! later.

use std::time::Duration;

use taskyard_core::store::{Claimed, Finish, Outcome, WriteReply};
use taskyard_core::task::Failure;
use taskyard_core::{TaskState, Token};

use super::Harness;
use crate::factory::{LEASE, child_of, task, tasks};

fn end_of(claimed: &Claimed, outcome: Outcome) -> Finish {
    Finish { id: claimed.id, token: claimed.token, outcome, context: Some(b"{\"a\":1}".to_vec()), logs: Vec::new() }
}

fn done() -> Outcome {
    Outcome::Done { result: b"7".to_vec() }
}

async fn set_aside(harness: &Harness, claimed: &Claimed, outcome: Outcome) -> WriteReply {
    harness.store.end_set_aside(&end_of(claimed, outcome), "no such thing").await.unwrap()
}

pub(super) async fn every_end_reads_back(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let error = Failure { traceback: Some("line 1".into()), ..Failure::new("ValueError", "grün €") };
    let pause = Duration::from_micros(1_500_001);
    let outcomes = [
        done(),
        Outcome::Failed(error.clone()),
        Outcome::Retry { after: pause, error: error.clone() },
        Outcome::Snooze { after: pause },
        Outcome::Released,
        Outcome::Parked { reason: "kind `x`".into() },
        Outcome::Crashed(error.clone()),
        Outcome::Beside,
        Outcome::Interrupted,
        Outcome::Expired,
        Outcome::CutShort,
        Outcome::Lost(error),
    ];
    harness.add_all(&tasks(outcomes.len())).await;
    let mut claimed = server.claim(outcomes.len()).await;
    claimed.sort_by_key(|claimed| claimed.id);
    for (claimed, outcome) in claimed.iter().zip(&outcomes) {
        assert_eq!(set_aside(&harness, claimed, outcome.clone()).await, WriteReply::Applied(TaskState::Doing));
    }
    let ends = harness.store.ends_aside(None, None, 100).await.unwrap();
    assert_eq!(ends.len(), outcomes.len());
    for ((end, claimed), outcome) in ends.iter().zip(&claimed).zip(outcomes) {
        assert_eq!(end.finish, end_of(claimed, outcome));
        assert_eq!((end.reason.as_str(), end.since), ("no such thing", now));
    }
    assert_eq!(harness.store.status().await.unwrap().ends_aside, 12);
    let page = harness.store.ends_aside(None, Some(claimed[2].id), 3).await.unwrap();
    assert_eq!(page.iter().map(|end| end.finish.id).collect::<Vec<_>>(), [claimed[3].id, claimed[4].id, claimed[5].id]);
    let some = harness.store.ends_aside(Some(&[claimed[8].id]), None, 3).await.unwrap();
    assert_eq!((some.len(), some[0].finish.id), (1, claimed[8].id));
}

pub(super) async fn it_is_fenced(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(2)).await;
    let claimed = server.claim(2).await;
    let other = Claimed { token: Token::generate(), ..claimed[0].clone() };
    assert_eq!(set_aside(&harness, &other, done()).await, WriteReply::Lost);
    server.done(&claimed[1]).await;
    assert_eq!(set_aside(&harness, &claimed[1], done()).await, WriteReply::AlreadyApplied(TaskState::Done));
    assert!(harness.store.ends_aside(None, None, 10).await.unwrap().is_empty());
}

pub(super) async fn no_rescue_frees_its_task(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(3)).await;
    let claimed = server.claim(3).await;
    let child = harness.add(child_of(&[claimed[1].id])).await;
    set_aside(&harness, &claimed[1], done()).await;
    harness.advance(LEASE + Duration::from_secs(1)).await;
    assert_eq!(harness.rescue(server.id).await, 2);
    harness.cascade().await;
    for (claimed, state) in claimed.iter().zip([TaskState::Enqueued, TaskState::Doing, TaskState::Enqueued]) {
        harness.assert_state(claimed.id, state).await;
    }
    harness.assert_state(child, TaskState::Waiting).await;
    assert_eq!(harness.record(claimed[1].id).await.lost, 0);
    // Any server writes the end once nothing blocks it.
    let end = harness.store.ends_aside(None, None, 10).await.unwrap().remove(0);
    let reply = harness.store.finish(std::slice::from_ref(&end.finish), &[]).await.unwrap();
    assert_eq!(reply, [WriteReply::Applied(TaskState::Done)]);
    harness.store.end_aside_settled(end.finish.id, end.finish.token).await.unwrap();
    let record = harness.record(claimed[1].id).await;
    assert_eq!((record.state, record.attempt, record.result.as_deref()), (TaskState::Done, 1, Some(&b"7"[..])));
    assert_eq!(harness.store.context(claimed[1].id).await.unwrap().as_deref(), Some(&b"{\"a\":1}"[..]));
    harness.assert_state(child, TaskState::Enqueued).await;
    assert_eq!(harness.store.status().await.unwrap().ends_aside, 0);
}

pub(super) async fn its_server_may_leave(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    set_aside(&harness, &claimed, done()).await;
    harness.store.server_leave(server.id).await.unwrap();
    assert!(harness.store.servers().await.unwrap().iter().all(|record| record.id != server.id), "it has left");
    harness.assert_state(claimed.id, TaskState::Doing).await;
    assert!(harness.server().await.claim(10).await.is_empty(), "nothing runs again");
}

pub(super) async fn the_last_word_counts(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    set_aside(&harness, &claimed, done()).await;
    assert_eq!(set_aside(&harness, &claimed, Outcome::Beside).await, WriteReply::Applied(TaskState::Doing));
    let ends = harness.store.ends_aside(None, None, 10).await.unwrap();
    assert_eq!((ends.len(), &ends[0].finish.outcome), (1, &Outcome::Beside));
    // A token that no longer matches does not settle the end of another attempt.
    harness.store.end_aside_settled(claimed.id, Token::generate()).await.unwrap();
    assert_eq!(harness.store.ends_aside(None, None, 10).await.unwrap().len(), 1);
    harness.store.end_aside_settled(claimed.id, claimed.token).await.unwrap();
    assert!(harness.store.ends_aside(None, None, 10).await.unwrap().is_empty());
}

pub(super) async fn it_has_no_place_in_a_limit(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.store.set_limit("default", Some(1)).await.unwrap();
    harness.add_all(&tasks(2)).await;
    let claimed = server.claim_one().await;
    assert!(server.claim(10).await.is_empty());
    set_aside(&harness, &claimed, done()).await;
    let next = server.claim_one().await;
    assert_ne!(next.id, claimed.id);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn what_a_server_holds_is_shown(harness: Harness) {
    harness.freeze().await;
    let (one, other) = (harness.server().await, harness.server().await);
    harness.store.server_holds(one.id, 3, Some("permission denied")).await.unwrap();
    harness.store.server_holds(other.id, 2, None).await.unwrap();
    assert_eq!(harness.store.status().await.unwrap().ends_held, 5);
    harness.store.server_holds(one.id, 0, None).await.unwrap();
    assert_eq!(harness.store.status().await.unwrap().ends_held, 2);
    harness.advance(LEASE * 2).await;
    assert_eq!(harness.store.status().await.unwrap().ends_held, 0, "a server that is gone holds nothing");
}
