//! Claiming: which server gets which tasks, in which order, and what a claim contains.

use std::collections::HashSet;
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimReply, ClaimRequest, Claimed, Outcome};
use taskyard_core::task::NewTask;
use taskyard_core::{ClaimId, RetryPolicy, ServerId, TaskId, TaskState};

use super::Harness;
use crate::factory::{LEASE, child_of, expiring, failure, in_queue, of_priority, python, request, task, tasks};

fn ids_of(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|task| task.id).collect()
}

pub(super) async fn an_empty_store_has_nothing(harness: Harness) {
    let server = harness.server().await;
    let reply = server.claim_with(&request(server.id, 10)).await;
    assert_eq!(reply, ClaimReply::default());
}

pub(super) async fn priority_first_then_first_in_first_out(harness: Harness) {
    let batch: Vec<NewTask> = (0..30).map(|at| of_priority(at % 3)).collect();
    harness.add_all(&batch).await;
    let mut expected: Vec<&NewTask> = batch.iter().collect();
    expected.sort_by_key(|task| -task.priority);
    let server = harness.server().await;
    let mut claimed = server.claim(7).await;
    claimed.extend(server.claim(100).await);
    assert_eq!(ids_of(&claimed), expected.iter().map(|task| task.id).collect::<Vec<_>>());
}

pub(super) async fn the_limit_is_kept(harness: Harness) {
    harness.add_all(&tasks(5)).await;
    let server = harness.server().await;
    assert_eq!(server.claim(2).await.len(), 2);
    assert_eq!(server.claim(2).await.len(), 2);
    assert_eq!(server.claim(2).await.len(), 1);
    assert!(server.claim(2).await.is_empty());
}

pub(super) async fn each_runtime_gets_its_own(harness: Harness) {
    let rust = harness.add(task()).await;
    let snake = harness.add(python()).await;
    let server = harness.server().await;
    assert_eq!(ids_of(&server.claim_python(10).await), [snake]);
    assert_eq!(ids_of(&server.claim(10).await), [rust]);
}

pub(super) async fn a_queue_filter_takes_only_its_queues(harness: Harness) {
    let batch: Vec<NewTask> = ["a", "b", "c", "a", "b", "c"].into_iter().map(in_queue).collect();
    harness.add_all(&batch).await;
    let server = harness.server().await;
    let queues = Some(vec!["c".to_owned(), "a".to_owned(), "none".to_owned()]);
    let reply = server.claim_with(&ClaimRequest { queues, ..request(server.id, 10) }).await;
    let mut found = ids_of(&reply.tasks);
    let mut expected = [0, 2, 3, 5].map(|at: usize| batch[at].id);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(ids_of(&server.claim(10).await), [batch[1].id, batch[4].id]);
}

/// A filter must find its few tasks behind any number of others.
pub(super) async fn a_queue_filter_sees_past_a_backlog(harness: Harness) {
    harness.add_all(&tasks(2_000)).await;
    let rare = harness.add(in_queue("rare")).await;
    let server = harness.server().await;
    assert_eq!(ids_of(&server.claim_queue("rare", 10).await), [rare]);
}

pub(super) async fn a_claim_carries_all_that_running_needs(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, task()).await;
    let new = NewTask {
        name: Some("label".into()),
        queue: "mails".into(),
        payload: vec![0, 255, 7],
        context: Some(br#"{"a": 1}"#.to_vec()),
        retry: RetryPolicy { max_retries: 1, jitter: false, ..RetryPolicy::default() },
        timeout: Some(Duration::from_secs(9)),
        ..child_of(&[parent.id])
    };
    harness.add(new.clone()).await;
    server.done(&parent).await;
    let claimed = server.claim_one().await;
    assert_eq!((claimed.id, claimed.kind, claimed.name, claimed.queue), (new.id, new.kind, new.name, new.queue));
    assert_eq!((claimed.payload, claimed.context), (new.payload, new.context));
    assert_eq!((claimed.attempt, claimed.failures), (1, 0));
    assert_eq!((claimed.retry, claimed.timeout), (new.retry, new.timeout));
    assert!(claimed.has_parents && !claimed.expired && !claimed.alone);
}

pub(super) async fn a_plain_claim_has_no_parents_context_or_limit(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, NewTask { timeout: None, ..task() }).await;
    assert_eq!((claimed.name, claimed.context, claimed.timeout), (None, None, None));
    assert_eq!(claimed.retry, RetryPolicy::default());
    assert!(!claimed.has_parents);
}

pub(super) async fn the_row_says_who_runs_it_since_when(harness: Harness) {
    let server = harness.server().await;
    let now = harness.freeze().await;
    let claimed = harness.start(&server, task()).await;
    let record = harness.record(claimed.id).await;
    assert_eq!((record.state, record.attempt), (TaskState::Doing, 1));
    assert_eq!((record.server, record.started_at), (Some(server.id), Some(now)));
}

pub(super) async fn every_claim_has_tokens_of_its_own(harness: Harness) {
    harness.add_all(&tasks(50)).await;
    let server = harness.server().await;
    let mut tokens = HashSet::new();
    for _ in 0..3 {
        for claimed in server.claim(50).await {
            assert!(tokens.insert(claimed.token));
            server.finish(&claimed, Outcome::Released).await;
        }
    }
    assert_eq!(tokens.len(), 150);
}

pub(super) async fn a_claim_is_read_back_by_its_id(harness: Harness) {
    harness.add_all(&tasks(20)).await;
    let server = harness.server().await;
    let first = request(server.id, 15);
    let second = request(server.id, 15);
    let got = server.claim_with(&first).await.tasks;
    server.claim_with(&second).await;
    assert_eq!(got.len(), 15);
    assert_eq!(harness.store.claimed(server.id, first.claim).await.unwrap(), got);
    assert_eq!(harness.store.claimed(server.id, second.claim).await.unwrap().len(), 5);
    assert!(harness.store.claimed(server.id, ClaimId::generate()).await.unwrap().is_empty());
}

pub(super) async fn a_failed_task_tells_its_failures(harness: Harness) {
    let server = harness.server().await;
    let claimed = harness.start(&server, task()).await;
    server.fail_and_retry(&claimed, Duration::ZERO, failure("once")).await;
    let again = server.claim_one().await;
    assert_eq!((again.attempt, again.failures), (2, 1));
}

pub(super) async fn a_lapsed_lease_claims_nothing(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    let id = harness.add(task()).await;
    harness.advance(LEASE).await;
    harness.advance(Duration::from_millis(1)).await;
    let reply = server.claim_with(&request(server.id, 1)).await;
    assert!(reply.dead && reply.tasks.is_empty());
    harness.assert_state(id, TaskState::Enqueued).await;
    assert_eq!(harness.record(id).await.attempt, 0);
}

pub(super) async fn a_beat_keeps_the_lease(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add(task()).await;
    for _ in 0..5 {
        harness.advance(LEASE - Duration::from_secs(1)).await;
        assert!(!server.beat().await.dead);
    }
    server.claim_one().await;
}

pub(super) async fn a_stranger_claims_nothing(harness: Harness) {
    let id = harness.add(task()).await;
    let reply = harness.store.claim(&request(ServerId::generate(), 1)).await.unwrap();
    assert!(reply.dead && reply.tasks.is_empty());
    harness.assert_state(id, TaskState::Enqueued).await;
}

pub(super) async fn a_task_past_its_time_is_marked(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&[expiring(Duration::from_secs(10)), expiring(Duration::from_secs(20))]).await;
    harness.advance(Duration::from_secs(10)).await;
    let claimed = server.claim(2).await;
    assert_eq!(claimed.iter().map(|task| task.expired).collect::<Vec<_>>(), [true, false]);
}

/// A server continues at the cursor it got, and at the head whenever that yields nothing.
pub(super) async fn a_place_never_hides_a_task_for_good(harness: Harness) {
    harness.add_all(&tasks(30)).await;
    let server = harness.server().await;
    let first = server.claim_with(&request(server.id, 10)).await;
    // These belong before the cursor: by priority, and by an older order number.
    let urgent = harness.add(of_priority(5)).await;
    server.finish(&first.tasks[0], Outcome::Released).await;
    let mut found: HashSet<TaskId> = first.tasks[1..].iter().map(|task| task.id).collect();
    let mut cursor = first.cursor;
    loop {
        let reply = server.claim_with(&ClaimRequest { cursor, ..request(server.id, 10) }).await;
        if reply.tasks.is_empty() && cursor.is_none() {
            break;
        }
        cursor = if reply.tasks.is_empty() { None } else { reply.cursor };
        for task in reply.tasks {
            assert!(found.insert(task.id), "claimed twice");
        }
    }
    assert_eq!(found.len(), 31);
    assert!(found.contains(&urgent));
}

pub(super) async fn a_place_keeps_the_order(harness: Harness) {
    let batch: Vec<NewTask> = (0..40).map(|at| of_priority(at / 10)).collect();
    harness.add_all(&batch).await;
    let server = harness.server().await;
    let mut claimed = Vec::new();
    let mut cursor = None;
    for _ in 0..8 {
        let reply = server.claim_with(&ClaimRequest { cursor, ..request(server.id, 5) }).await;
        cursor = reply.cursor;
        claimed.extend(reply.tasks.iter().map(|task| task.id));
    }
    let mut expected: Vec<&NewTask> = batch.iter().collect();
    expected.sort_by_key(|task| -task.priority);
    assert_eq!(claimed, expected.iter().map(|task| task.id).collect::<Vec<_>>());
}

pub(super) async fn two_servers_never_get_the_same_task(harness: Harness) {
    harness.add_all(&tasks(2_000)).await;
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let server = harness.server().await;
        servers.spawn(async move {
            let mut got = Vec::new();
            loop {
                let claimed = server.claim(37).await;
                if claimed.is_empty() {
                    return got;
                }
                got.extend(ids_of(&claimed));
            }
        });
    }
    let got: Vec<TaskId> = servers.join_all().await.concat();
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), got.len(), "a task was claimed twice");
    // A claim that skips rows because another one holds them may end early; nothing is lost by that.
    let rest = harness.server().await.claim(2_000).await.len();
    assert_eq!(got.len() + rest, 2_000);
}

pub(super) async fn a_released_task_keeps_its_place_in_the_order(harness: Harness) {
    let added = harness.add_all(&tasks(3)).await;
    let server = harness.server().await;
    let claimed = server.claim(2).await;
    server.finish(&claimed[0], Outcome::Released).await;
    server.finish(&claimed[1], Outcome::Released).await;
    assert_eq!(ids_of(&server.claim(3).await), added);
}

pub(super) async fn what_is_not_enqueued_is_not_claimed(harness: Harness) {
    let server = harness.server().await;
    for state in [TaskState::Done, TaskState::Failed, TaskState::Cancelled, TaskState::Stopped] {
        harness.ended(&server, state).await;
    }
    let running = harness.start(&server, task()).await;
    harness.add(child_of(&[running.id])).await;
    harness.add(crate::factory::delayed(Duration::from_secs(3_600))).await;
    assert!(server.claim(100).await.is_empty());
    let reply = server.claim_with(&ClaimRequest { runtime: Runtime::Python, ..request(server.id, 100) }).await;
    assert!(reply.tasks.is_empty());
}
