//! Schedules through simulated weeks: three servers, started and killed at random, while the database's clock jumps
//! ahead (and now and then back): each time of each rule is enqueued exactly once.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod harness;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{Harness, ServerProcess};
use taskyard::store::TestClock;
use taskyard::{CatchUp, Overlap, RunOutcome, Schedule, TaskId, TaskState, Timestamp};
use taskyard_core::schedule::rule::Clock;
use taskyard_faults::ledger::{Event, read_all};
use taskyard_faults::tasks::work;
use taskyard_testkit::backend::Backend;

const WEEKS: u64 = 3;
const MINUTE: u64 = 60;
/// Rules and zones; the weeks begin before Europe and end after America has changed its clocks.
const RULES: [(&str, &str); 4] = [
    ("0 * * * *", "Europe/Berlin"),
    ("30 2 * * *", "America/New_York"),
    ("0 9,17 * * MON-FRI", "Asia/Kathmandu"),
    ("@every 50m", "UTC"),
];

async fn until_decided(harness: &Harness, servers: &mut Vec<ServerProcess>) {
    let started = Instant::now();
    loop {
        let look = harness.queue.store().schedule_look(10).await.unwrap();
        let is_due = look.due.iter().any(|due| due.record.next_at.is_some_and(|next| next <= look.now));
        if !is_due {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "not decided within 30 s: {look:?}");
        if servers.is_empty() {
            servers.push(harness.start_server());
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn weeks(backend: Backend) {
    let harness = Harness::on(backend.create_database()).await;
    let store = harness.queue.store().clone();
    let real = Timestamp::now();
    let begin: Timestamp = "2026-10-22T12:34:56Z".parse().unwrap();
    let offset_at = |simulated: u64| {
        let behind = begin.as_microsecond() - real.as_microsecond();
        TestClock::Offset(behind + i64::try_from(simulated * 1_000_000).unwrap())
    };
    store.set_clock(offset_at(0)).await.unwrap();
    for (rule, zone) in RULES {
        let schedule = Schedule::new(rule, rule, work(5)).zone(zone).overlap(Overlap::Allow).catch_up(CatchUp::All);
        harness.queue.add_schedule(schedule).await.unwrap();
    }
    // A small generator: a sequence for each kind of database.
    let mut state = if matches!(backend, Backend::Sqlite(_)) { 1_u64 } else { 2 };
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut servers: Vec<ServerProcess> = (0..3).map(|_| harness.start_server()).collect();
    let (mut simulated, mut kills, mut steps) = (0, 0, 0);
    while simulated < WEEKS * 7 * 24 * 60 * MINUTE {
        simulated += below(3 * 60 * MINUTE);
        steps += 1;
        // At the tick: the clock jumps and a server dies at the same moment.
        store.set_clock(offset_at(simulated)).await.unwrap();
        if below(4) == 0 && !servers.is_empty() {
            let at = below(servers.len() as u64) as usize;
            servers.remove(at).kill();
            kills += 1;
        }
        if below(30) == 0 {
            // The host of the database is an hour behind for a moment.
            store.set_clock(offset_at(simulated.saturating_sub(60 * MINUTE))).await.unwrap();
            store.set_clock(offset_at(simulated)).await.unwrap();
        }
        while servers.len() < 3 && below(3) > 0 {
            servers.push(harness.start_server());
        }
        until_decided(&harness, &mut servers).await;
    }
    while servers.len() < 2 {
        servers.push(harness.start_server());
    }
    let bodies = |what: &dyn Fn(&Event) -> Option<TaskId>| -> BTreeSet<TaskId> {
        read_all(harness.ledgers()).unwrap().iter().filter_map(what).collect()
    };
    let mut enqueued: BTreeSet<TaskId> = BTreeSet::new();
    let mut times = 0;
    for (rule, _) in RULES {
        let record = harness.queue.schedule(rule).await.unwrap();
        let clock = Clock::of(&record).unwrap();
        let expected: Vec<Timestamp> =
            clock.times(record.planned_from).take_while(|at| Some(*at) < record.next_at).collect();
        let mut runs = harness.queue.schedule_runs(rule, 10_000).await.unwrap();
        runs.reverse();
        assert!(runs.iter().all(|run| run.outcome == RunOutcome::Enqueued), "{rule}: {runs:#?}");
        assert_eq!(runs.iter().map(|run| run.fire_at).collect::<Vec<_>>(), expected, "{rule}");
        enqueued.extend(runs.iter().filter_map(|run| run.task));
        times += expected.len();
    }
    assert_eq!(enqueued.len(), times, "each time has a task of its own");
    harness
        .until("every one of them has run", || {
            bodies(&|event| match event {
                Event::Ended { task, .. } => Some(*task),
                _ => None,
            }) == enqueued
        })
        .await;
    harness.until_state(TaskState::Done, 1, Duration::from_secs(60)).await;
    assert!(times > 1_000 && kills > 50, "{times} times, {kills} kills in {steps} steps");
}

taskyard_testkit::on_both_stores! { weeks }
