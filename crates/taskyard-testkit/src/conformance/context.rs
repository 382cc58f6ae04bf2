//! The context: written by the running attempt only, readable by every client, kept over attempts.

use std::time::Duration;

use taskyard_core::store::{Claimed, Finish, Outcome, Record, WriteReply};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::{Harness, TestServer};
use crate::factory::{LEASE, failure, task, tasks};

async fn write(server: &TestServer, claimed: &Claimed, context: &[u8]) -> WriteReply {
    server
        .record(Record { id: claimed.id, token: claimed.token, context: Some(context.to_vec()), logs: Vec::new() })
        .await
}

async fn read(harness: &Harness, id: TaskId) -> Vec<u8> {
    harness.store.context(id).await.unwrap().expect("the task is there")
}

pub(super) async fn none_is_an_empty_object(harness: Harness) {
    let id = harness.add(task()).await;
    assert_eq!(read(&harness, id).await, b"{}");
}

pub(super) async fn it_is_written_while_it_runs(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    for step in 1..=3 {
        let context = format!(r#"{{"progress": {step}}}"#);
        assert_eq!(write(&server, &claimed, context.as_bytes()).await, WriteReply::Applied(TaskState::Doing));
        assert_eq!(read(&harness, claimed.id).await, context.as_bytes(), "readable at once");
    }
    server.done(&claimed).await;
    assert_eq!(read(&harness, claimed.id).await, br#"{"progress": 3}"#, "and after the end");
}

pub(super) async fn it_is_kept_over_attempts(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let first = harness.start(&server, NewTask { context: Some(b"{\"a\": 0}".to_vec()), ..task() }).await;
    assert_eq!(first.context.as_deref(), Some(&b"{\"a\": 0}"[..]));
    write(&server, &first, b"{\"a\": 1}").await;
    server.fail_and_retry(&first, Duration::ZERO, failure("once")).await;
    let second = server.claim_one().await;
    assert_eq!(second.context.as_deref(), Some(&b"{\"a\": 1}"[..]));
    write(&server, &second, b"{\"a\": 2}").await;
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    let third = harness.server().await.claim_one().await;
    assert_eq!(third.context.as_deref(), Some(&b"{\"a\": 2}"[..]));
}

pub(super) async fn the_end_writes_the_last_one(harness: Harness) {
    let server = harness.server().await;
    for outcome in [
        Outcome::Done { result: b"1".to_vec() },
        Outcome::Failed(failure("it broke")),
        Outcome::Retry { after: Duration::from_secs(60), error: failure("once") },
        Outcome::Released,
        Outcome::Interrupted,
    ] {
        let queue = TaskId::generate().to_string();
        harness.add(crate::factory::in_queue(&queue)).await;
        let claimed = server.claim_queue(&queue, 1).await.remove(0);
        let context = Some(format!("{{\"end\": \"{}\"}}", claimed.id).into_bytes());
        let finish = Finish {
            id: claimed.id,
            token: claimed.token,
            outcome: outcome.clone(),
            context: context.clone(),
            logs: Vec::new(),
        };
        harness.store.finish(&[finish], &[]).await.unwrap();
        assert_eq!(Some(read(&harness, claimed.id).await), context, "{outcome:?}");
    }
}

pub(super) async fn an_end_without_one_leaves_it(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    write(&server, &claimed, b"{\"kept\": true}").await;
    server.done(&claimed).await;
    assert_eq!(read(&harness, claimed.id).await, b"{\"kept\": true}");
}

pub(super) async fn a_lost_attempt_writes_nothing(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let zombie = harness.start(&server, task()).await;
    write(&server, &zombie, b"{\"by\": \"first\"}").await;
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    let second = harness.server().await;
    let claimed = second.claim_one().await;
    write(&second, &claimed, b"{\"by\": \"second\"}").await;
    assert_eq!(write(&server, &zombie, b"{\"by\": \"zombie\"}").await, WriteReply::Lost);
    let finish = Finish {
        id: zombie.id,
        token: zombie.token,
        outcome: Outcome::Failed(failure("zombie")),
        context: Some(b"{\"by\": \"zombie\"}".to_vec()),
        logs: Vec::new(),
    };
    assert_eq!(harness.store.finish(&[finish], &[]).await.unwrap(), [WriteReply::Lost]);
    assert_eq!(read(&harness, zombie.id).await, b"{\"by\": \"second\"}");
}

pub(super) async fn a_batch_writes_each_its_own(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(200)).await;
    let claimed = server.claim(200).await;
    let batch: Vec<Record> = claimed
        .iter()
        .map(|claimed| Record {
            id: claimed.id,
            token: claimed.token,
            context: Some(format!("{{\"id\": \"{}\"}}", claimed.id).into_bytes()),
            logs: Vec::new(),
        })
        .collect();
    let replies = harness.store.record(&batch).await.unwrap();
    assert_eq!(replies, vec![WriteReply::Applied(TaskState::Doing); 200]);
    for record in &batch {
        assert_eq!(Some(read(&harness, record.id).await), record.context);
    }
}

/// Bytes are stored exactly: NUL escapes, lone surrogates, huge numbers and spacing are the caller's choice.
pub(super) async fn its_bytes_are_exact(harness: Harness) {
    let server = harness.server().await;
    let bytes = br#"{ "nul": "\u0000", "lone": "\ud800", "huge": 1e400, "twice": 1, "twice": 2 }"#;
    let claimed = harness.start(&server, task()).await;
    write(&server, &claimed, bytes).await;
    assert_eq!(read(&harness, claimed.id).await, bytes);
    let large = format!("{{\"large\": \"{}\"}}", "x".repeat(256 << 10));
    write(&server, &claimed, large.as_bytes()).await;
    assert_eq!(read(&harness, claimed.id).await, large.as_bytes());
}
