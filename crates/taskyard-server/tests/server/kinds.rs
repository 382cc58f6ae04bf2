//! Programs with different kinds on one queue: each runs its own, and only tasks of kinds that no program has are
//! parked.

use std::time::{Duration, Instant};

use taskyard_core::{TaskRef, TaskState, WaitReason};
use taskyard_server::{Registry, Run, ServerConfig, TaskDef};

use crate::world::{TestServer, World, eventually, quick, within};

const fn def(kind: fn() -> &'static str, location: &'static str) -> TaskDef {
    TaskDef {
        kind,
        aliases: &[],
        names: &[],
        states: &[],
        run: Run::Async(|_| Box::pin(async { Ok(b"null".to_vec()) })),
        location,
    }
}
static ONE: TaskDef = def(|| "one", "one.rs:1");
static TWO: TaskDef = def(|| "two", "two.rs:1");

async fn start(world: &World, defs: &[&'static TaskDef], config: ServerConfig) -> TestServer {
    world.start(Registry::new().extend(defs.iter().copied()), config).await
}

fn add(world: &World, kind: &str) -> TaskRef<()> {
    world.add(kind, &(), |call| call)
}

async fn waits(world: &World, task: &TaskRef<()>) -> bool {
    world.record(task).await.wait_reason == Some(WaitReason::Parked)
}

/// Waits for all tasks and returns the time that the slowest took.
async fn all_end(tasks: &[TaskRef<()>], since: Instant) -> Duration {
    for task in tasks {
        within("its end", task.wait()).await.unwrap();
    }
    since.elapsed()
}

#[tokio::test]
async fn two_programs_on_one_queue_run_their_own_at_once() {
    let world = World::new().await;
    // With the default times of an installed program: nothing may depend on polling.
    let config = || ServerConfig { max_workers: 2, ..ServerConfig::default() };
    let (one, two) = (start(&world, &[&ONE], config()).await, start(&world, &[&TWO], config()).await);
    let since = Instant::now();
    let tasks: Vec<_> = (0..200).map(|at| add(&world, if at % 2 == 0 { "one" } else { "two" })).collect();
    let took = all_end(&tasks, since).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    for task in &tasks {
        let record = world.record(task).await;
        assert_eq!((record.state, record.attempt, record.failures), (TaskState::Done, 1, 0));
    }
    // Both refusals are recorded by now, so no claim is made in vain.
    eventually("it settles", async || world.store.regroup().await.unwrap().moved == 0).await;
    let before = [&one, &two].map(|server| server.status().claimed);
    let more: Vec<_> = (0..50).map(|at| add(&world, if at % 2 == 0 { "one" } else { "two" })).collect();
    all_end(&more, Instant::now()).await;
    let after = [&one, &two].map(|server| server.status().claimed);
    assert_eq!([after[0] - before[0], after[1] - before[1]], [25, 25]);
}

#[tokio::test]
async fn a_rolling_deploy_parks_nothing() {
    let world = World::new().await;
    let old = start(&world, &[&ONE], quick()).await;
    let first = add(&world, "one");
    within("the old one runs it", first.wait()).await.unwrap();
    let new = start(&world, &[&ONE, &TWO], quick()).await;
    let since = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.extend(["one", "two"].map(|kind| add(&world, kind)));
        let parked = world.store.status().await.unwrap().parked;
        assert_eq!(parked, 0, "a live build knows it");
    }
    let took = all_end(&tasks, since).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    old.stop();
    within("the stop", old.wait()).await;
    let last = ["one", "two"].map(|kind| add(&world, kind));
    all_end(&last, Instant::now()).await;
    assert!(new.status().claimed >= 52);
}

#[tokio::test]
async fn what_no_program_knows_is_parked_also_when_that_is_known() {
    let world = World::new().await;
    let one = start(&world, &[&ONE], quick()).await;
    let first = add(&world, "two");
    eventually("it is parked", async || waits(&world, &first).await).await;
    let second = add(&world, "two");
    eventually("the next one is parked, too", async || waits(&world, &second).await).await;
    assert_eq!(world.record(&second).await.waiting_for.as_deref(), Some("kind `two`"));
    let two = start(&world, &[&TWO], quick()).await;
    all_end(&[first, second], Instant::now()).await;
    let third = add(&world, "two");
    all_end(&[third], Instant::now()).await;
    // With its only server gone, no live build knows the kind.
    two.stop();
    within("the stop", two.wait()).await;
    let fourth = add(&world, "two");
    eventually("it is parked", async || waits(&world, &fourth).await).await;
    let ours = add(&world, "one");
    all_end(&[ours], Instant::now()).await;
    one.stop();
    within("the stop", one.wait()).await;
}

#[tokio::test]
async fn a_server_of_other_queues_does_not_keep_a_task_from_being_parked() {
    let world = World::new().await;
    let queues = |queue: &str| ServerConfig { queues: Some(vec![queue.into()]), ..quick() };
    let one = start(&world, &[&ONE], queues("left")).await;
    let _two = start(&world, &[&TWO], queues("right")).await;
    let task: TaskRef<()> = world.add("two", &(), |call| call.queue("left"));
    eventually("it is parked", async || waits(&world, &task).await).await;
    // The server reports that it serves all queues from now on.
    let wide = start(&world, &[&TWO], queues("other")).await;
    wide.settings().update(|config| config.queues = None);
    all_end(&[task], Instant::now()).await;
    let next: TaskRef<()> = world.add("two", &(), |call| call.queue("left"));
    all_end(&[next], Instant::now()).await;
    assert!(one.status().claimed <= 2);
}

/// Prints durations, for a quiet machine: `cargo test -p taskyard-server -- --ignored --nocapture figures_of_kinds`.
#[tokio::test]
#[ignore = "figures, not a test"]
async fn figures_of_kinds() {
    let world = World::new().await;
    let config = || ServerConfig { max_workers: 2, ..ServerConfig::default() };
    let _servers = (start(&world, &[&ONE], config()).await, start(&world, &[&TWO], config()).await);
    for count in [200, 5_000] {
        let since = Instant::now();
        let tasks: Vec<_> = (0..count).map(|at| add(&world, if at % 2 == 0 { "one" } else { "two" })).collect();
        println!("{count} tasks of two programs: {:?}", all_end(&tasks, since).await);
    }
    let since = Instant::now();
    let unknown: Vec<_> = (0..5_000).map(|at| add(&world, &format!("kind{at}"))).collect();
    eventually("all are parked", async || world.store.status().await.unwrap().parked == 5_000).await;
    println!("5,000 kinds that no program knows: parked in {:?}", since.elapsed());
    let since = Instant::now();
    let tasks: Vec<_> = (0..5_000).map(|at| add(&world, if at % 2 == 0 { "one" } else { "two" })).collect();
    println!("5,000 tasks of two programs beside them: {:?}", all_end(&tasks, since).await);
    drop(unknown);
}

/// Prints figures of a deployment of a new build with one more kind, for a quiet machine: two servers are replaced one
/// after the other while a task arrives every 5 ms. `cargo test -p taskyard-server -- --ignored --nocapture
/// figures_of_a_rolling_deploy`.
#[tokio::test]
#[ignore = "figures, not a test"]
async fn figures_of_a_rolling_deploy() {
    let world = World::new().await;
    let config = || ServerConfig { max_workers: 2, ..ServerConfig::default() };
    let mut servers = vec![start(&world, &[&ONE], config()).await, start(&world, &[&ONE], config()).await];
    let mut arrivals = tokio::time::interval(Duration::from_millis(5));
    let (mut tasks, mut parked) = (Vec::new(), 0);
    for at in 0..600 {
        arrivals.tick().await;
        match at {
            100 | 300 => servers.push(start(&world, &[&ONE, &TWO], config()).await),
            200 => servers[0].stop(),
            400 => servers[1].stop(),
            _ => {}
        }
        // Clients of the new build exist as soon as its first server does.
        tasks.push(add(&world, if at >= 100 && at % 2 == 0 { "two" } else { "one" }));
        if at % 20 == 0 {
            parked = parked.max(world.store.status().await.unwrap().parked);
        }
    }
    all_end(&tasks, Instant::now()).await;
    let mut waits = Vec::new();
    for task in &tasks {
        let record = world.record(task).await;
        assert_eq!((record.state, record.attempt), (TaskState::Done, 1));
        let wait = record.finished_at.unwrap().duration_since(record.created_at);
        waits.push(Duration::try_from(wait).unwrap());
    }
    waits.sort();
    let claimed: u64 = servers.iter().map(|server| server.status().claimed).sum();
    println!(
        "a rolling deploy, {} tasks: median {:?}, 99 % {:?}, worst {:?}; {claimed} claimed, at most {parked} parked",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits[waits.len() - 1],
    );
}
