//! Fencing: a write of an attempt applies once, and only while that attempt holds the task.

use std::time::Duration;

use taskyard_core::store::{Claimed, Finish, Outcome, Record, WriteReply};
use taskyard_core::{TaskId, TaskState, Token};

use super::{Harness, TestServer};
use crate::factory::{LEASE, failure, line, task, tasks};

/// Returns every way to end an attempt, and the state it leads to.
fn outcomes() -> Vec<(Outcome, TaskState)> {
    let pause = Duration::from_secs(60);
    let (now, error) = (Duration::ZERO, failure("it broke"));
    vec![
        (Outcome::Done { result: b"1".to_vec() }, TaskState::Done),
        (Outcome::Failed(error.clone()), TaskState::Failed),
        (Outcome::Retry { after: pause, error: error.clone() }, TaskState::Waiting),
        (Outcome::Retry { after: now, error: error.clone() }, TaskState::Enqueued),
        (Outcome::Snooze { after: pause }, TaskState::Waiting),
        (Outcome::Snooze { after: now }, TaskState::Enqueued),
        (Outcome::Released, TaskState::Enqueued),
        (Outcome::CutShort, TaskState::Enqueued),
        (Outcome::Parked { reason: "kind `x`".into() }, TaskState::Waiting),
        (Outcome::Crashed(error), TaskState::Enqueued),
        (Outcome::Beside, TaskState::Enqueued),
        (Outcome::Interrupted, TaskState::Cancelled),
        (Outcome::Expired, TaskState::Cancelled),
    ]
}

/// Starts a task for one outcome, independent of other enqueued tasks.
async fn start(harness: &Harness, server: &TestServer) -> Claimed {
    let queue = TaskId::generate().to_string();
    harness.add(crate::factory::in_queue(&queue)).await;
    server.claim_queue(&queue, 1).await.remove(0)
}

pub(super) async fn every_outcome_is_applied_once(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    for (outcome, state) in outcomes() {
        let claimed = start(&harness, &server).await;
        let reply = server.finish(&claimed, outcome.clone()).await;
        assert_eq!(reply, WriteReply::Applied(state), "{outcome:?}");
        let after = harness.record(claimed.id).await;
        assert_eq!(after.state, state, "{outcome:?}");
        let history = harness.attempts(claimed.id).await;
        // Repeats the write, as after a lost reply, and another one under the same token.
        for second in [outcome.clone(), Outcome::Done { result: b"2".to_vec() }, Outcome::Failed(failure("late"))] {
            let reply = server.finish(&claimed, second).await;
            assert_eq!(reply, WriteReply::AlreadyApplied(state), "{outcome:?}");
        }
        assert_eq!(harness.record(claimed.id).await, after, "{outcome:?}");
        assert_eq!(harness.attempts(claimed.id).await, history, "{outcome:?}");
    }
}

pub(super) async fn every_outcome_with_a_wrong_token_is_lost(harness: Harness) {
    let server = harness.server().await;
    let claimed = start(&harness, &server).await;
    let before = harness.record(claimed.id).await;
    for (outcome, _) in outcomes() {
        let reply = server.finish_as(claimed.id, Token::generate(), outcome.clone()).await;
        assert_eq!(reply, WriteReply::Lost, "{outcome:?}");
        let reply = server.finish_as(TaskId::generate(), claimed.token, outcome.clone()).await;
        assert_eq!(reply, WriteReply::Lost, "{outcome:?}");
    }
    assert_eq!(harness.record(claimed.id).await, before);
    server.done(&claimed).await;
}

pub(super) async fn every_outcome_of_an_earlier_attempt_is_lost(harness: Harness) {
    let server = harness.server().await;
    let old = start(&harness, &server).await;
    server.finish(&old, Outcome::Released).await;
    let new = server.claim_one().await;
    assert_eq!(new.id, old.id);
    assert_ne!(new.token, old.token);
    let before = harness.record(new.id).await;
    for (outcome, _) in outcomes() {
        assert_eq!(server.finish(&old, outcome.clone()).await, WriteReply::Lost, "{outcome:?}");
    }
    assert_eq!(harness.record(new.id).await, before);
    server.done(&new).await;
}

pub(super) async fn an_unclaimed_task_takes_no_write(harness: Harness) {
    let server = harness.server().await;
    let id = harness.add(task()).await;
    for (outcome, _) in outcomes() {
        assert_eq!(server.finish_as(id, Token::generate(), outcome).await, WriteReply::Lost);
    }
    harness.assert_state(id, TaskState::Enqueued).await;
}

/// The zombie: its server was declared dead and another one has run the task; then it wakes and writes.
pub(super) async fn a_zombie_changes_nothing(harness: Harness) {
    harness.freeze().await;
    let zombie = harness.server().await;
    let old = start(&harness, &zombie).await;
    harness.advance(LEASE * 2).await;
    let rescuer = harness.server().await;
    assert_eq!(harness.rescue(zombie.id).await, 1);
    let done = Outcome::Done { result: b"\"zombie\"".to_vec() };
    assert_eq!(zombie.finish(&old, done.clone()).await, WriteReply::Lost, "freed, not yet claimed");
    let new = rescuer.claim_one().await;
    assert_eq!(zombie.finish(&old, done.clone()).await, WriteReply::Lost, "claimed by another");
    rescuer.finish(&new, Outcome::Done { result: b"\"winner\"".to_vec() }).await;
    assert_eq!(zombie.finish(&old, done).await, WriteReply::Lost, "done by another");
    assert_eq!(harness.record(old.id).await.result.as_deref(), Some(&b"\"winner\""[..]));
}

/// Until its tasks are rescued, a late server may still finish them, because no other server has them.
pub(super) async fn a_lapsed_server_that_was_not_rescued_may_finish(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let claimed = start(&harness, &server).await;
    harness.advance(LEASE * 2).await;
    server.done(&claimed).await;
}

pub(super) async fn a_retry_by_a_person_clears_the_token(harness: Harness) {
    let server = harness.server().await;
    let old = start(&harness, &server).await;
    server.fail(&old).await;
    harness.retry(old.id).await;
    assert_eq!(server.finish(&old, Outcome::Failed(failure("again"))).await, WriteReply::Lost);
    harness.assert_state(old.id, TaskState::Enqueued).await;
}

pub(super) async fn a_batch_applies_what_it_can(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(4)).await;
    let claimed = server.claim(4).await;
    server.done(&claimed[1]).await;
    let finish = |at: usize, token: Token| Finish {
        id: claimed[at].id,
        token,
        outcome: Outcome::Done { result: vec![b'0' + u8::try_from(at).expect("small")] },
        context: None,
        logs: Vec::new(),
    };
    let batch = [
        finish(3, claimed[3].token),
        finish(2, Token::generate()),
        finish(1, claimed[1].token),
        finish(0, claimed[0].token),
    ];
    let replies = harness.store.finish(&batch, &[]).await.unwrap();
    let expected = [
        WriteReply::Applied(TaskState::Done),
        WriteReply::Lost,
        WriteReply::AlreadyApplied(TaskState::Done),
        WriteReply::Applied(TaskState::Done),
    ];
    assert_eq!(replies, expected);
    assert_eq!(harness.record(claimed[0].id).await.result, Some(b"0".to_vec()));
    assert_eq!(harness.record(claimed[3].id).await.result, Some(b"3".to_vec()));
    harness.assert_state(claimed[2].id, TaskState::Doing).await;
}

/// A batch may contain every kind of outcome at once.
pub(super) async fn a_mixed_batch_applies_each_its_own(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let outcomes = outcomes();
    harness.add_all(&tasks(outcomes.len())).await;
    let claimed = server.claim(outcomes.len()).await;
    let batch: Vec<Finish> = outcomes
        .iter()
        .zip(&claimed)
        .map(|((outcome, _), claimed)| Finish {
            id: claimed.id,
            token: claimed.token,
            outcome: outcome.clone(),
            context: None,
            logs: Vec::new(),
        })
        .collect();
    let replies = harness.store.finish(&batch, &[]).await.unwrap();
    let expected: Vec<WriteReply> = outcomes.iter().map(|(_, state)| WriteReply::Applied(*state)).collect();
    assert_eq!(replies, expected);
    for ((_, state), claimed) in outcomes.iter().zip(&claimed) {
        harness.assert_state(claimed.id, *state).await;
    }
}

/// A write that occurs twice in one batch counts once.
pub(super) async fn a_write_twice_in_a_batch_counts_once(harness: Harness) {
    let server = harness.server().await;
    let claimed = start(&harness, &server).await;
    let finish = Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Retry { after: Duration::ZERO, error: failure("once") },
        context: None,
        logs: Vec::new(),
    };
    let replies = harness.store.finish(&[finish.clone(), finish], &[]).await.unwrap();
    assert_eq!(replies[0], WriteReply::Applied(TaskState::Enqueued));
    assert_ne!(replies[1], WriteReply::Lost);
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.failures), (TaskState::Enqueued, 1));
    assert_eq!(harness.attempts(claimed.id).await.len(), 1);
}

pub(super) async fn of_concurrent_ends_one_decides(harness: Harness) {
    let server = harness.server().await;
    for _ in 0..20 {
        let claimed = start(&harness, &server).await;
        let mut ends = tokio::task::JoinSet::new();
        for at in 0..4_u8 {
            let (server, claimed) = (server.clone(), claimed.clone());
            ends.spawn(async move { server.finish(&claimed, Outcome::Done { result: vec![b'0' + at] }).await });
        }
        let replies = ends.join_all().await;
        let applied = replies.iter().filter(|reply| matches!(reply, WriteReply::Applied(_))).count();
        let again = replies.iter().filter(|reply| matches!(reply, WriteReply::AlreadyApplied(_))).count();
        assert_eq!((applied, again), (1, 3), "{replies:?}");
    }
}

pub(super) async fn records_are_fenced_too(harness: Harness) {
    let server = harness.server().await;
    let claimed = start(&harness, &server).await;
    let record = |token| Record {
        id: claimed.id,
        token,
        context: Some(br#"{"by": "record"}"#.to_vec()),
        logs: vec![line("from a record")],
    };
    assert_eq!(server.record(record(Token::generate())).await, WriteReply::Lost);
    assert_eq!(harness.store.context(claimed.id).await.unwrap(), Some(b"{}".to_vec()));
    assert!(harness.store.logs(claimed.id, 0, 10).await.unwrap().is_empty());
    assert_eq!(server.record(record(claimed.token)).await, WriteReply::Applied(TaskState::Doing));
    assert_eq!(harness.store.logs(claimed.id, 0, 10).await.unwrap().len(), 1);
    server.done(&claimed).await;
    let late = server.record(record(claimed.token)).await;
    assert!(!matches!(late, WriteReply::Applied(_)), "the attempt is over: {late:?}");
    assert_eq!(harness.store.logs(claimed.id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn closing_a_claim_leaves_nothing_to_rescue(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&tasks(3)).await;
    let request = crate::factory::request(server.id, 3);
    let claimed = server.claim_with(&request).await.tasks;
    server.done_all(&claimed[..2]).await;
    let last = Finish {
        id: claimed[2].id,
        token: claimed[2].token,
        outcome: Outcome::Done { result: b"null".to_vec() },
        context: None,
        logs: Vec::new(),
    };
    harness.store.finish(&[last], &[request.claim]).await.unwrap();
    harness.store.finish(&[], &[request.claim]).await.unwrap();
    harness.advance(LEASE * 2).await;
    assert_eq!(harness.rescue(server.id).await, 0);
}
