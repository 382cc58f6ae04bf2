//! A server that aborts at each named step of the protocol, on both sides of it: nothing is lost, nothing is decided
//! twice, and the next server ends everything. On both stores.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod arena;

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use arena::{Arena, ServerProcess};
use taskyard::{Schedule, TaskFilter, TaskState};
use taskyard_core::failpoint::{STEPS, Side};
use taskyard_core::store::CASCADE_INLINE_MAX;
use taskyard_faults::tasks::{fail, noop, spare, spawn, talk};
use taskyard_testkit::postgres::shared;
use tokio::task::JoinSet;

/// Cases at a time: most of a case is waiting for a lease.
const CONCURRENCY: usize = 6;
const BOUND: Duration = Duration::from_secs(120);

const SIGABRT: i32 = 6;
const SIGTERM: i32 = 15;

/// Work that takes a server through every step.
async fn add_work(arena: &mut Arena, children: u64, slow: usize) {
    arena.produce(40, |at| if at < slow { 1_000 } else { 5 + at as u64 % 40 }).await;
    let queue = &arena.queue;
    let parent = queue.add(noop(0)).await.unwrap();
    queue.add_tasks((0..children).map(|number| noop(number).parent(&parent))).await.unwrap();
    queue.add_tasks((0..5).map(|number| noop(number).delay(Duration::from_millis(300)))).await.unwrap();
    queue.add_tasks((0..3).map(spare)).await.unwrap();
    queue.add(spawn(5)).await.unwrap();
    queue.add(talk()).await.unwrap();
    queue.add(fail("on purpose".into())).await.unwrap();
    let schedule = Schedule::every("each second", Duration::from_secs(1), noop(7)).runs_max(2);
    queue.add_schedule(schedule).await.unwrap();
}

/// Whether every task has ended.
async fn is_quiet(arena: &Arena) -> bool {
    let states = vec![TaskState::Waiting, TaskState::Enqueued, TaskState::Doing];
    let open = TaskFilter { states, limit: 1, ..TaskFilter::default() };
    arena.queue.store().list(&open).await.unwrap().is_empty()
}

async fn until_aborted(case: &str, victim: &mut ServerProcess) {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = victim.exit_status() {
            break status;
        }
        assert!(started.elapsed() < BOUND, "{case}: the step was not reached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(status.signal(), Some(SIGABRT), "{case}: {status:?}");
}

async fn abort_at(mut arena: Arena, backend: &str, step: &str, side: Side) {
    let point = format!("{step}.{side}");
    let case = format!("{point} on {backend}");
    // What is beyond the inline bound is left to the step itself.
    let children = if step == "cascade" { CASCADE_INLINE_MAX as u64 + 200 } else { 20 };
    // Where bodies are to be seen in flight, some take long enough for that, however late this looks.
    let slow = if matches!(step, "rescue" | "server_leave") { 10 } else { 0 };
    add_work(&mut arena, children, slow).await;
    match step {
        "rescue" => {
            let mut dead = arena.start_server();
            arena.until_in_flight(dead.id(), 5).await;
            dead.kill();
        }
        "unpark" => {
            // It does not know the spare tasks, and leaves.
            let mut older = arena.start_server();
            let parked = async {
                while arena.queue.store().parked(taskyard::Runtime::Rust).await.unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(BOUND, parked).await.unwrap();
            older.signal(SIGTERM);
            arena.until_exited(&mut older).await;
        }
        _ => {}
    }
    let mut environment = vec![("TASKYARD_FAILPOINT", point.as_str()), ("FAULTS_STEPS", "1")];
    if step == "prune" {
        environment.push(("FAULTS_PRUNE", "1"));
    }
    let (mut victim, _) = arena.spawn_server(&environment);
    if step == "server_leave" {
        arena.until_in_flight(victim.id(), 5).await;
        victim.signal(SIGTERM);
    }
    until_aborted(&case, &mut victim).await;

    let mut successor = arena.start_server_with(&[("FAULTS_STEPS", "1")]);
    let started = Instant::now();
    // The schedule first: its last run is among what must have ended.
    while arena.queue.schedule("each second").await.unwrap().runs < 2 || !is_quiet(&arena).await {
        assert!(started.elapsed() < BOUND, "{case}: {:?}", arena.queue.store().status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let verdict = arena.verdict(BOUND).await;
    assert_eq!(verdict.added, 40, "{case}");
    verdict.assert_clean();
    let ended = TaskFilter { limit: 2_000, ..TaskFilter::default() };
    let records = arena.queue.store().list(&ended).await.unwrap();
    let count = |kind: &str| records.iter().filter(|record| record.kind.ends_with(kind)).count();
    let spawned = records.iter().filter(|record| record.tags.iter().any(|tag| tag == "spawned")).count();
    assert_eq!((count("::spare"), count("::talk"), count("::spawn")), (3, 1, 1), "{case}");
    assert!(spawned >= 5 && spawned % 5 == 0, "{case}: {spawned} children were added, in batches of five");
    assert_eq!(count("::noop") - spawned, 1 + children as usize + 5 + 2, "{case}");
    for record in &records {
        let expected = if record.kind.ends_with("::fail") { TaskState::Failed } else { TaskState::Done };
        assert_eq!(record.state, expected, "{case}: {record:?}");
    }
    let runs = arena.queue.schedule_runs("each second", 100).await.unwrap();
    let times: HashSet<_> = runs.iter().map(|run| run.fire_at).collect();
    assert_eq!(times.len(), runs.len(), "{case}: a time was decided twice: {runs:?}");
    assert!(!successor.has_exited(), "{case}");
}

/// Every step on both sides, some at a time.
async fn abort_at_every_step(backend: &'static str) {
    let mut running = JoinSet::new();
    for (step, _) in STEPS {
        for side in Side::ALL {
            if running.len() >= CONCURRENCY {
                running.join_next().await.unwrap().unwrap();
            }
            running.spawn(async move {
                let arena = if backend == "sqlite" { Arena::sqlite().await } else { Arena::postgres(shared()).await };
                abort_at(arena, backend, step, side).await;
            });
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_aborts_at_any_step_loses_nothing_on_sqlite() {
    abort_at_every_step("sqlite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_aborts_at_any_step_loses_nothing_on_postgresql() {
    abort_at_every_step("postgresql").await;
}

#[test]
fn there_are_enough_steps() {
    assert!(STEPS.len() * Side::ALL.len() >= 20);
}
