//! Queues: pause, resume, and the limit of tasks that run at once over all servers.

use std::time::Duration;

use taskyard_core::TaskState;
use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Claimed, Outcome, QueueStatus};
use taskyard_core::task::NewTask;

use super::Harness;
use crate::factory::{LEASE, delayed, failure, in_queue, request, task, tasks};

fn mails(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| in_queue("mails")).collect()
}

async fn status(harness: &Harness, queue: &str) -> QueueStatus {
    let queues = harness.store.queues().await.unwrap();
    queues.into_iter().find(|status| status.name == queue).unwrap_or_else(|| panic!("queue {queue} is shown"))
}

pub(super) async fn a_paused_queue_is_passed_by(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(3)).await;
    let other = harness.add(task()).await;
    harness.store.set_paused("mails", true).await.unwrap();
    assert!(status(&harness, "mails").await.paused);
    let claimed = server.claim(10).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [other]);
    assert!(server.claim_queue("mails", 10).await.is_empty());
}

pub(super) async fn a_resumed_queue_goes_on_in_order(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_paused("mails", true).await.unwrap();
    let ids = harness.add_all(&mails(5)).await;
    assert!(server.claim(10).await.is_empty());
    harness.store.set_paused("mails", false).await.unwrap();
    assert!(!status(&harness, "mails").await.paused);
    assert_eq!(server.claim(10).await.iter().map(|task| task.id).collect::<Vec<_>>(), ids);
}

/// No way of making a task runnable while its queue is paused may bypass the pause.
pub(super) async fn every_way_in_keeps_to_the_pause(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&mails(4)).await;
    let claimed = server.claim(4).await;
    let parent = harness.add(task()).await;
    let parent_claim = server.claim_one().await;
    let child = harness.add(NewTask { parents: vec![parent], ..in_queue("mails") }).await;
    let timed = harness.add(NewTask { queue: "mails".into(), ..delayed(Duration::from_secs(5)) }).await;
    harness.store.set_paused("mails", true).await.unwrap();
    server.finish(&claimed[0], Outcome::Released).await;
    server.fail_and_retry(&claimed[1], Duration::from_secs(5), failure("once")).await;
    server.fail(&claimed[2]).await;
    harness.retry(claimed[2].id).await;
    server.done(&parent_claim).await;
    harness.advance(Duration::from_secs(5)).await;
    assert_eq!(harness.promote().await.enqueued, 2);
    for id in [claimed[0].id, claimed[1].id, claimed[2].id, child, timed] {
        harness.assert_state(id, TaskState::Enqueued).await;
    }
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    harness.assert_state(claimed[3].id, TaskState::Enqueued).await;
    let server = harness.server().await;
    assert!(server.claim(10).await.is_empty());
    assert_eq!(status(&harness, "mails").await.enqueued, 6);
    harness.store.set_paused("mails", false).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 6);
}

pub(super) async fn a_task_that_must_run_alone_keeps_to_the_pause(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(1)).await;
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Beside).await;
    harness.store.set_paused("mails", true).await.unwrap();
    assert!(server.claim_alone().await.is_none());
    harness.store.set_paused("mails", false).await.unwrap();
    assert!(server.claim_alone().await.is_some());
}

pub(super) async fn what_runs_goes_on_in_a_paused_queue(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(1)).await;
    let claimed = server.claim_one().await;
    harness.store.set_paused("mails", true).await.unwrap();
    server.done(&claimed).await;
}

pub(super) async fn a_new_queue_can_be_configured(harness: Harness) {
    harness.store.set_paused("future", true).await.unwrap();
    harness.store.set_limit("narrow", Some(2)).await.unwrap();
    let future = status(&harness, "future").await;
    assert_eq!((future.paused, future.running_max, future.enqueued), (true, None, 0));
    assert_eq!(status(&harness, "narrow").await.running_max, Some(2));
    let server = harness.server().await;
    harness.add(in_queue("future")).await;
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn a_limit_holds_over_two_servers(harness: Harness) {
    let (first, second) = (harness.server().await, harness.server().await);
    harness.store.set_limit("mails", Some(3)).await.unwrap();
    harness.add_all(&mails(10)).await;
    let mut running = first.claim(2).await;
    assert_eq!(running.len(), 2);
    running.extend(second.claim(10).await);
    assert_eq!(running.len(), 3);
    assert!(first.claim(10).await.is_empty());
    assert_eq!(status(&harness, "mails").await.doing, 3);
    // Each task that ends makes room for one.
    first.done(&running[0]).await;
    assert_eq!(second.claim(10).await.len(), 1);
    assert!(first.claim(10).await.is_empty());
}

pub(super) async fn a_limit_holds_under_concurrent_claims(harness: Harness) {
    harness.store.set_limit("mails", Some(5)).await.unwrap();
    harness.add_all(&mails(100)).await;
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let server = harness.server().await;
        servers.spawn(async move { server.claim(4).await.len() + server.claim(4).await.len() });
    }
    let sum: usize = servers.join_all().await.iter().sum();
    assert!(sum <= 5, "{sum} run at once");
    let rest = harness.server().await.claim(10).await.len();
    assert_eq!(sum + rest, 5);
}

pub(super) async fn every_end_makes_room(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(1)).await.unwrap();
    harness.add_all(&mails(20)).await;
    let pause = Duration::from_secs(60);
    for outcome in [
        Outcome::Done { result: b"1".to_vec() },
        Outcome::Failed(failure("it broke")),
        Outcome::Retry { after: pause, error: failure("once") },
        Outcome::Snooze { after: pause },
        Outcome::Released,
        Outcome::Parked { reason: "kind `x`".into() },
        Outcome::Interrupted,
        Outcome::Beside,
    ] {
        let claimed = server.claim(10).await;
        assert_eq!(claimed.len(), 1, "before {outcome:?}");
        assert!(server.claim(10).await.is_empty());
        server.finish(&claimed[0], outcome).await;
    }
    // So does the loss of a server.
    assert_eq!(server.claim(10).await.len(), 1);
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    assert_eq!(harness.server().await.claim(10).await.len(), 1);
}

pub(super) async fn a_full_queue_holds_up_no_other(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(1)).await.unwrap();
    let urgent: Vec<NewTask> = mails(50).into_iter().map(|task| NewTask { priority: 9, ..task }).collect();
    harness.add_all(&urgent).await;
    let others = harness.add_all(&crate::factory::tasks(3)).await;
    let claimed = server.claim(10).await;
    assert_eq!(claimed.len(), 4);
    assert!(others.iter().all(|id| claimed.iter().any(|task| task.id == *id)));
}

pub(super) async fn a_lifted_limit_frees_all(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(6)).await;
    harness.store.set_limit("mails", Some(2)).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2);
    harness.store.set_limit("mails", Some(3)).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 1);
    harness.store.set_limit("mails", None).await.unwrap();
    assert_eq!(status(&harness, "mails").await.running_max, None);
    assert_eq!(server.claim(10).await.len(), 3);
}

pub(super) async fn a_lowered_limit_ends_nothing(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(6)).await;
    let running = server.claim(4).await;
    harness.store.set_limit("mails", Some(2)).await.unwrap();
    assert!(server.claim(10).await.is_empty());
    server.done_all(&running[..2]).await;
    assert!(server.claim(10).await.is_empty(), "two still run");
    server.done(&running[2]).await;
    assert_eq!(server.claim(10).await.len(), 1);
}

pub(super) async fn a_limit_is_shared_by_both_runtimes(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(2)).await.unwrap();
    harness.add_all(&mails(2)).await;
    harness
        .add_all(&mails(2).into_iter().map(|task| NewTask { runtime: Runtime::Python, ..task }).collect::<Vec<_>>())
        .await;
    assert_eq!(server.claim(1).await.len(), 1);
    assert_eq!(server.claim_python(10).await.len(), 1);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn pause_and_limit_together(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(2)).await.unwrap();
    harness.store.set_paused("mails", true).await.unwrap();
    harness.add_all(&mails(5)).await;
    assert!(server.claim(10).await.is_empty());
    let shown = status(&harness, "mails").await;
    assert_eq!((shown.paused, shown.running_max), (true, Some(2)));
    harness.store.set_paused("mails", false).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2, "the limit is still in force");
}

pub(super) async fn priority_holds_over_lanes(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(5)).await.unwrap();
    let urgent = NewTask { priority: 9, ..in_queue("mails") };
    harness.add_all(&[task(), urgent.clone()]).await;
    assert_eq!(server.claim_one().await.id, urgent.id, "a limit of a queue does not affect its rank");
}

pub(super) async fn a_filter_by_queue_keeps_to_the_limit(harness: Harness) {
    let server = harness.server().await;
    harness.store.set_limit("mails", Some(1)).await.unwrap();
    harness.add_all(&mails(3)).await;
    let queues = Some(vec!["mails".to_owned(), "default".to_owned()]);
    let reply = server.claim_with(&ClaimRequest { queues, ..request(server.id, 10) }).await;
    assert_eq!(reply.tasks.len(), 1);
    assert!(server.claim_queue("mails", 10).await.is_empty());
}

async fn set_apart(harness: &Harness, queues: &[&str]) -> usize {
    let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let mut steps = 1;
    while harness.store.set_apart(&queues).await.unwrap().more {
        steps += 1;
    }
    steps
}

pub(super) async fn a_queue_set_apart_is_claimed_as_before(harness: Harness) {
    let server = harness.server().await;
    let order = |claimed: Vec<Claimed>| claimed.iter().map(|task| task.id).collect::<Vec<_>>();
    let before = harness.add_all(&mails(2)).await;
    let plain = harness.add(task()).await;
    set_apart(&harness, &["mails"]).await;
    set_apart(&harness, &["mails", "unheard of"]).await;
    let after = harness.add_all(&mails(2)).await;
    let urgent = harness.add(NewTask { priority: 1, ..in_queue("mails") }).await;
    let other = harness.add(task()).await;
    // A server of all queues gets all tasks, in one order; a server of this queue gets only its tasks; and a server of
    // two queues gets both.
    assert_eq!(order(server.claim(2).await), [urgent, before[0]]);
    assert_eq!(order(server.claim_queue("mails", 2).await), [before[1], after[0]]);
    let both = ClaimRequest { queues: Some(vec!["mails".into(), "default".into()]), ..request(server.id, 10) };
    assert_eq!(order(server.claim_with(&both).await.tasks), [plain, after[1], other]);
    assert!(server.claim_queue("unheard of", 1).await.is_empty());
    let status = status(&harness, "mails").await;
    assert_eq!((status.paused, status.running_max, status.enqueued, status.doing), (false, None, 0, 5));
}

pub(super) async fn a_queue_set_apart_can_be_paused_and_limited(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(4)).await;
    set_apart(&harness, &["mails"]).await;
    harness.store.set_paused("mails", true).await.unwrap();
    assert!(server.claim(10).await.is_empty());
    assert!(server.claim_queue("mails", 10).await.is_empty());
    harness.store.set_limit("mails", Some(1)).await.unwrap();
    harness.store.set_paused("mails", false).await.unwrap();
    let claimed = server.claim_queue("mails", 10).await;
    assert_eq!(claimed.len(), 1);
    assert!(server.claim(10).await.is_empty());
    harness.store.set_limit("mails", None).await.unwrap();
    assert_eq!(server.claim_queue("mails", 2).await.len(), 2);
    server.finish(&claimed[0], Outcome::Released).await;
    assert_eq!(server.claim_queue("mails", 10).await.len(), 2);
}

pub(super) async fn thousands_are_set_apart_in_steps(harness: Harness) {
    let server = harness.server().await;
    harness.add_all(&mails(21_000)).await;
    harness.add_all(&tasks(10)).await;
    // Between two steps some rows are in one partition and some in the other: claims get them all the same.
    let queues = ["mails".to_owned()];
    assert!(harness.store.set_apart(&queues).await.unwrap().more);
    assert_eq!(server.claim_queue("mails", 500).await.len(), 500);
    assert!(set_apart(&harness, &["mails"]).await >= 2);
    assert_eq!(server.claim_queue("mails", 30_000).await.len(), 20_500);
    assert_eq!(server.claim(3_000).await.len(), 10);
}

pub(super) async fn figures_of_a_queue(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&mails(3)).await;
    server.claim_one().await;
    harness.add(NewTask { queue: "mails".into(), ..delayed(Duration::from_secs(3_600)) }).await;
    harness.advance(Duration::from_secs(7)).await;
    let shown = status(&harness, "mails").await;
    assert_eq!((shown.enqueued, shown.waiting, shown.doing), (2, 1, 1));
    assert_eq!(shown.oldest_enqueued, Some(Duration::from_secs(7)));
    harness.store.set_paused("empty", true).await.unwrap();
    let empty = status(&harness, "empty").await;
    assert_eq!((empty.enqueued, empty.waiting, empty.doing, empty.oldest_enqueued), (0, 0, 0, None));
}

pub(super) async fn any_text_is_a_queue(harness: Harness) {
    let server = harness.server().await;
    let name = "it's; drop table queue; -- % _ \\ \"ünïcode\"";
    harness.add(in_queue(name)).await;
    harness.store.set_paused(name, true).await.unwrap();
    assert!(server.claim(1).await.is_empty());
    harness.store.set_paused(name, false).await.unwrap();
    assert_eq!(server.claim_queue(name, 1).await[0].queue, name);
}
