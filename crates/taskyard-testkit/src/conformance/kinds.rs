//! Kinds: a build never claims a kind again that it was found not to know, and only tasks that every live build has
//! refused are parked.

use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Claimed, Finish, Outcome, WriteReply};
use taskyard_core::task::{NewTask, UniqueHold};
use taskyard_core::{TaskId, TaskState, WaitReason};

use super::{Harness, TestServer};
use crate::factory::{self, of_kind, unique};

/// Longer than [`regroup`](taskyard_core::Store::regroup) keeps a build without servers.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(61);

async fn refuse(server: &TestServer, claimed: &Claimed) -> WriteReply {
    let (reason, build) = (format!("kind `{}`", claimed.kind), server.build.clone());
    server.finish(claimed, Outcome::Refused { reason, build }).await
}

/// Claims all tasks and refuses them; returns how many there were.
async fn refuse_all(harness: &Harness, server: &TestServer) -> usize {
    let mut sum = 0;
    loop {
        let batch: Vec<Finish> = server
            .claim(1_000)
            .await
            .into_iter()
            .map(|claimed| Finish {
                id: claimed.id,
                token: claimed.token,
                outcome: Outcome::Refused { reason: format!("kind `{}`", claimed.kind), build: server.build.clone() },
                context: None,
                logs: Vec::new(),
            })
            .collect();
        if batch.is_empty() {
            return sum;
        }
        sum += batch.len();
        harness.store.finish(&batch, &[]).await.unwrap();
    }
}

/// Two builds: `a` has refused the kind `b`, the kind of this task, which is enqueued.
async fn refused(harness: &Harness, task: NewTask) -> (TestServer, TestServer, TaskId) {
    let (a, b) = (harness.server_of("a").await, harness.server_of("b").await);
    let claimed = harness.start(&a, NewTask { kind: "b".into(), ..task }).await;
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Enqueued));
    (a, b, claimed.id)
}

fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|task| task.id).collect()
}

pub(super) async fn a_refused_task_is_left_to_builds_that_may_know_it(harness: Harness) {
    let (a, b, id) = refused(&harness, factory::task()).await;
    let record = harness.record(id).await;
    assert_eq!((record.attempt, record.failures, record.started_at), (0, 0, None));
    assert!(a.claim(10).await.is_empty());
    let other = harness.server_of("a").await;
    assert!(other.claim(10).await.is_empty(), "its build has refused the kind, by whatever server");
    let claimed = b.claim_one().await;
    assert_eq!((claimed.id, claimed.attempt), (id, 1));
    b.done(&claimed).await;
}

pub(super) async fn what_is_added_later_is_not_claimed_by_the_build_that_refused(harness: Harness) {
    let (a, b, id) = refused(&harness, factory::task()).await;
    for (server, kind, refused) in [(&a, "b", true), (&a, "a", false), (&b, "b", false)] {
        assert_eq!(harness.store.has_refused(server.id, Runtime::Rust, kind).await.unwrap(), refused);
    }
    assert!(!harness.store.has_refused(a.id, Runtime::Python, "b").await.unwrap());
    let later = harness.add_all(&[of_kind("b"), of_kind("a"), of_kind("b")]).await;
    assert_eq!(ids(&a.claim(10).await), [later[1]]);
    assert_eq!(ids(&b.claim(10).await), [id, later[0], later[2]]);
}

pub(super) async fn whatever_makes_it_runnable_puts_it_there(harness: Harness) {
    harness.freeze().await;
    let (a, b, first) = refused(&harness, factory::task()).await;
    let second = Duration::from_secs(1);
    let delayed = harness.add(NewTask { kind: "b".into(), ..factory::delayed(second) }).await;
    let claimed = b.claim_one().await;
    assert_eq!(claimed.id, first);
    b.fail_and_retry(&claimed, second, factory::failure("once")).await;
    harness.advance(Duration::from_secs(2)).await;
    assert_eq!(harness.promote().await.enqueued, 2);
    assert!(a.claim(10).await.is_empty());
    let claimed = b.claim(10).await;
    assert_eq!(ids(&claimed), [first, delayed]);
    for claimed in &claimed {
        assert_eq!(b.finish(claimed, Outcome::Released).await, WriteReply::Applied(TaskState::Enqueued));
    }
    assert!(a.claim(10).await.is_empty());
    let claimed = b.claim_one().await;
    b.fail(&claimed).await;
    harness.retry(claimed.id).await;
    assert!(a.claim(10).await.is_empty());
    assert_eq!(b.claim(10).await.len(), 2);
}

pub(super) async fn it_is_parked_once_every_live_build_has_refused(harness: Harness) {
    let (a, b, id) = refused(&harness, factory::task()).await;
    let claimed = b.claim_one().await;
    assert_eq!(refuse(&b, &claimed).await, WriteReply::Applied(TaskState::Waiting));
    harness.assert_waits(id, WaitReason::Parked).await;
    assert_eq!(harness.record(id).await.waiting_for.as_deref(), Some("kind `b`"));
    // A task that is added now is claimed by no server, and parked by the next step.
    let later = harness.add(of_kind("b")).await;
    assert!(a.claim(10).await.is_empty());
    assert!(b.claim(10).await.is_empty());
    assert_eq!(harness.regroup().await, (0, 1));
    harness.assert_waits(later, WaitReason::Parked).await;
    let c = harness.server_of("c").await;
    assert_eq!(harness.store.unpark(Runtime::Rust, "kind `b`").await.unwrap().tasks, 2);
    harness.regroup().await;
    assert!(a.claim(10).await.is_empty());
    assert!(b.claim(10).await.is_empty());
    assert_eq!(ids(&c.claim(10).await), [id, later]);
}

pub(super) async fn the_only_build_parks_at_once(harness: Harness) {
    let a = harness.server_of("a").await;
    let _twin = harness.server_of("a").await;
    let claimed = harness.start(&a, of_kind("b")).await;
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Waiting));
    harness.assert_waits(claimed.id, WaitReason::Parked).await;
    assert_eq!(harness.store.parked(Runtime::Rust).await.unwrap()[0].reason, "kind `b`");
}

pub(super) async fn a_server_that_says_nothing_has_refused_nothing(harness: Harness) {
    let old = harness.server().await;
    let a = harness.server_of("a").await;
    let claimed = harness.start(&a, of_kind("b")).await;
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Enqueued));
    harness.regroup().await;
    assert!(a.claim(10).await.is_empty());
    let claimed = old.claim_one().await;
    // A server without a build that could refuse parks the task, as in earlier versions.
    assert_eq!(refuse(&old, &claimed).await, WriteReply::Applied(TaskState::Waiting));
    assert_eq!(harness.store.unpark(Runtime::Rust, "kind `b`").await.unwrap().tasks, 1);
    assert_eq!(old.claim(10).await.len(), 1);
}

pub(super) async fn a_dead_server_counts_no_more(harness: Harness) {
    harness.freeze().await;
    let a = harness.server_of("a").await;
    let b = harness.server_of("b").await;
    let id = harness.add(of_kind("b")).await;
    let claimed = a.claim_one().await;
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Enqueued));
    assert_eq!(harness.regroup().await, (0, 0));
    harness.store.server_leave(b.id).await.unwrap();
    assert_eq!(harness.regroup().await, (0, 1));
    harness.assert_waits(id, WaitReason::Parked).await;
}

pub(super) async fn servers_of_other_queues_do_not_count(harness: Harness) {
    let a = harness.server_that("a", Some(&["mail"])).await;
    let _b = harness.server_that("b", Some(&["other"])).await;
    let id = harness.add(NewTask { queue: "mail".into(), ..of_kind("x") }).await;
    let claimed = a.claim_queue("mail", 1).await.remove(0);
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Waiting));
    harness.assert_waits(id, WaitReason::Parked).await;
    // An added task is parked if no server serves its kind in that queue, and left if one does or if the queue has no
    // server at all.
    let batch = ["mail", "other", "none"].map(|queue| NewTask { queue: queue.into(), ..of_kind("x") });
    let added = harness.add_all(&batch).await;
    assert_eq!(harness.regroup().await, (0, 1));
    harness.assert_waits(added[0], WaitReason::Parked).await;
    harness.assert_state(added[1], TaskState::Enqueued).await;
    harness.assert_state(added[2], TaskState::Enqueued).await;
}

pub(super) async fn runtimes_are_apart(harness: Harness) {
    let (a, _b, _) = refused(&harness, factory::task()).await;
    let snake = harness.add(NewTask { kind: "b".into(), ..factory::python() }).await;
    assert_eq!(ids(&a.claim_python(10).await), [snake]);
}

pub(super) async fn priority_and_order_hold_across_groups(harness: Harness) {
    let (_a, b, first) = refused(&harness, factory::task()).await;
    let kinds = ["b", "common", "b", "common", "b", "common"];
    let batch: Vec<NewTask> =
        kinds.iter().enumerate().map(|(at, kind)| NewTask { priority: i32::from(at >= 4), ..of_kind(kind) }).collect();
    let added = harness.add_all(&batch).await;
    let expected = [added[4], added[5], first, added[0], added[1], added[2], added[3]];
    let mut claimed = Vec::new();
    for _ in 0..expected.len() {
        claimed.push(b.claim_one().await.id);
    }
    assert_eq!(claimed, expected);
}

pub(super) async fn thousands_are_regrouped_in_bounded_steps(harness: Harness) {
    let (a, b) = (harness.server_of("a").await, harness.server_of("b").await);
    let batch: Vec<NewTask> = (0..2_500).map(|at| of_kind(if at % 5 == 4 { "a" } else { "b" })).collect();
    harness.add_many(&batch).await;
    let claimed = a.claim_one().await;
    refuse(&a, &claimed).await;
    let first = harness.store.regroup().await.unwrap();
    assert!(first.more && first.moved <= 1_000, "{first:?}");
    let (moved, parked) = harness.regroup().await;
    assert_eq!((first.moved + moved, parked), (1_999, 0));
    assert_eq!(harness.regroup().await, (0, 0), "it is done once");
    let mut sum = 0;
    loop {
        let claimed = a.claim(1_000).await;
        if claimed.is_empty() {
            break;
        }
        assert!(claimed.iter().all(|task| task.kind == "a"));
        sum += claimed.len();
    }
    assert_eq!(sum, 500);
    let mut sum = 0;
    loop {
        let claimed = b.claim(1_000).await;
        if claimed.is_empty() {
            break;
        }
        sum += claimed.len();
    }
    assert_eq!(sum, 2_000);
}

pub(super) async fn many_kinds_share_few_groups(harness: Harness) {
    let (a, b) = (harness.server_of("a").await, harness.server_of("b").await);
    let batch: Vec<NewTask> = (0..1_500).map(|at| of_kind(&format!("b{at}"))).collect();
    let added = harness.add_many(&batch).await;
    assert_eq!(refuse_all(&harness, &a).await, 1_500);
    assert!(a.claim(10).await.is_empty());
    harness.regroup().await;
    let mut seen = Vec::new();
    loop {
        let claimed = b.claim(1_000).await;
        if claimed.is_empty() {
            break;
        }
        seen.extend(ids(&claimed));
    }
    assert_eq!(seen, added, "in the order of their addition");
}

pub(super) async fn a_build_that_is_gone_is_forgotten_after_a_minute(harness: Harness) {
    harness.freeze().await;
    let (a, b, id) = refused(&harness, factory::task()).await;
    harness.store.server_leave(a.id).await.unwrap();
    harness.regroup().await;
    let again = harness.server_of("a").await;
    assert!(again.claim(10).await.is_empty(), "it came back at once");
    harness.store.server_leave(again.id).await.unwrap();
    harness.advance(FORGOTTEN_AFTER).await;
    harness.store.server_beat(&factory::beat(b.id)).await.unwrap();
    assert_eq!(harness.regroup().await, (1, 0));
    let again = harness.server_of("a").await;
    let claimed = again.claim_one().await;
    assert_eq!(claimed.id, id, "it is another build now, which has refused nothing");
    refuse(&again, &claimed).await;
    assert!(again.claim(10).await.is_empty());
    assert_eq!(ids(&b.claim(10).await), [id]);
}

pub(super) async fn groups_that_become_the_same_are_one(harness: Harness) {
    harness.freeze().await;
    let (a, b, c) = (harness.server_of("a").await, harness.server_of("b").await, harness.server_of("c").await);
    let added = harness.add_all(&[of_kind("x"), of_kind("y"), of_kind("z")]).await;
    // x is refused by a and b, y by b, z by a.
    for claimed in a.claim(3).await {
        if claimed.kind == "y" {
            a.finish(&claimed, Outcome::Released).await;
        } else {
            refuse(&a, &claimed).await;
        }
    }
    for claimed in b.claim(3).await {
        if claimed.kind == "z" {
            b.finish(&claimed, Outcome::Released).await;
        } else {
            refuse(&b, &claimed).await;
        }
    }
    harness.regroup().await;
    harness.store.server_leave(a.id).await.unwrap();
    harness.advance(FORGOTTEN_AFTER).await;
    for server in [&b, &c] {
        harness.store.server_beat(&factory::beat(server.id)).await.unwrap();
    }
    harness.regroup().await;
    let more = harness.add_all(&[of_kind("x"), of_kind("y"), of_kind("z")]).await;
    assert_eq!(ids(&b.claim(10).await), [added[2], more[2]]);
    assert_eq!(ids(&c.claim(10).await), [added[0], added[1], more[0], more[1]]);
}

pub(super) async fn what_must_run_alone_is_refused_like_any_other(harness: Harness) {
    let (a, b) = (harness.server_of("a").await, harness.server_of("b").await);
    let claimed = harness.start(&b, of_kind("b")).await;
    b.finish(&claimed, Outcome::Beside).await;
    let alone = a.claim_alone().await.expect("no build has refused it");
    refuse(&a, &alone).await;
    assert!(a.claim_alone().await.is_none());
    assert!(!a.claim_with(&factory::request(a.id, 1)).await.alone_waiting, "nothing of it waits for this build");
    assert!(b.claim_with(&factory::request(b.id, 1)).await.alone_waiting);
    assert_eq!(b.claim_alone().await.map(|task| task.id), Some(alone.id));
}

pub(super) async fn limits_and_pauses_count_for_all_groups_of_a_queue(harness: Harness) {
    let queue = |kind: &str| NewTask { queue: "few".into(), ..of_kind(kind) };
    let (a, b, first) = refused(&harness, NewTask { queue: "few".into(), ..factory::task() }).await;
    let added = harness.add_all(&[queue("common"), queue("b"), queue("common")]).await;
    harness.store.set_limit("few", Some(2)).await.unwrap();
    let claimed = b.claim(10).await;
    assert_eq!(ids(&claimed), [first, added[0]]);
    assert!(b.claim(10).await.is_empty());
    assert!(a.claim(10).await.is_empty());
    b.done_all(&claimed).await;
    harness.store.set_paused("few", true).await.unwrap();
    assert!(b.claim(10).await.is_empty());
    harness.store.set_limit("few", None).await.unwrap();
    harness.store.set_paused("few", false).await.unwrap();
    assert_eq!(ids(&a.claim(10).await), [added[2]]);
    assert_eq!(ids(&b.claim(10).await), [added[1]]);
}

pub(super) async fn a_queue_that_is_set_apart_takes_its_groups_along(harness: Harness) {
    let (a, b, id) = refused(&harness, NewTask { queue: "apart".into(), ..factory::task() }).await;
    let plain = harness.add(NewTask { queue: "apart".into(), ..of_kind("common") }).await;
    for _ in 0..10 {
        harness.store.set_apart(&["apart".to_owned()]).await.unwrap();
    }
    let later = harness.add(NewTask { queue: "apart".into(), ..of_kind("b") }).await;
    assert_eq!(ids(&a.claim_queue("apart", 10).await), [plain]);
    assert_eq!(ids(&b.claim_queue("apart", 10).await), [id, later]);
}

pub(super) async fn people_reach_it_in_its_group(harness: Harness) {
    let (_a, b, id) = refused(&harness, factory::task()).await;
    let added = harness.add_all(&[of_kind("b"), of_kind("b")]).await;
    harness.store.set_priority(&[added[1]], 5).await.unwrap();
    harness.cancel(id).await;
    harness.assert_state(id, TaskState::Cancelled).await;
    let report = harness.store.compare_ranges(None, 100, true).await.unwrap();
    assert_eq!((report.seen, report.missing), (3, 0));
    assert_eq!(ids(&b.claim(10).await), [added[1], added[0]]);
}

pub(super) async fn a_queue_that_ages_ages_in_every_group(harness: Harness) {
    harness.freeze().await;
    let (_a, b, id) = refused(&harness, NewTask { queue: "old".into(), ..factory::task() }).await;
    harness.store.set_ageing("old", Some(Duration::from_secs(10))).await.unwrap();
    harness.advance(Duration::from_secs(25)).await;
    while harness.store.age().await.unwrap().more {}
    let urgent = harness.add(NewTask { queue: "old".into(), priority: 1, ..of_kind("common") }).await;
    assert_eq!(ids(&b.claim(10).await), [id, urgent]);
}

pub(super) async fn a_key_that_was_held_until_the_start_is_taken_again(harness: Harness) {
    let (_a, b, id) = refused(&harness, unique("once", UniqueHold::UntilStarted)).await;
    let twin = NewTask { kind: "b".into(), ..unique("once", UniqueHold::UntilStarted) };
    let answer = harness.store.add(&[twin]).await.unwrap();
    assert_eq!((answer[0].id, answer[0].existing), (id, true));
    assert_eq!(b.claim_one().await.id, id);
}

pub(super) async fn a_request_wins_over_a_refusal(harness: Harness) {
    let (a, _b) = (harness.server_of("a").await, harness.server_of("b").await);
    let claimed = harness.start(&a, of_kind("b")).await;
    harness.cancel(claimed.id).await;
    assert_eq!(refuse(&a, &claimed).await, WriteReply::Applied(TaskState::Cancelled));
    assert_eq!(refuse(&a, &claimed).await, WriteReply::AlreadyApplied(TaskState::Cancelled));
}

pub(super) async fn a_server_may_become_another_build(harness: Harness) {
    let (a, _b, id) = refused(&harness, factory::task()).await;
    let serves = taskyard_core::store::Serves { builds: vec![(Runtime::Rust, "a2".into())], queues: None };
    harness.store.server_serves(a.id, &serves).await.unwrap();
    let claimed = a.claim_one().await;
    assert_eq!(claimed.id, id, "what it knows now it has not been asked");
}

pub(super) async fn a_claim_that_goes_on_from_a_place_reads_all_groups(harness: Harness) {
    let (_a, b, first) = refused(&harness, factory::task()).await;
    let batch: Vec<NewTask> = (0..40).map(|at| of_kind(if at % 2 == 0 { "b" } else { "common" })).collect();
    let added = harness.add_all(&batch).await;
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let reply = b.claim_with(&ClaimRequest { cursor, ..factory::request(b.id, 7) }).await;
        if reply.tasks.is_empty() && cursor.is_none() {
            break;
        }
        cursor = reply.cursor;
        seen.extend(ids(&reply.tasks));
    }
    assert_eq!(seen[0], first);
    assert_eq!(seen[1..], added);
}
