//! Queues: pause, resume, and the limit of tasks that run at once over all servers.

use std::time::Duration;

use taskyard_core::TaskState;
use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Claimed, Outcome, QueueStatus};
use taskyard_core::task::NewTask;

use super::Yard;
use crate::factory::{LEASE, delayed, failure, in_queue, request, task, tasks};

fn mails(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| in_queue("mails")).collect()
}

async fn status(yard: &Yard, queue: &str) -> QueueStatus {
    let queues = yard.store.queues().await.unwrap();
    queues.into_iter().find(|status| status.name == queue).unwrap_or_else(|| panic!("queue {queue} is shown"))
}

pub(super) async fn a_paused_queue_is_passed_by(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(3)).await;
    let other = yard.add(task()).await;
    yard.store.set_paused("mails", true).await.unwrap();
    assert!(status(&yard, "mails").await.paused);
    let claimed = server.claim(10).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [other]);
    assert!(server.claim_queue("mails", 10).await.is_empty());
}

pub(super) async fn a_resumed_queue_goes_on_in_order(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_paused("mails", true).await.unwrap();
    let ids = yard.add_all(&mails(5)).await;
    assert!(server.claim(10).await.is_empty());
    yard.store.set_paused("mails", false).await.unwrap();
    assert!(!status(&yard, "mails").await.paused);
    assert_eq!(server.claim(10).await.iter().map(|task| task.id).collect::<Vec<_>>(), ids);
}

/// No way of making a task runnable while its queue is paused may bypass the pause.
pub(super) async fn every_way_in_keeps_to_the_pause(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.add_all(&mails(4)).await;
    let claimed = server.claim(4).await;
    let parent = yard.add(task()).await;
    let parent_claim = server.claim_one().await;
    let child = yard.add(NewTask { parents: vec![parent], ..in_queue("mails") }).await;
    let timed = yard.add(NewTask { queue: "mails".into(), ..delayed(Duration::from_secs(5)) }).await;
    yard.store.set_paused("mails", true).await.unwrap();
    server.finish(&claimed[0], Outcome::Released).await;
    server.fail_and_retry(&claimed[1], Duration::from_secs(5), failure("once")).await;
    server.fail(&claimed[2]).await;
    yard.retry(claimed[2].id).await;
    server.done(&parent_claim).await;
    yard.advance(Duration::from_secs(5)).await;
    assert_eq!(yard.promote().await.enqueued, 2);
    for id in [claimed[0].id, claimed[1].id, claimed[2].id, child, timed] {
        yard.assert_state(id, TaskState::Enqueued).await;
    }
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    yard.assert_state(claimed[3].id, TaskState::Enqueued).await;
    let server = yard.server().await;
    assert!(server.claim(10).await.is_empty());
    assert_eq!(status(&yard, "mails").await.enqueued, 6);
    yard.store.set_paused("mails", false).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 6);
}

pub(super) async fn a_task_that_must_run_alone_keeps_to_the_pause(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(1)).await;
    let claimed = server.claim_one().await;
    server.finish(&claimed, Outcome::Beside).await;
    yard.store.set_paused("mails", true).await.unwrap();
    assert!(server.claim_alone().await.is_none());
    yard.store.set_paused("mails", false).await.unwrap();
    assert!(server.claim_alone().await.is_some());
}

pub(super) async fn what_runs_goes_on_in_a_paused_queue(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(1)).await;
    let claimed = server.claim_one().await;
    yard.store.set_paused("mails", true).await.unwrap();
    server.done(&claimed).await;
}

pub(super) async fn a_new_queue_can_be_configured(yard: Yard) {
    yard.store.set_paused("future", true).await.unwrap();
    yard.store.set_concurrency("narrow", Some(2)).await.unwrap();
    let future = status(&yard, "future").await;
    assert_eq!((future.paused, future.running_max, future.enqueued), (true, None, 0));
    assert_eq!(status(&yard, "narrow").await.running_max, Some(2));
    let server = yard.server().await;
    yard.add(in_queue("future")).await;
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn a_limit_holds_over_two_servers(yard: Yard) {
    let (first, second) = (yard.server().await, yard.server().await);
    yard.store.set_concurrency("mails", Some(3)).await.unwrap();
    yard.add_all(&mails(10)).await;
    let mut running = first.claim(2).await;
    assert_eq!(running.len(), 2);
    running.extend(second.claim(10).await);
    assert_eq!(running.len(), 3);
    assert!(first.claim(10).await.is_empty());
    assert_eq!(status(&yard, "mails").await.doing, 3);
    // Each task that ends makes room for one.
    first.done(&running[0]).await;
    assert_eq!(second.claim(10).await.len(), 1);
    assert!(first.claim(10).await.is_empty());
}

pub(super) async fn a_limit_holds_under_concurrent_claims(yard: Yard) {
    yard.store.set_concurrency("mails", Some(5)).await.unwrap();
    yard.add_all(&mails(100)).await;
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let server = yard.server().await;
        servers.spawn(async move { server.claim(4).await.len() + server.claim(4).await.len() });
    }
    let sum: usize = servers.join_all().await.iter().sum();
    assert!(sum <= 5, "{sum} run at once");
    let rest = yard.server().await.claim(10).await.len();
    assert_eq!(sum + rest, 5);
}

pub(super) async fn every_end_makes_room(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(1)).await.unwrap();
    yard.add_all(&mails(20)).await;
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
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    assert_eq!(yard.server().await.claim(10).await.len(), 1);
}

pub(super) async fn a_full_queue_holds_up_no_other(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(1)).await.unwrap();
    let urgent: Vec<NewTask> = mails(50).into_iter().map(|task| NewTask { priority: 9, ..task }).collect();
    yard.add_all(&urgent).await;
    let others = yard.add_all(&crate::factory::tasks(3)).await;
    let claimed = server.claim(10).await;
    assert_eq!(claimed.len(), 4);
    assert!(others.iter().all(|id| claimed.iter().any(|task| task.id == *id)));
}

pub(super) async fn a_lifted_limit_frees_all(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(6)).await;
    yard.store.set_concurrency("mails", Some(2)).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2);
    yard.store.set_concurrency("mails", Some(3)).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 1);
    yard.store.set_concurrency("mails", None).await.unwrap();
    assert_eq!(status(&yard, "mails").await.running_max, None);
    assert_eq!(server.claim(10).await.len(), 3);
}

pub(super) async fn a_lowered_limit_ends_nothing(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(6)).await;
    let running = server.claim(4).await;
    yard.store.set_concurrency("mails", Some(2)).await.unwrap();
    assert!(server.claim(10).await.is_empty());
    server.done_all(&running[..2]).await;
    assert!(server.claim(10).await.is_empty(), "two still run");
    server.done(&running[2]).await;
    assert_eq!(server.claim(10).await.len(), 1);
}

pub(super) async fn a_limit_is_shared_by_both_runtimes(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(2)).await.unwrap();
    yard.add_all(&mails(2)).await;
    yard.add_all(&mails(2).into_iter().map(|task| NewTask { runtime: Runtime::Python, ..task }).collect::<Vec<_>>())
        .await;
    assert_eq!(server.claim(1).await.len(), 1);
    assert_eq!(server.claim_python(10).await.len(), 1);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn pause_and_limit_together(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(2)).await.unwrap();
    yard.store.set_paused("mails", true).await.unwrap();
    yard.add_all(&mails(5)).await;
    assert!(server.claim(10).await.is_empty());
    let shown = status(&yard, "mails").await;
    assert_eq!((shown.paused, shown.running_max), (true, Some(2)));
    yard.store.set_paused("mails", false).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2, "the limit is still in force");
}

pub(super) async fn priority_holds_over_lanes(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(5)).await.unwrap();
    let urgent = NewTask { priority: 9, ..in_queue("mails") };
    yard.add_all(&[task(), urgent.clone()]).await;
    assert_eq!(server.claim_one().await.id, urgent.id, "a limit of a queue does not affect its rank");
}

pub(super) async fn a_filter_by_queue_keeps_to_the_limit(yard: Yard) {
    let server = yard.server().await;
    yard.store.set_concurrency("mails", Some(1)).await.unwrap();
    yard.add_all(&mails(3)).await;
    let queues = Some(vec!["mails".to_owned(), "default".to_owned()]);
    let reply = server.claim_with(&ClaimRequest { queues, ..request(server.id, 10) }).await;
    assert_eq!(reply.tasks.len(), 1);
    assert!(server.claim_queue("mails", 10).await.is_empty());
}

async fn set_apart(yard: &Yard, queues: &[&str]) -> usize {
    let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let mut steps = 1;
    while yard.store.set_apart(&queues).await.unwrap().more {
        steps += 1;
    }
    steps
}

pub(super) async fn a_queue_set_apart_is_claimed_as_before(yard: Yard) {
    let server = yard.server().await;
    let order = |claimed: Vec<Claimed>| claimed.iter().map(|task| task.id).collect::<Vec<_>>();
    let before = yard.add_all(&mails(2)).await;
    let plain = yard.add(task()).await;
    set_apart(&yard, &["mails"]).await;
    set_apart(&yard, &["mails", "unheard of"]).await;
    let after = yard.add_all(&mails(2)).await;
    let urgent = yard.add(NewTask { priority: 1, ..in_queue("mails") }).await;
    let other = yard.add(task()).await;
    // A server of all queues gets all tasks, in one order; a server of this queue gets only its tasks; and a server of
    // two queues gets both.
    assert_eq!(order(server.claim(2).await), [urgent, before[0]]);
    assert_eq!(order(server.claim_queue("mails", 2).await), [before[1], after[0]]);
    let both = ClaimRequest { queues: Some(vec!["mails".into(), "default".into()]), ..request(server.id, 10) };
    assert_eq!(order(server.claim_with(&both).await.tasks), [plain, after[1], other]);
    assert!(server.claim_queue("unheard of", 1).await.is_empty());
    let status = status(&yard, "mails").await;
    assert_eq!((status.paused, status.running_max, status.enqueued, status.doing), (false, None, 0, 5));
}

pub(super) async fn a_queue_set_apart_can_be_paused_and_limited(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(4)).await;
    set_apart(&yard, &["mails"]).await;
    yard.store.set_paused("mails", true).await.unwrap();
    assert!(server.claim(10).await.is_empty());
    assert!(server.claim_queue("mails", 10).await.is_empty());
    yard.store.set_concurrency("mails", Some(1)).await.unwrap();
    yard.store.set_paused("mails", false).await.unwrap();
    let claimed = server.claim_queue("mails", 10).await;
    assert_eq!(claimed.len(), 1);
    assert!(server.claim(10).await.is_empty());
    yard.store.set_concurrency("mails", None).await.unwrap();
    assert_eq!(server.claim_queue("mails", 2).await.len(), 2);
    server.finish(&claimed[0], Outcome::Released).await;
    assert_eq!(server.claim_queue("mails", 10).await.len(), 2);
}

pub(super) async fn thousands_are_set_apart_in_steps(yard: Yard) {
    let server = yard.server().await;
    yard.add_all(&mails(21_000)).await;
    yard.add_all(&tasks(10)).await;
    // Between two steps some rows are in one partition and some in the other: claims get them all the same.
    let queues = ["mails".to_owned()];
    assert!(yard.store.set_apart(&queues).await.unwrap().more);
    assert_eq!(server.claim_queue("mails", 500).await.len(), 500);
    assert!(set_apart(&yard, &["mails"]).await >= 2);
    assert_eq!(server.claim_queue("mails", 30_000).await.len(), 20_500);
    assert_eq!(server.claim(3_000).await.len(), 10);
}

pub(super) async fn figures_of_a_queue(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    yard.add_all(&mails(3)).await;
    server.claim_one().await;
    yard.add(NewTask { queue: "mails".into(), ..delayed(Duration::from_secs(3_600)) }).await;
    yard.advance(Duration::from_secs(7)).await;
    let shown = status(&yard, "mails").await;
    assert_eq!((shown.enqueued, shown.waiting, shown.doing), (2, 1, 1));
    assert_eq!(shown.oldest_enqueued, Some(Duration::from_secs(7)));
    yard.store.set_paused("empty", true).await.unwrap();
    let empty = status(&yard, "empty").await;
    assert_eq!((empty.enqueued, empty.waiting, empty.doing, empty.oldest_enqueued), (0, 0, 0, None));
}

pub(super) async fn any_text_is_a_queue(yard: Yard) {
    let server = yard.server().await;
    let name = "it's; drop table queue; -- % _ \\ \"ünïcode\"";
    yard.add(in_queue(name)).await;
    yard.store.set_paused(name, true).await.unwrap();
    assert!(server.claim(1).await.is_empty());
    yard.store.set_paused(name, false).await.unwrap();
    assert_eq!(server.claim_queue(name, 1).await[0].queue, name);
}
