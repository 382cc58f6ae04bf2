//! The number of tasks of a queue that start per interval, over all servers.

use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestRunner};
use taskyard_core::store::{LOST_ALONE_MIN, RATE_LOOK_MIN, TestClock};
use taskyard_core::task::NewTask;
use taskyard_core::{Rate, TaskId};

use super::{Harness, TestServer};
use crate::factory::{LEASE, in_queue, python, task};

const SECOND: Duration = Duration::from_secs(1);

fn mails(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| in_queue("mails")).collect()
}

impl Harness {
    /// Sets the number of starts of mails per second.
    async fn per_second(&self, count: u32) -> Rate {
        let rate = Rate::new(count, SECOND).unwrap();
        self.store.set_rate("mails", Some(rate)).await.unwrap();
        rate
    }
}

pub(super) async fn a_bucket_of_starts_empties_and_fills(harness: Harness) {
    harness.freeze().await;
    let (first, second) = (harness.server().await, harness.server().await);
    let rate = harness.per_second(4).await;
    let ids = harness.add_all(&mails(20)).await;
    assert_eq!(first.claim(3).await.len(), 3);
    assert_eq!(second.claim(10).await.len(), 1);
    assert!(first.claim(10).await.is_empty());
    harness.advance(SECOND / 4 - Duration::from_micros(1)).await;
    assert!(first.claim(10).await.is_empty(), "a microsecond too early");
    harness.advance(Duration::from_micros(1)).await;
    assert_eq!(second.claim_one().await.id, ids[4]);
    harness.advance(SECOND * 60).await;
    // The earlier leases are over.
    let server = harness.server().await;
    assert_eq!(server.claim(10).await.len(), 4, "no more than a bucket");
    let stats = harness.store.queues().await.unwrap();
    assert_eq!(stats.iter().find(|queue| queue.name == "mails").unwrap().rate, Some(rate));
}

pub(super) async fn it_says_when_more_may_start(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(2).await;
    assert_eq!(harness.promote().await.next_start, None, "nothing waits");
    harness.add_all(&mails(5)).await;
    let report = harness.promote().await;
    assert!(report.freed && report.next_start.is_some(), "{report:?}");
    assert_eq!(server.claim(10).await.len(), 2);
    let report = harness.promote().await;
    assert_eq!((report.freed, report.next_start), (false, Some(SECOND / 2)));
    harness.advance(SECOND / 4).await;
    assert_eq!(harness.promote().await.next_start, Some(SECOND / 4));
    harness.advance(SECOND / 4).await;
    assert!(harness.promote().await.freed);
    assert_eq!(server.claim(10).await.len(), 1);
    // A rate of thousands does not keep servers busy with checking.
    harness.per_second(100_000).await;
    assert_eq!(harness.promote().await.next_start, Some(RATE_LOOK_MIN));
}

pub(super) async fn what_waits_for_its_rate_holds_up_no_other(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(1).await;
    harness.add_all(&mails(1_000)).await;
    let other = harness.add(task()).await;
    let snake = harness.add(NewTask { queue: "mails".into(), ..python() }).await;
    let claimed = server.claim(10).await;
    assert_eq!((claimed.len(), claimed[1].id), (2, other));
    // One bucket for all languages.
    assert!(server.claim_python(10).await.is_empty());
    harness.advance(SECOND).await;
    assert_eq!(server.claim_python(10).await[0].id, snake);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn of_concurrent_claims_none_takes_too_many(harness: Harness) {
    harness.freeze().await;
    harness.per_second(8).await;
    harness.add_all(&mails(100)).await;
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let server = harness.server().await;
        servers.spawn(async move { server.claim(3).await.len() + server.claim(3).await.len() });
    }
    let sum: usize = servers.join_all().await.iter().sum();
    assert!(sum <= 8, "{sum} started");
    assert_eq!(sum + harness.server().await.claim(10).await.len(), 8);
}

pub(super) async fn what_was_there_before_keeps_to_it(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.add_all(&mails(10)).await;
    assert_eq!(server.claim(2).await.len(), 2);
    harness.per_second(3).await;
    assert_eq!(server.claim(10).await.len(), 3);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn a_clock_that_was_ahead_holds_nothing_up(harness: Harness) {
    let now = harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(4).await;
    harness.add_all(&mails(20)).await;
    harness.store.set_clock(TestClock::Frozen(now + 3_600 * SECOND)).await.unwrap();
    assert_eq!(harness.server().await.claim(10).await.len(), 4);
    harness.store.set_clock(TestClock::Frozen(now)).await.unwrap();
    let report = harness.promote().await;
    assert_eq!((report.freed, report.next_start), (false, Some(SECOND / 4)), "the bucket is empty and fills");
    harness.store.set_clock(TestClock::Frozen(now + SECOND / 4)).await.unwrap();
    assert!(harness.promote().await.freed);
    assert_eq!(server.claim(10).await.len(), 1);
    harness.store.set_clock(TestClock::Frozen(now + 10 * SECOND)).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 4);
}

pub(super) async fn a_shorter_period_counts_from_now(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.store.set_rate("mails", Some(Rate::new(4, 3_600 * SECOND).unwrap())).await.unwrap();
    harness.add_all(&mails(20)).await;
    assert_eq!(server.claim(10).await.len(), 4);
    harness.per_second(4).await;
    harness.promote().await;
    harness.advance(SECOND / 4).await;
    assert_eq!(server.claim(10).await.len(), 1);
}

pub(super) async fn a_lifted_rate_frees_all(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(1).await;
    let ids = harness.add_all(&mails(6)).await;
    assert_eq!(server.claim(10).await.len(), 1);
    harness.store.set_rate("mails", None).await.unwrap();
    let claimed: Vec<TaskId> = server.claim(10).await.into_iter().map(|claimed| claimed.id).collect();
    assert_eq!(claimed, ids[1..]);
    assert_eq!(harness.promote().await.next_start, None);
}

pub(super) async fn the_same_rate_again_changes_nothing(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(2).await;
    harness.add_all(&mails(9)).await;
    assert_eq!(server.claim(10).await.len(), 2);
    harness.per_second(2).await;
    assert!(server.claim(10).await.is_empty(), "every start of an application says it anew");
    // Another rate does not return the starts that have been taken, either.
    harness.per_second(3).await;
    assert!(server.claim(10).await.is_empty());
    harness.advance(SECOND).await;
    assert_eq!(server.claim(10).await.len(), 3);
}

pub(super) async fn with_a_limit_and_a_pause(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    harness.per_second(4).await;
    harness.store.set_limit("mails", Some(3)).await.unwrap();
    harness.add_all(&mails(9)).await;
    let running = server.claim(10).await;
    assert_eq!(running.len(), 3);
    server.done_all(&running).await;
    assert_eq!(server.claim(10).await.len(), 1, "the bucket is empty");
    harness.advance(SECOND * 2).await;
    harness.store.set_paused("mails", true).await.unwrap();
    assert!(server.claim(10).await.is_empty());
    let report = harness.promote().await;
    assert_eq!((report.freed, report.next_start), (false, None));
    harness.store.set_paused("mails", false).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2);
    // Lifted one after the other.
    harness.store.set_limit("mails", None).await.unwrap();
    assert_eq!(server.claim(10).await.len(), 2);
    assert!(server.claim(10).await.is_empty());
}

pub(super) async fn what_must_run_alone_keeps_to_it(harness: Harness) {
    harness.freeze().await;
    let id = harness.add(in_queue("mails")).await;
    for _ in 0..LOST_ALONE_MIN {
        let server = harness.server().await;
        server.claim_one().await;
        harness.advance(LEASE * 2).await;
        harness.rescue(server.id).await;
    }
    let server = harness.server().await;
    harness.per_second(1).await;
    let other = harness.add(in_queue("mails")).await;
    // The one start is reserved for it, however many other tasks there are.
    let reply = server.claim_with(&crate::factory::request(server.id, 10)).await;
    assert!(reply.tasks.is_empty() && reply.alone_waiting);
    assert_eq!(server.claim_alone().await.map(|claimed| claimed.id), Some(id));
    assert!(server.claim_alone().await.is_none());
    harness.advance(SECOND).await;
    assert_eq!(server.claim_one().await.id, other);
    assert!(harness.promote().await.next_start.is_none());
    // While there is no start available for one, no other task has to end for it.
    let lost = harness.add(in_queue("mails")).await;
    for _ in 0..LOST_ALONE_MIN {
        harness.advance(SECOND).await;
        let server = harness.server().await;
        assert_eq!(server.claim_one().await.id, lost);
        harness.advance(LEASE * 2).await;
        harness.rescue(server.id).await;
    }
    let server = harness.server().await;
    let first = harness.start(&server, in_queue("other")).await;
    harness.add_all(&mails(1)).await;
    harness.store.set_rate("mails", Some(Rate::new(1, SECOND * 3_600).unwrap())).await.unwrap();
    assert!(harness.promote().await.freed);
    assert_eq!(server.claim_alone().await.map(|claimed| claimed.id), Some(lost));
    let again = harness.add(in_queue("mails")).await;
    let reply = server.claim_with(&crate::factory::request(server.id, 10)).await;
    assert!(reply.tasks.is_empty() && !reply.alone_waiting, "{again} waits for its start, and no server waits for it");
    assert_eq!(harness.promote().await.next_start, Some(SECOND * 3_600));
    server.done(&first).await;
}

/// Claims, additions and time in any order: each claim gets what [`Rate`] allows, as far as there are tasks.
pub(super) async fn whatever_happens_a_rate_is_kept(harness: Harness) {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(11), ..Config::default() });
    let step = (0_u64..400_000, 0_usize..6, 1_usize..9);
    let steps = proptest::collection::vec(step, 120..=120).new_tree(&mut runner).unwrap().current();
    let start = harness.freeze().await;
    let server: TestServer = harness.server().await;
    let rate = harness.per_second(7).await;
    let (mut now, mut full_at, mut there) = (0_i64, 0_i64, 0_u32);
    for (passed, added, wanted) in steps {
        harness.advance(Duration::from_micros(passed)).await;
        server.beat().await;
        now += i64::try_from(passed).unwrap();
        harness.add_all(&mails(added)).await;
        there += u32::try_from(added).unwrap();
        let expected = rate.free(full_at, now).min(there).min(u32::try_from(wanted).unwrap());
        let claimed = server.claim(wanted).await;
        assert_eq!(claimed.len(), expected as usize, "{now} us after {start}");
        server.done_all(&claimed).await;
        full_at = rate.after(full_at, now, expected);
        there -= expected;
        let report = harness.promote().await;
        assert_eq!(report.freed, there > 0 && rate.free(full_at, now) > 0);
        let due = (there > 0).then(|| rate.next(full_at, now).max(RATE_LOOK_MIN));
        assert_eq!(report.next_start, due);
    }
}
