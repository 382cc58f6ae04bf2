//! Bytes are stored exactly: whatever arguments, results and errors contain, nothing is changed and nothing breaks.

use std::time::Duration;

use taskyard_core::store::{Outcome, WriteReply};
use taskyard_core::task::{Failure, NewTask};
use taskyard_core::{TaskId, TaskState};

use super::Harness;
use crate::factory::{child_of, task};

/// Returns values that databases and languages are known to change, refuse or cut.
pub(super) fn hostile() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        r#"{"args": [], "kwargs": {}}"#,
        r#"  { "args" : [ 1 ,2 ] }  "#,
        r#"{"nul": "a\u0000b"}"#,
        r#"{"lone": "\ud800", "turned": "\udc00\ud800", "pair": "\ud83d\ude00"}"#,
        r#"[1e400, -1e400, 1e200000, 0.1, 1.0, 1.10, -0.0, 1E5]"#,
        r#"[123456789012345678901234567890, -9223372036854775809, 18446744073709551616]"#,
        r#"{"a": 1, "a": 2, "b": 3, "a": 4}"#,
        r#"{"z": 1, "a": 2, "ä": 3, "": 4}"#,
        r#"{"quotes": "'; drop table task; --", "percent": "%s %_ \\ \/ $1 ?1 :x {0}"}"#,
        "{\"text\": \"“ünïcode” \u{10ffff}\u{feff}\u{202e}\u{2028}\"}",
        "NaN",
        "not JSON at all",
        "",
        "\n\t\r\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.push(vec![0]);
    all.push((0..=255).collect());
    all.push(vec![0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80]);
    all.push(b"\\x00".to_vec());
    all.push(format!("{}1{}", "[".repeat(64), "]".repeat(64)).into_bytes());
    all.push(format!("[{}]", "9".repeat(5_000)).into_bytes());
    all
}

/// Returns a mebibyte that hardly compresses.
fn mebibyte(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(1 << 20)
    .collect()
}

pub(super) async fn arguments_are_exact(harness: Harness) {
    let server = harness.server().await;
    let batch: Vec<NewTask> = hostile().into_iter().map(|payload| NewTask { payload, ..task() }).collect();
    harness.add_all(&batch).await;
    for task in &batch {
        assert_eq!(harness.record(task.id).await.payload, task.payload);
    }
    for (claimed, task) in server.claim(batch.len()).await.iter().zip(&batch) {
        assert_eq!((claimed.id, &claimed.payload), (task.id, &task.payload));
    }
}

/// A task alone in its batch may take another path into the database than one among many.
pub(super) async fn arguments_are_exact_one_by_one(harness: Harness) {
    for payload in hostile() {
        let id = harness.add(NewTask { payload: payload.clone(), ..task() }).await;
        assert_eq!(harness.record(id).await.payload, payload);
        let parent = harness.add(NewTask { payload: payload.clone(), ..child_of(&[id]) }).await;
        assert_eq!(harness.record(parent).await.payload, payload);
    }
}

pub(super) async fn results_are_exact(harness: Harness) {
    let server = harness.server().await;
    for result in hostile() {
        let claimed = harness.start(&server, task()).await;
        let child = harness.add(child_of(&[claimed.id])).await;
        let reply = server.finish(&claimed, Outcome::Done { result: result.clone() }).await;
        assert_eq!(reply, WriteReply::Applied(TaskState::Done));
        assert_eq!(harness.record(claimed.id).await.result, Some(result.clone()));
        assert_eq!(harness.store.finals(&[claimed.id]).await.unwrap()[0].result, Some(result.clone()));
        let size = result.len();
        assert_eq!(harness.store.parent_results(child).await.unwrap()[0].result, Some(result));
        assert_eq!(harness.store.parent_sizes(child).await.unwrap()[0].1, size);
        server.done(&server.claim_one().await).await;
    }
}

pub(super) async fn a_mebibyte_each_way(harness: Harness) {
    let server = harness.server().await;
    let batch: Vec<NewTask> = (1..=4).map(|seed| NewTask { payload: mebibyte(seed), ..task() }).collect();
    harness.add_all(&batch).await;
    for (at, claimed) in server.claim(4).await.iter().enumerate() {
        assert!(claimed.payload == batch[at].payload, "the arguments came back changed");
        let result = mebibyte(at as u64 + 100);
        server.finish(claimed, Outcome::Done { result: result.clone() }).await;
        assert!(harness.record(claimed.id).await.result == Some(result), "the result came back changed");
    }
}

pub(super) async fn error_texts_are_kept(harness: Harness) {
    let server = harness.server().await;
    let error = Failure {
        error_type: "app::Größe<'a>".into(),
        message: "it's “broken”\n{\"a\": 1} \\x00 %s $1".into(),
        traceback: Some(format!("first\n{}\nlast", "deep\n".repeat(2_000))),
    };
    let claimed = harness.start(&server, task()).await;
    server.finish(&claimed, Outcome::Failed(error.clone())).await;
    assert_eq!(harness.record(claimed.id).await.error, Some(error.clone()));
    assert_eq!(harness.store.finals(&[claimed.id]).await.unwrap()[0].error, Some(error.clone()));
    assert_eq!(harness.attempts(claimed.id).await[0].error, Some(error));
}

/// PostgreSQL's text cannot hold a NUL; the task must end all the same.
pub(super) async fn a_nul_in_an_error_stops_nothing(harness: Harness) {
    let server = harness.server().await;
    let error =
        Failure { error_type: "a\0b".into(), message: "before\0after".into(), traceback: Some("before\0after".into()) };
    for outcome in [
        Outcome::Failed(error.clone()),
        Outcome::Retry { after: Duration::from_secs(60), error: error.clone() },
        Outcome::Crashed(error.clone()),
        Outcome::Parked { reason: "before\0after".into() },
    ] {
        let queue = TaskId::generate().to_string();
        harness.add(crate::factory::in_queue(&queue)).await;
        let claimed = server.claim_queue(&queue, 1).await.remove(0);
        let reply = server.finish(&claimed, outcome.clone()).await;
        assert!(matches!(reply, WriteReply::Applied(_)), "{outcome:?}: {reply:?}");
        if let Some(error) = harness.record(claimed.id).await.error {
            assert!(error.message.starts_with("before") && error.message.ends_with("after"), "{error:?}");
        }
    }
}

/// The client's limits refuse names with NUL; a store that gets one all the same must not break.
pub(super) async fn a_nul_in_a_name_is_stored_or_refused(harness: Harness) {
    for new in [
        NewTask { kind: "a\0b".into(), ..task() },
        NewTask { queue: "a\0b".into(), ..task() },
        NewTask { name: Some("a\0b".into()), ..task() },
        NewTask { tags: vec!["a\0b".into()], ..task() },
    ] {
        if harness.store.add(std::slice::from_ref(&new)).await.is_err() {
            assert!(!harness.exists(new.id).await);
        }
    }
    harness.add(task()).await;
}
