//! Edits of tasks that ended without success, and the filters by which they are found.

use std::time::Duration;

use taskyard_core::state::TaskState::{Cancelled, Failed, Stopped};
use taskyard_core::store::ControlReply::{Applied, NotFound, Refused};
use taskyard_core::store::{NewPayload, Outcome, TaskEdit, TaskFilter};
use taskyard_core::task::{ExtraOptions, NewTask};
use taskyard_core::{Error, Failure, RetryPolicy, TaskId, TaskState};

use super::Harness;
use super::control::one_in_each;
use crate::factory::{in_queue, task};

pub(super) async fn edit_in_every_state(harness: Harness) {
    let server = harness.server().await;
    let ids = one_in_each(&harness, &server).await;
    let before = harness.store.get(&ids).await.unwrap();
    let edit = TaskEdit { priority: Some(5), queue: Some("other".into()), max_retries: Some(9), ..TaskEdit::default() };
    for (at, state) in TaskState::ALL.into_iter().enumerate() {
        let reply = harness.store.edit(ids[at], &edit).await.unwrap();
        let record = harness.record(ids[at]).await;
        let mut expected = before[at].clone().unwrap();
        if matches!(state, Stopped | Failed | Cancelled) {
            assert_eq!(reply, Applied(state));
            expected.priority = 5;
            expected.queue = "other".into();
            expected.retry.max_retries = 9;
        } else {
            assert_eq!(reply, Refused(state));
        }
        assert_eq!(record, expected);
    }
    assert_eq!(harness.store.edit(TaskId::generate(), &edit).await.unwrap(), NotFound);
}

pub(super) async fn an_edited_task_runs_with_what_it_was_given(harness: Harness) {
    let server = harness.server().await;
    let retry = RetryPolicy { backoff_ms: 7, factor: 1.5, never: vec!["ValueError".into()], ..RetryPolicy::default() };
    let extra = ExtraOptions::examples();
    let claimed = harness.start(&server, NewTask { retry: retry.clone(), extra: extra.clone(), ..task() }).await;
    server.fail(&claimed).await;
    let payload = br#"{"args": ["fixed"], "kwargs": {}}"#.to_vec();
    let new = NewPayload { seen: claimed.payload.clone(), payload: payload.clone(), encoded: false };
    let edit = TaskEdit { payload: Some(new), queue: Some("second".into()), priority: Some(3), max_retries: Some(1) };
    assert_eq!(harness.store.edit(claimed.id, &edit).await.unwrap(), Applied(Failed));
    assert_eq!(harness.attempts(claimed.id).await.len(), 1, "its history stays");
    harness.retry(claimed.id).await;
    let again = server.claim_queue("second", 5).await;
    assert_eq!((again.len(), again[0].id, &again[0].payload), (1, claimed.id, &payload));
    assert_eq!(again[0].retry, RetryPolicy { max_retries: 1, ..retry });
    assert_eq!(harness.record(claimed.id).await.extra, extra);
}

pub(super) async fn an_edit_of_something_else_is_refused(harness: Harness) {
    let server = harness.server().await;
    let id = harness.ended(&server, Failed).await;
    let before = harness.record(id).await;
    let new = NewPayload { seen: b"{}".to_vec(), payload: b"{\"args\":[1]}".to_vec(), encoded: false };
    let edit = TaskEdit { payload: Some(new), priority: Some(1), ..TaskEdit::default() };
    let refused = harness.store.edit(id, &edit).await;
    assert!(matches!(refused, Err(Error::EditedMeanwhile(found)) if found == id), "{refused:?}");
    assert_eq!(harness.record(id).await, before);
}

pub(super) async fn filters_by_error_and_time(harness: Harness) {
    let began = harness.freeze().await;
    let server = harness.server().await;
    let mut ids = Vec::new();
    for (queue, error_type, message) in
        [("a", "ValueError", "no such user: 100%"), ("a", "KeyError", "no such_user"), ("b", "ValueError", "")]
    {
        let claimed = harness.start(&server, in_queue(queue)).await;
        server.finish(&claimed, Outcome::Failed(Failure::new(error_type, message))).await;
        ids.push(claimed.id);
        harness.advance(Duration::from_secs(1)).await;
    }
    harness.ended(&server, TaskState::Done).await;
    let failed = TaskFilter { states: vec![Failed], ..TaskFilter::default() };
    let second = began.checked_add(Duration::from_secs(1)).unwrap();
    let cases = [
        (TaskFilter { error_type: Some("ValueError".into()), ..failed.clone() }, vec![0, 2]),
        (TaskFilter { message: Some("user: 100%".into()), ..failed.clone() }, vec![0]),
        (TaskFilter { message: Some("such_user".into()), ..failed.clone() }, vec![1]),
        (TaskFilter { message: Some("No".into()), ..failed.clone() }, vec![]),
        (TaskFilter { finished_after: Some(second), ..failed.clone() }, vec![1, 2]),
        (TaskFilter { finished_before: Some(second), ..failed.clone() }, vec![0]),
        (TaskFilter { queue: Some("a".into()), error_type: Some("ValueError".into()), ..failed.clone() }, vec![0]),
        (failed.clone(), vec![0, 1, 2]),
        // Also along the ids.
        (TaskFilter { states: vec![Failed, Cancelled], error_type: Some("KeyError".into()), ..failed }, vec![1]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<TaskId> = expected.into_iter().map(|at: usize| ids[at]).collect();
        assert_eq!(harness.store.select(&filter, None, 10).await.unwrap(), expected, "{filter:?}");
        let mut listed: Vec<TaskId> =
            harness.store.list(&filter).await.unwrap().iter().map(|record| record.id).collect();
        listed.reverse();
        assert_eq!(listed, expected, "{filter:?}");
        assert_eq!(harness.store.count(&filter).await.unwrap(), expected.len() as u64, "{filter:?}");
    }
    assert_eq!(harness.store.count(&TaskFilter::default()).await.unwrap(), 4);
}
