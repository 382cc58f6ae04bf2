//! Dead letters that hooks are told of: once each, by one server at a time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestRunner};
use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{CRASHES_MAX, DEATH_TOLD_WITHIN, DeadTake, Outcome};
use taskyard_core::task::NewTask;
use taskyard_core::{ServerId, TaskId, TaskState};

use super::{Harness, TestServer};
use crate::factory::{LEASE, child_with, failure, in_queue, python, task};

fn rust(server: &TestServer, limit: usize) -> DeadTake {
    DeadTake { server: server.id, runtime: Runtime::Rust, queues: None, namespace: None, limit }
}

impl Harness {
    async fn dead_take(&self, request: &DeadTake) -> Vec<TaskId> {
        let taken = self.store.dead_take(request).await.unwrap();
        assert!(taken.len() <= request.limit, "never more than asked for");
        taken
    }

    async fn take(&self, server: &TestServer) -> Vec<TaskId> {
        self.dead_take(&rust(server, 100)).await
    }

    async fn told(&self, server: &TestServer, ids: &[TaskId]) -> usize {
        self.store.dead_told(server.id, ids, true).await.unwrap()
    }

    async fn dead(&self, server: &TestServer) -> TaskId {
        let id = self.ended(server, TaskState::Failed).await;
        // The next one dies later, so that their order is known.
        self.advance(Duration::from_millis(1)).await;
        id
    }
}

pub(super) async fn each_death_is_taken_by_one_server(harness: Harness) {
    let (one, other) = (harness.server().await, harness.server().await);
    let (first, second, third) = (harness.dead(&one).await, harness.dead(&one).await, harness.dead(&other).await);
    harness.ended(&one, TaskState::Done).await;
    harness.ended(&one, TaskState::Cancelled).await;
    assert_eq!(harness.dead_take(&rust(&one, 2)).await, [first, second], "those that died first");
    assert_eq!(harness.take(&other).await, [third]);
    assert_eq!(harness.take(&harness.server().await).await, []);
}

pub(super) async fn what_was_told_is_told_no_more(harness: Harness) {
    let (one, other) = (harness.server().await, harness.server().await);
    let (first, second) = (harness.dead(&one).await, harness.dead(&one).await);
    harness.take(&one).await;
    assert_eq!(harness.told(&other, &[first]).await, 0, "only who took it knows");
    assert_eq!(harness.told(&one, &[first, TaskId::generate()]).await, 1);
    assert_eq!(harness.told(&one, &[first]).await, 0);
    assert_eq!(harness.take(&one).await, [second]);
    assert_eq!(harness.told(&one, &[second]).await, 1);
    assert_eq!(harness.take(&one).await, []);
    harness.assert_state(first, TaskState::Failed).await;
}

pub(super) async fn the_taker_gets_again_what_it_took(harness: Harness) {
    let server = harness.server().await;
    let id = harness.dead(&server).await;
    for _ in 0..3 {
        assert_eq!(harness.take(&server).await, [id]);
    }
}

pub(super) async fn what_a_dead_taker_had_goes_to_another(harness: Harness) {
    let (one, left, other) = (harness.server().await, harness.server().await, harness.server().await);
    let first = harness.dead(&one).await;
    assert_eq!(harness.take(&one).await, [first]);
    let second = harness.dead(&left).await;
    assert_eq!(harness.take(&left).await, [second]);
    harness.store.server_leave(left.id).await.unwrap();
    assert_eq!(harness.take(&other).await, [second]);
    harness.advance(LEASE - Duration::from_secs(1)).await;
    other.beat().await;
    harness.advance(Duration::from_secs(2)).await;
    assert_eq!(harness.take(&other).await, [second], "a lease that is over is not yet a death");
    harness.rescue(one.id).await;
    assert_eq!(harness.take(&other).await, [first, second]);
    assert_eq!(harness.told(&one, &[first]).await, 0, "it comes too late");
    assert_eq!(harness.told(&other, &[first, second]).await, 2);
}

pub(super) async fn what_is_left_to_others_is_theirs(harness: Harness) {
    let (one, other) = (harness.server().await, harness.server().await);
    let id = harness.dead(&one).await;
    assert_eq!(harness.take(&one).await, [id]);
    assert_eq!(harness.store.dead_told(one.id, &[id], false).await.unwrap(), 1);
    assert_eq!(harness.take(&other).await, [id]);
    assert_eq!(harness.take(&one).await, []);
}

pub(super) async fn only_of_its_runtime_and_queues(harness: Harness) {
    let server = harness.server().await;
    let snake = harness.add(python()).await;
    let claimed = server.claim_python(1).await.remove(0);
    server.fail(&claimed).await;
    let claimed = harness.start(&server, in_queue("mail")).await;
    server.fail(&claimed).await;
    let mail = claimed.id;
    let of = |queues: &[&str]| DeadTake {
        queues: Some(queues.iter().map(|queue| (*queue).to_owned()).collect()),
        ..rust(&server, 10)
    };
    assert_eq!(harness.dead_take(&of(&["default", "no \"such\" queue"])).await, []);
    assert_eq!(harness.dead_take(&DeadTake { runtime: Runtime::Python, ..of(&["mail"]) }).await, []);
    assert_eq!(harness.dead_take(&of(&["default", "mail"])).await, [mail]);
    assert_eq!(harness.dead_take(&DeadTake { runtime: Runtime::Python, ..rust(&server, 10) }).await, [snake]);
}

pub(super) async fn only_of_its_namespace(harness: Harness) {
    let server = harness.server().await;
    let mut dead = Vec::new();
    for kind in ["shop/app:f", "shopper/app:f", "app:f"] {
        let claimed = harness.start(&server, crate::factory::of_kind(kind)).await;
        server.fail(&claimed).await;
        dead.push(claimed.id);
    }
    let of = |namespace: Option<&str>| DeadTake {
        namespace: namespace.map(|text| text.parse().expect("a namespace")),
        ..rust(&server, 10)
    };
    assert_eq!(harness.dead_take(&of(Some("sho"))).await, []);
    assert_eq!(harness.dead_take(&of(Some("shop"))).await, [dead[0]]);
    assert_eq!(harness.told(&server, &dead[..1]).await, 1);
    assert_eq!(harness.dead_take(&of(None)).await, dead[1..]);
}

pub(super) async fn one_that_was_declared_dead_gets_none(harness: Harness) {
    let (dead, other) = (harness.server().await, harness.server().await);
    let id = harness.dead(&dead).await;
    harness.advance(LEASE * 2).await;
    harness.rescue(dead.id).await;
    assert_eq!(harness.take(&dead).await, []);
    let stranger = DeadTake { server: ServerId::generate(), ..rust(&dead, 10) };
    assert_eq!(harness.dead_take(&stranger).await, []);
    assert_eq!(harness.take(&other).await, [id]);
}

pub(super) async fn a_retry_takes_the_letter_away(harness: Harness) {
    let server = harness.server().await;
    let (retried, purged) = (harness.dead(&server).await, harness.dead(&server).await);
    assert_eq!(harness.take(&server).await.len(), 2);
    harness.retry(retried).await;
    assert_eq!(harness.store.purge(&[purged]).await.unwrap(), 1);
    assert_eq!(harness.take(&server).await, []);
    assert_eq!(harness.told(&server, &[retried, purged]).await, 0);
}

pub(super) async fn who_dies_again_is_told_again(harness: Harness) {
    let server = harness.server().await;
    let told = harness.dead(&server).await;
    assert_eq!(harness.take(&server).await, [told]);
    assert_eq!(harness.told(&server, &[told]).await, 1);
    harness.retry(told).await;
    let claimed = server.claim_one().await;
    server.fail(&claimed).await;
    let other = harness.server().await;
    assert_eq!(
        harness.take(&other).await,
        [told],
        "the server that reported the first death does not report the second"
    );
    assert_eq!(harness.told(&server, &[told]).await, 0);
}

pub(super) async fn what_died_long_ago_is_told_no_more(harness: Harness) {
    let server = harness.server().await;
    harness.dead(&server).await;
    harness.advance(DEATH_TOLD_WITHIN - Duration::from_secs(60)).await;
    // The earlier server's lease is over, which no server has noticed.
    let server = harness.server().await;
    let young = harness.dead(&server).await;
    assert_eq!(harness.take(&server).await.len(), 2);
    harness.advance(Duration::from_secs(61)).await;
    assert_eq!(harness.take(&server).await, [young]);
}

pub(super) async fn every_way_to_die_counts(harness: Harness) {
    harness.freeze().await;
    let server = harness.server().await;
    // By its end, with its descendants.
    let parent = harness.start(&server, task()).await;
    let child = harness.add(child_with(OnParentFailure::Fail, &[parent.id])).await;
    server.fail(&parent).await;
    harness.cascade().await;
    // By being added below a dead task.
    let late = harness.add(child_with(OnParentFailure::Fail, &[parent.id])).await;
    // By killing its server.
    let poison = harness.start(&server, NewTask { at_most_once: true, ..task() }).await;
    harness.advance(LEASE * 2).await;
    harness.rescue(server.id).await;
    // By crashing.
    let server = harness.server().await;
    let crashing = harness.add(task()).await;
    for _ in 0..CRASHES_MAX {
        let claimed = match server.claim_alone().await {
            Some(claimed) => claimed,
            None => server.claim_one().await,
        };
        assert_eq!(claimed.id, crashing);
        server.finish(&claimed, Outcome::Crashed(failure("it crashed"))).await;
    }
    let dead: HashSet<TaskId> = [parent.id, child, late, poison.id, crashing].into();
    for id in &dead {
        harness.assert_state(*id, TaskState::Failed).await;
    }
    assert_eq!(harness.take(&server).await.into_iter().collect::<HashSet<_>>(), dead);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Die,
    Take(usize),
    Tell(usize),
    Leave(usize),
    Vanish(usize),
    Retry(usize),
}

/// Random histories compared with the rule: which server holds which dead letters, and that none is told twice while
/// its teller lives.
pub(super) async fn whatever_happens_each_death_is_told_once(harness: Harness) {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    let step = prop_oneof![
        3 => Just(Step::Die),
        3 => (0_usize..3).prop_map(Step::Take),
        3 => (0_usize..3).prop_map(Step::Tell),
        1 => (0_usize..3).prop_map(Step::Leave),
        1 => (0_usize..3).prop_map(Step::Vanish),
        1 => (0_usize..20).prop_map(Step::Retry),
    ];
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(7), ..Config::default() });
    let steps = proptest::collection::vec(step, 150..=150).new_tree(&mut runner).unwrap().current();
    harness.freeze().await;
    let runs = harness.server().await;
    let mut servers = vec![harness.server().await, harness.server().await, harness.server().await];
    // The server that has taken each dead letter that was not told; told ones are removed.
    let mut open: HashMap<TaskId, Option<ServerId>> = HashMap::new();
    let mut told: HashSet<TaskId> = HashSet::new();
    for step in steps {
        match step {
            Step::Die => {
                open.insert(harness.dead(&runs).await, None);
            }
            Step::Take(at) => {
                let server = &servers[at];
                let taken: HashSet<TaskId> = harness.take(server).await.into_iter().collect();
                for (id, taker) in &mut open {
                    let alive = |taker: ServerId| servers.iter().any(|server| server.id == taker);
                    let free = taker.is_none_or(|taker| taker == server.id || !alive(taker));
                    assert_eq!(taken.contains(id), free, "{id} of {taker:?} for {}", server.id);
                    if free {
                        *taker = Some(server.id);
                    }
                }
                assert!(taken.iter().all(|id| open.contains_key(id)), "something told is told again");
            }
            Step::Tell(at) => {
                let server = &servers[at];
                let all: Vec<TaskId> = open.keys().copied().chain(told.iter().copied()).collect();
                let mine: Vec<TaskId> =
                    open.iter().filter(|(_, taker)| **taker == Some(server.id)).map(|(id, _)| *id).collect();
                assert_eq!(harness.told(server, &all).await, mine.len());
                for id in mine {
                    open.remove(&id);
                    told.insert(id);
                }
            }
            Step::Leave(at) => {
                harness.store.server_leave(servers[at].id).await.unwrap();
                servers[at] = harness.server().await;
            }
            Step::Vanish(at) => {
                harness.advance(LEASE + Duration::from_secs(1)).await;
                for (other, server) in servers.iter().enumerate() {
                    if other != at {
                        server.beat().await;
                    }
                }
                runs.beat().await;
                harness.rescue(servers[at].id).await;
                servers[at] = harness.server().await;
            }
            Step::Retry(at) => {
                let Some(id) = open.keys().chain(&told).nth(at).copied() else { continue };
                harness.retry(id).await;
                open.remove(&id);
                told.remove(&id);
                let claimed = runs.claim_one().await;
                runs.done(&claimed).await;
            }
        }
    }
    // The last server tells the rest.
    let last = harness.server().await;
    for server in servers {
        harness.store.server_leave(server.id).await.unwrap();
    }
    let rest: HashSet<TaskId> = harness.take(&last).await.into_iter().collect();
    assert_eq!(rest, open.keys().copied().collect());
}
