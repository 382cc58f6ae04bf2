//! The context: written by the running attempt only, readable by every client, kept over attempts.

use std::time::Duration;

use taskyard_core::store::{Claimed, Finish, Outcome, Record, WriteReply};
use taskyard_core::task::NewTask;
use taskyard_core::{TaskId, TaskState};

use super::{TestServer, Yard};
use crate::factory::{LEASE, failure, task, tasks};

async fn write(server: &TestServer, claimed: &Claimed, context: &[u8]) -> WriteReply {
    server
        .record(Record { id: claimed.id, token: claimed.token, context: Some(context.to_vec()), logs: Vec::new() })
        .await
}

async fn read(yard: &Yard, id: TaskId) -> Vec<u8> {
    yard.store.context(id).await.unwrap().expect("the task is there")
}

pub(super) async fn none_is_an_empty_object(yard: Yard) {
    let id = yard.add(task()).await;
    assert_eq!(read(&yard, id).await, b"{}");
}

pub(super) async fn it_is_written_while_it_runs(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    for step in 1..=3 {
        let context = format!(r#"{{"progress": {step}}}"#);
        assert_eq!(write(&server, &claimed, context.as_bytes()).await, WriteReply::Applied(TaskState::Doing));
        assert_eq!(read(&yard, claimed.id).await, context.as_bytes(), "readable at once");
    }
    server.done(&claimed).await;
    assert_eq!(read(&yard, claimed.id).await, br#"{"progress": 3}"#, "and after the end");
}

pub(super) async fn it_is_kept_over_attempts(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let first = yard.start(&server, NewTask { context: Some(b"{\"a\": 0}".to_vec()), ..task() }).await;
    assert_eq!(first.context.as_deref(), Some(&b"{\"a\": 0}"[..]));
    write(&server, &first, b"{\"a\": 1}").await;
    server.fail_and_retry(&first, Duration::ZERO, failure("once")).await;
    let second = server.claim_one().await;
    assert_eq!(second.context.as_deref(), Some(&b"{\"a\": 1}"[..]));
    write(&server, &second, b"{\"a\": 2}").await;
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    let third = yard.server().await.claim_one().await;
    assert_eq!(third.context.as_deref(), Some(&b"{\"a\": 2}"[..]));
}

pub(super) async fn the_end_writes_the_last_one(yard: Yard) {
    let server = yard.server().await;
    for outcome in [
        Outcome::Done { result: b"1".to_vec() },
        Outcome::Failed(failure("it broke")),
        Outcome::Retry { after: Duration::from_secs(60), error: failure("once") },
        Outcome::Released,
        Outcome::Interrupted,
    ] {
        let queue = TaskId::generate().to_string();
        yard.add(crate::factory::in_queue(&queue)).await;
        let claimed = server.claim_queue(&queue, 1).await.remove(0);
        let context = Some(format!("{{\"end\": \"{}\"}}", claimed.id).into_bytes());
        let finish = Finish {
            id: claimed.id,
            token: claimed.token,
            outcome: outcome.clone(),
            context: context.clone(),
            logs: Vec::new(),
        };
        yard.store.finish(&[finish], &[]).await.unwrap();
        assert_eq!(Some(read(&yard, claimed.id).await), context, "{outcome:?}");
    }
}

pub(super) async fn an_end_without_one_leaves_it(yard: Yard) {
    let server = yard.server().await;
    let claimed = yard.start(&server, task()).await;
    write(&server, &claimed, b"{\"kept\": true}").await;
    server.done(&claimed).await;
    assert_eq!(read(&yard, claimed.id).await, b"{\"kept\": true}");
}

pub(super) async fn a_lost_attempt_writes_nothing(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    let zombie = yard.start(&server, task()).await;
    write(&server, &zombie, b"{\"by\": \"first\"}").await;
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    let second = yard.server().await;
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
    assert_eq!(yard.store.finish(&[finish], &[]).await.unwrap(), [WriteReply::Lost]);
    assert_eq!(read(&yard, zombie.id).await, b"{\"by\": \"second\"}");
}

pub(super) async fn a_batch_writes_each_its_own(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&tasks(200)).await;
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
    let replies = yard.store.record(&batch).await.unwrap();
    assert_eq!(replies, vec![WriteReply::Applied(TaskState::Doing); 200]);
    for record in &batch {
        assert_eq!(Some(read(&yard, record.id).await), record.context);
    }
}

/// Bytes are stored exactly: NUL escapes, lone surrogates, huge numbers and spacing are the caller's choice.
pub(super) async fn its_bytes_are_exact(yard: Yard) {
    let server = yard.server().await;
    let bytes = br#"{ "nul": "\u0000", "lone": "\ud800", "huge": 1e400, "twice": 1, "twice": 2 }"#;
    let claimed = yard.start(&server, task()).await;
    write(&server, &claimed, bytes).await;
    assert_eq!(read(&yard, claimed.id).await, bytes);
    let large = format!("{{\"large\": \"{}\"}}", "x".repeat(256 << 10));
    write(&server, &claimed, large.as_bytes()).await;
    assert_eq!(read(&yard, claimed.id).await, large.as_bytes());
}
