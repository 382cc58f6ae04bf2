//! Strict order and weights among the queues of a server; queues that are paused, limited or empty do not hold up
//! others.

use std::time::Duration;

use taskyard_core::client::Call;
use taskyard_core::store::TaskFilter;
use taskyard_core::{Error, QueueOrder, Rate, TaskRecord, TaskState};
use taskyard_server::{Server, ServerConfig};

use crate::bodies::registry;
use crate::world::{World, eventually, quick};

fn serve(queues: &[&str], order: QueueOrder, claim_max: usize) -> impl FnOnce(&mut ServerConfig) {
    let queues = queues.iter().map(|name| (*name).to_owned()).collect();
    move |config| {
        config.queues = Some(queues);
        config.queue_order = order;
        config.claim_max = claim_max;
    }
}

async fn add(world: &World, queue: &str, count: i64) {
    let calls = (0..count).map(|n| Call::<i64>::new("echo", &(n,)).queue(queue));
    world.client.add_tasks(calls).await.unwrap();
    world.client.flush().await.unwrap();
}

async fn done(world: &World, queue: &str) -> Vec<TaskRecord> {
    let filter =
        TaskFilter { states: vec![TaskState::Done], queue: Some(queue.into()), limit: 10_000, ..TaskFilter::default() };
    world.store.list(&filter).await.unwrap()
}

async fn all_done(world: &World, queue: &str, count: usize) -> Vec<TaskRecord> {
    eventually(queue, async || {
        let queues = world.store.queues().await.unwrap();
        queues.iter().find(|found| found.name == queue).is_none_or(|found| found.enqueued + found.doing == 0)
    })
    .await;
    let found = done(world, queue).await;
    assert_eq!(found.len(), count, "{queue}");
    found
}

#[tokio::test]
async fn strict_order_never_inverts() {
    let world = World::new().await;
    // The least important first, and with the highest priority: neither age nor priority counts between queues.
    for (queue, priority) in [("low", 9), ("default", 5), ("critical", 0)] {
        let calls = (0..300_i64).map(|n| Call::<i64>::new("echo", &(n,)).queue(queue).priority(priority));
        world.client.add_tasks(calls).await.unwrap();
    }
    world.client.flush().await.unwrap();
    let _server = world.server(serve(&["critical", "default", "low"], QueueOrder::Strict, 16)).await;
    let mut before = None;
    for queue in ["critical", "default", "low"] {
        let mut started: Vec<_> =
            all_done(&world, queue, 300).await.iter().map(|task| task.started_at.unwrap()).collect();
        started.sort_unstable();
        assert!(before.is_none_or(|before| before <= started[0]), "a task of `{queue}` came too early");
        before = started.last().copied();
    }
}

#[tokio::test]
async fn weights_converge_and_the_lighter_is_not_starved() {
    let world = World::new().await;
    add(&world, "light", 2_000).await;
    add(&world, "heavy", 2_000).await;
    let _server = world.server(serve(&["heavy", "light"], QueueOrder::Weights(vec![3, 1]), 40)).await;
    let heavy = all_done(&world, "heavy", 2_000).await;
    // When the heavier queue has had 1,500 starts, both queues still have tasks.
    let mut started: Vec<_> = heavy.iter().map(|task| task.started_at.unwrap()).collect();
    started.sort_unstable();
    let until = started[1_499];
    let heavy = started.iter().filter(|at| **at <= until).count();
    let light = all_done(&world, "light", 2_000).await.iter().filter(|task| task.started_at.unwrap() <= until).count();
    let ratio = heavy as f64 / light as f64;
    assert!((2.7..=3.3).contains(&ratio), "{heavy} : {light}");
}

#[tokio::test]
async fn what_is_paused_limited_or_empty_is_passed_by() {
    for order in [QueueOrder::Strict, QueueOrder::Weights(vec![100, 100, 100, 1])] {
        let world = World::new().await;
        for queue in ["paused", "limited", "open"] {
            add(&world, queue, 50).await;
        }
        world.store.set_paused("paused", true).await.unwrap();
        world.store.set_limit("limited", Some(0)).await.unwrap();
        let _server = world.server(serve(&["paused", "limited", "empty", "open"], order.clone(), 1_000)).await;
        all_done(&world, "open", 50).await;
        assert_eq!(done(&world, "paused").await.len() + done(&world, "limited").await.len(), 0);
        world.store.set_paused("paused", false).await.unwrap();
        world.store.set_limit("limited", Some(1)).await.unwrap();
        all_done(&world, "paused", 50).await;
        all_done(&world, "limited", 50).await;
    }
}

#[tokio::test]
async fn the_order_changes_while_it_runs() {
    let world = World::new().await;
    let server = world.server(serve(&["a", "b"], QueueOrder::Strict, 16)).await;
    add(&world, "a", 50).await;
    all_done(&world, "a", 50).await;
    server.settings().update(|config| {
        config.queues = Some(vec!["c".into(), "b".into(), "a".into()]);
        config.queue_order = QueueOrder::Weights(vec![1, 2, 3]);
    });
    for queue in ["b", "c"] {
        add(&world, queue, 50).await;
        all_done(&world, queue, 50).await;
    }
    server.settings().update(|config| (config.queues, config.queue_order) = (None, QueueOrder::Priority));
    add(&world, "d", 50).await;
    all_done(&world, "d", 50).await;
}

#[tokio::test]
async fn an_order_that_fits_no_queues_is_refused() {
    let world = World::new().await;
    for (queues, order) in [
        (None, QueueOrder::Strict),
        (Some(vec!["a".to_owned(), "a".to_owned()]), QueueOrder::Priority),
        (Some(vec!["a".to_owned()]), QueueOrder::Weights(vec![0])),
        (Some(vec!["a".to_owned()]), QueueOrder::Weights(vec![1, 2])),
    ] {
        let config = ServerConfig { queues, queue_order: order, ..quick() };
        let started = Server::start(world.store.clone(), world.client.clone(), registry(&world.stage), config).await;
        assert!(matches!(started, Err(Error::InvalidArgument { what: "queues", .. })));
    }
}

/// Checked by the start times that the database has recorded.
#[tokio::test]
async fn a_rate_holds_over_two_servers_without_notifications() {
    let world = World::new().await;
    let rate = Rate::new(20, Duration::from_secs(1)).unwrap();
    world.client.rate_queue("mails", Some(rate)).await.unwrap();
    let _servers = (world.server(|_| {}).await, world.server(|_| {}).await);
    add(&world, "mails", 50).await;
    add(&world, "default", 50).await;
    all_done(&world, "default", 50).await;
    let mut started: Vec<_> = all_done(&world, "mails", 50).await.iter().map(|task| task.started_at.unwrap()).collect();
    started.sort_unstable();
    for (place, at) in started.iter().enumerate() {
        let passed = at.duration_since(started[0]).as_secs_f64();
        assert!(place as f64 + 1.0 <= 20.0 + passed * 20.0 + 0.01, "start {place} after {passed} s");
    }
    let last = started[49].duration_since(started[0]).as_secs_f64();
    assert!(last < 10.0, "the last one waited for {last} s: not for its turn, but for a look");
}
