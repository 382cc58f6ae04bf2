//! Dead letters that hooks are told of: once each, by one server at a time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestRunner};
use taskyard_core::state::{OnParentFailure, Runtime};
use taskyard_core::store::{CRASHES_MAX, DEATH_TOLD_WITHIN, DeadTake, Outcome};
use taskyard_core::task::NewTask;
use taskyard_core::{ServerId, TaskId, TaskState};

use super::{TestServer, Yard};
use crate::factory::{LEASE, child_with, failure, in_queue, python, task};

fn rust(server: &TestServer, limit: usize) -> DeadTake {
    DeadTake { server: server.id, runtime: Runtime::Rust, queues: None, namespace: None, limit }
}

impl Yard {
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

pub(super) async fn each_death_is_taken_by_one_server(yard: Yard) {
    let (one, other) = (yard.server().await, yard.server().await);
    let (first, second, third) = (yard.dead(&one).await, yard.dead(&one).await, yard.dead(&other).await);
    yard.ended(&one, TaskState::Done).await;
    yard.ended(&one, TaskState::Cancelled).await;
    assert_eq!(yard.dead_take(&rust(&one, 2)).await, [first, second], "those that died first");
    assert_eq!(yard.take(&other).await, [third]);
    assert_eq!(yard.take(&yard.server().await).await, []);
}

pub(super) async fn what_was_told_is_told_no_more(yard: Yard) {
    let (one, other) = (yard.server().await, yard.server().await);
    let (first, second) = (yard.dead(&one).await, yard.dead(&one).await);
    yard.take(&one).await;
    assert_eq!(yard.told(&other, &[first]).await, 0, "only who took it knows");
    assert_eq!(yard.told(&one, &[first, TaskId::generate()]).await, 1);
    assert_eq!(yard.told(&one, &[first]).await, 0);
    assert_eq!(yard.take(&one).await, [second]);
    assert_eq!(yard.told(&one, &[second]).await, 1);
    assert_eq!(yard.take(&one).await, []);
    yard.assert_state(first, TaskState::Failed).await;
}

pub(super) async fn the_taker_gets_again_what_it_took(yard: Yard) {
    let server = yard.server().await;
    let id = yard.dead(&server).await;
    for _ in 0..3 {
        assert_eq!(yard.take(&server).await, [id]);
    }
}

pub(super) async fn what_a_dead_taker_had_goes_to_another(yard: Yard) {
    let (one, left, other) = (yard.server().await, yard.server().await, yard.server().await);
    let first = yard.dead(&one).await;
    assert_eq!(yard.take(&one).await, [first]);
    let second = yard.dead(&left).await;
    assert_eq!(yard.take(&left).await, [second]);
    yard.store.server_leave(left.id).await.unwrap();
    assert_eq!(yard.take(&other).await, [second]);
    yard.advance(LEASE - Duration::from_secs(1)).await;
    other.beat().await;
    yard.advance(Duration::from_secs(2)).await;
    assert_eq!(yard.take(&other).await, [second], "a lease that is over is not yet a death");
    yard.rescue(one.id).await;
    assert_eq!(yard.take(&other).await, [first, second]);
    assert_eq!(yard.told(&one, &[first]).await, 0, "it comes too late");
    assert_eq!(yard.told(&other, &[first, second]).await, 2);
}

pub(super) async fn what_is_left_to_others_is_theirs(yard: Yard) {
    let (one, other) = (yard.server().await, yard.server().await);
    let id = yard.dead(&one).await;
    assert_eq!(yard.take(&one).await, [id]);
    assert_eq!(yard.store.dead_told(one.id, &[id], false).await.unwrap(), 1);
    assert_eq!(yard.take(&other).await, [id]);
    assert_eq!(yard.take(&one).await, []);
}

pub(super) async fn only_of_its_runtime_and_queues(yard: Yard) {
    let server = yard.server().await;
    let snake = yard.add(python()).await;
    let claimed = server.claim_python(1).await.remove(0);
    server.fail(&claimed).await;
    let claimed = yard.start(&server, in_queue("mail")).await;
    server.fail(&claimed).await;
    let mail = claimed.id;
    let of = |queues: &[&str]| DeadTake {
        queues: Some(queues.iter().map(|queue| (*queue).to_owned()).collect()),
        ..rust(&server, 10)
    };
    assert_eq!(yard.dead_take(&of(&["default", "no \"such\" queue"])).await, []);
    assert_eq!(yard.dead_take(&DeadTake { runtime: Runtime::Python, ..of(&["mail"]) }).await, []);
    assert_eq!(yard.dead_take(&of(&["default", "mail"])).await, [mail]);
    assert_eq!(yard.dead_take(&DeadTake { runtime: Runtime::Python, ..rust(&server, 10) }).await, [snake]);
}

pub(super) async fn only_of_its_namespace(yard: Yard) {
    let server = yard.server().await;
    let mut dead = Vec::new();
    for kind in ["shop/app:f", "shopper/app:f", "app:f"] {
        let claimed = yard.start(&server, crate::factory::of_kind(kind)).await;
        server.fail(&claimed).await;
        dead.push(claimed.id);
    }
    let of = |namespace: Option<&str>| DeadTake {
        namespace: namespace.map(|text| text.parse().expect("a namespace")),
        ..rust(&server, 10)
    };
    assert_eq!(yard.dead_take(&of(Some("sho"))).await, []);
    assert_eq!(yard.dead_take(&of(Some("shop"))).await, [dead[0]]);
    assert_eq!(yard.told(&server, &dead[..1]).await, 1);
    assert_eq!(yard.dead_take(&of(None)).await, dead[1..]);
}

pub(super) async fn one_that_was_declared_dead_gets_none(yard: Yard) {
    let (dead, other) = (yard.server().await, yard.server().await);
    let id = yard.dead(&dead).await;
    yard.advance(LEASE * 2).await;
    yard.rescue(dead.id).await;
    assert_eq!(yard.take(&dead).await, []);
    let stranger = DeadTake { server: ServerId::generate(), ..rust(&dead, 10) };
    assert_eq!(yard.dead_take(&stranger).await, []);
    assert_eq!(yard.take(&other).await, [id]);
}

pub(super) async fn a_retry_takes_the_letter_away(yard: Yard) {
    let server = yard.server().await;
    let (retried, purged) = (yard.dead(&server).await, yard.dead(&server).await);
    assert_eq!(yard.take(&server).await.len(), 2);
    yard.retry(retried).await;
    assert_eq!(yard.store.purge(&[purged]).await.unwrap(), 1);
    assert_eq!(yard.take(&server).await, []);
    assert_eq!(yard.told(&server, &[retried, purged]).await, 0);
}

pub(super) async fn who_dies_again_is_told_again(yard: Yard) {
    let server = yard.server().await;
    let told = yard.dead(&server).await;
    assert_eq!(yard.take(&server).await, [told]);
    assert_eq!(yard.told(&server, &[told]).await, 1);
    yard.retry(told).await;
    let claimed = server.claim_one().await;
    server.fail(&claimed).await;
    let other = yard.server().await;
    assert_eq!(yard.take(&other).await, [told], "the server that reported the first death does not report the second");
    assert_eq!(yard.told(&server, &[told]).await, 0);
}

pub(super) async fn what_died_long_ago_is_told_no_more(yard: Yard) {
    let server = yard.server().await;
    yard.dead(&server).await;
    yard.advance(DEATH_TOLD_WITHIN - Duration::from_secs(60)).await;
    // The earlier server's lease is over, which no server has noticed.
    let server = yard.server().await;
    let young = yard.dead(&server).await;
    assert_eq!(yard.take(&server).await.len(), 2);
    yard.advance(Duration::from_secs(61)).await;
    assert_eq!(yard.take(&server).await, [young]);
}

pub(super) async fn every_way_to_die_counts(yard: Yard) {
    yard.freeze().await;
    let server = yard.server().await;
    // By its end, with its descendants.
    let parent = yard.start(&server, task()).await;
    let child = yard.add(child_with(OnParentFailure::Fail, &[parent.id])).await;
    server.fail(&parent).await;
    yard.cascade().await;
    // By being added below a dead task.
    let late = yard.add(child_with(OnParentFailure::Fail, &[parent.id])).await;
    // By killing its server.
    let poison = yard.start(&server, NewTask { at_most_once: true, ..task() }).await;
    yard.advance(LEASE * 2).await;
    yard.rescue(server.id).await;
    // By crashing.
    let server = yard.server().await;
    let crashing = yard.add(task()).await;
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
        yard.assert_state(*id, TaskState::Failed).await;
    }
    assert_eq!(yard.take(&server).await.into_iter().collect::<HashSet<_>>(), dead);
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
pub(super) async fn whatever_happens_each_death_is_told_once(yard: Yard) {
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
    yard.freeze().await;
    let runs = yard.server().await;
    let mut servers = vec![yard.server().await, yard.server().await, yard.server().await];
    // The server that has taken each dead letter that was not told; told ones are removed.
    let mut open: HashMap<TaskId, Option<ServerId>> = HashMap::new();
    let mut told: HashSet<TaskId> = HashSet::new();
    for step in steps {
        match step {
            Step::Die => {
                open.insert(yard.dead(&runs).await, None);
            }
            Step::Take(at) => {
                let server = &servers[at];
                let taken: HashSet<TaskId> = yard.take(server).await.into_iter().collect();
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
                assert_eq!(yard.told(server, &all).await, mine.len());
                for id in mine {
                    open.remove(&id);
                    told.insert(id);
                }
            }
            Step::Leave(at) => {
                yard.store.server_leave(servers[at].id).await.unwrap();
                servers[at] = yard.server().await;
            }
            Step::Vanish(at) => {
                yard.advance(LEASE + Duration::from_secs(1)).await;
                for (other, server) in servers.iter().enumerate() {
                    if other != at {
                        server.beat().await;
                    }
                }
                runs.beat().await;
                yard.rescue(servers[at].id).await;
                servers[at] = yard.server().await;
            }
            Step::Retry(at) => {
                let Some(id) = open.keys().chain(&told).nth(at).copied() else { continue };
                yard.retry(id).await;
                open.remove(&id);
                told.remove(&id);
                let claimed = runs.claim_one().await;
                runs.done(&claimed).await;
            }
        }
    }
    // The last server tells the rest.
    let last = yard.server().await;
    for server in servers {
        yard.store.server_leave(server.id).await.unwrap();
    }
    let rest: HashSet<TaskId> = yard.take(&last).await.into_iter().collect();
    assert_eq!(rest, open.keys().copied().collect());
}
