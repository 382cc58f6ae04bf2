//! Log lines: in order, with their attempt, resumable after any of them, and only from the running attempt.

use std::time::Duration;

use taskyard_core::store::{Claimed, Finish, Outcome, Record, WriteReply};
use taskyard_core::task::{LogLine, StoredLogLine};
use taskyard_core::{TaskId, TaskState, Token};

use super::{Harness, TestServer};
use crate::factory::{failure, line, task, tasks};

async fn write(server: &TestServer, claimed: &Claimed, logs: Vec<LogLine>) -> WriteReply {
    server.record(Record { id: claimed.id, token: claimed.token, context: None, logs }).await
}

async fn read(harness: &Harness, id: TaskId) -> Vec<StoredLogLine> {
    harness.store.logs(id, 0, 10_000).await.unwrap()
}

fn messages(lines: &[StoredLogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.line.message.as_str()).collect()
}

pub(super) async fn a_line_reads_back_whole(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let line = LogLine {
        level: 40,
        logger: "app.mails".into(),
        message: "sent “ünïcode”\n\u{1b}[31mred\u{1b}[0m <b>& 'quotes'".into(),
        fields: Some(br#"{ "n": 1e400, "s": "\u0000" }"#.to_vec()),
        traceback: Some("Traceback:\n  line 1".into()),
    };
    assert_eq!(write(&server, &claimed, vec![line.clone()]).await, WriteReply::Applied(TaskState::Doing));
    let stored = read(&harness, claimed.id).await;
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0].line, stored[0].attempt, stored[0].created_at), (&line, 1, now));
}

pub(super) async fn lines_keep_their_order(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let mut expected = Vec::new();
    for batch in 0..5 {
        let lines: Vec<LogLine> = (0..100).map(|at| line(&format!("{batch}-{at}"))).collect();
        expected.extend(lines.iter().map(|line| line.message.clone()));
        write(&server, &claimed, lines).await;
    }
    let stored = read(&harness, claimed.id).await;
    assert_eq!(messages(&stored), expected);
    assert!(stored.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "the sequence grows");
}

pub(super) async fn reading_resumes_after_any_line(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    write(&server, &claimed, (0..25).map(|at| line(&at.to_string())).collect()).await;
    let (mut after, mut read) = (0, Vec::new());
    loop {
        let page = harness.store.logs(claimed.id, after, 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = last.sequence;
        read.extend(page.iter().map(|line| line.line.message.clone()));
    }
    assert_eq!(read, (0..25).map(|at| at.to_string()).collect::<Vec<_>>());
    write(&server, &claimed, vec![line("new")]).await;
    assert_eq!(messages(&harness.store.logs(claimed.id, after, 10).await.unwrap()), ["new"]);
}

pub(super) async fn each_task_has_its_own(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(2)).await;
    let claimed = server.claim(2).await;
    let batch: Vec<Record> = claimed
        .iter()
        .enumerate()
        .map(|(at, claimed)| Record {
            id: claimed.id,
            token: claimed.token,
            context: None,
            logs: vec![line(&format!("{at}-a")), line(&format!("{at}-b"))],
        })
        .collect();
    harness.store.record(&batch).await.unwrap();
    assert_eq!(messages(&read(&harness, claimed[0].id).await), ["0-a", "0-b"]);
    assert_eq!(messages(&read(&harness, claimed[1].id).await), ["1-a", "1-b"]);
}

pub(super) async fn lines_name_their_attempt(harness: Harness) {
    let server = harness.server().await;
    let first = harness.start(&server, task()).await;
    write(&server, &first, vec![line("first")]).await;
    server.fail_and_retry(&first, Duration::ZERO, failure("once")).await;
    let second = server.claim_one().await;
    let finish = Finish {
        id: second.id,
        token: second.token,
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: vec![line("second"), line("last")],
    };
    harness.store.finish(&[finish], &[]).await.unwrap();
    let stored = read(&harness, first.id).await;
    assert_eq!(messages(&stored), ["first", "second", "last"]);
    assert_eq!(stored.iter().map(|line| line.attempt).collect::<Vec<_>>(), [1, 2, 2]);
}

pub(super) async fn a_lost_attempt_writes_none(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let finish = Finish {
        id: claimed.id,
        token: Token::generate(),
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: vec![line("stranger")],
    };
    assert_eq!(harness.store.finish(&[finish], &[]).await.unwrap(), [WriteReply::Lost]);
    assert!(read(&harness, claimed.id).await.is_empty());
}

/// The reply of the first write was lost; the second must not double the lines.
pub(super) async fn a_repeated_end_writes_them_once(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    let finish = Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: vec![line("the end")],
    };
    harness.store.finish(std::slice::from_ref(&finish), &[]).await.unwrap();
    harness.store.finish(&[finish], &[]).await.unwrap();
    assert_eq!(messages(&read(&harness, claimed.id).await), ["the end"]);
}

/// A line that a database cannot store as text must not delay the ends of other tasks.
pub(super) async fn a_nul_in_a_line_stops_nothing(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&tasks(2)).await;
    let claimed = server.claim(2).await;
    let finish = |claimed: &Claimed, message: &str| Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: vec![LogLine { logger: "a\0b".into(), traceback: Some("c\0d".into()), ..line(message) }],
    };
    let batch = [finish(&claimed[0], "before\0after"), finish(&claimed[1], "plain")];
    let replies = harness.store.finish(&batch, &[]).await.unwrap();
    assert_eq!(replies, [WriteReply::Applied(TaskState::Done); 2]);
    let stored = read(&harness, claimed[0].id).await;
    let message = &stored[0].line.message;
    assert!(message.starts_with("before") && message.ends_with("after"), "{message:?}");
    assert_eq!(messages(&read(&harness, claimed[1].id).await), ["plain"]);
}
