//! A server that aborts at each named step of the protocol, on both sides of it: nothing is lost, nothing is decided
//! twice, and the next server ends everything. On both stores.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod harness;

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use harness::{Harness, ServerProcess};
use taskyard::{Call, OnParentFailure, Runtime, Schedule, TaskFilter, TaskId, TaskState};
use taskyard_core::ClaimId;
use taskyard_core::failpoint::{LOSSY, STEPS, Side};
use taskyard_core::store::{CASCADE_INLINE_MAX, ClaimRequest};
use taskyard_faults::tasks::{fail, noop, spare, spawn, steer, talk};
use taskyard_testkit::backend::Backend;
use tokio::task::JoinSet;

/// Number of cases at a time: most of a case is waiting for a lease.
const CONCURRENCY: usize = 6;
const BOUND: Duration = Duration::from_secs(120);

const SIGABRT: i32 = 6;
const SIGTERM: i32 = 15;

/// Adds work that takes a server through every step.
async fn add_work(harness: &mut Harness, children: u64, slow: usize) {
    harness.produce(40, |at| if at < slow { 1_000 } else { 5 + at as u64 % 40 }).await;
    let queue = &harness.queue;
    let parent = queue.add(noop(0)).await.unwrap();
    let family = queue.add_tasks((0..children).map(|number| noop(number).parent(&parent))).await.unwrap();
    queue.add_tasks((0..5).map(|number| noop(number).delay(Duration::from_millis(300)))).await.unwrap();
    queue.add_tasks((0..3).map(spare)).await.unwrap();
    queue.add(spawn(5)).await.unwrap();
    queue.add(talk()).await.unwrap();
    let ended = queue.add(fail("on purpose".into())).await.unwrap();
    let later = noop(0).delay(Duration::from_secs(3_600)).tag("cancelled");
    let later = queue.add(later).await.unwrap();
    // After the last child that is processed: on SQLite a retry first completes the cascades.
    let last = family.iter().map(|child| child.id()).max().unwrap();
    let after = steer(ended.id(), later.id()).parent(&ended).parent_id(last).on_parent_failure(OnParentFailure::Run);
    queue.add(after).await.unwrap();
    let schedule = Schedule::every("each second", Duration::from_secs(1), noop(7)).runs_max(2);
    queue.add_schedule(schedule).await.unwrap();
}

/// Returns whether every task has ended, and no end is still to be settled.
async fn is_quiet(harness: &Harness) -> bool {
    let states = vec![TaskState::Waiting, TaskState::Enqueued, TaskState::Doing];
    let open = TaskFilter { states, limit: 1, ..TaskFilter::default() };
    harness.queue.store().list(&open).await.unwrap().is_empty()
        && harness.queue.store().status().await.unwrap().ends_aside == 0
}

/// A queue that is paused until the server has aborted.
const PAUSED: &str = "paused";
const IN_PAUSED: usize = 5;

/// A point at which a server aborts.
#[derive(Clone, Copy)]
struct Case {
    step: &'static str,
    side: Side,
    /// The call whose request or reply is lost before: the step is reached only then.
    lost: Option<(&'static str, Side)>,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (step, _) in STEPS {
            let call = match *step {
                "added" => Some("add"),
                "claimed" => Some("claim"),
                _ => None,
            };
            for side in Side::ALL {
                match call {
                    Some(call) => {
                        all.extend(Side::ALL.map(|lost| Self { step, side, lost: Some((call, lost)) }));
                    }
                    None => all.push(Self { step, side, lost: None }),
                }
            }
        }
        all
    }

    /// Returns the point as `TASKYARD_FAILPOINT` names it.
    fn point(self) -> String {
        let count = match (self.step, self.side) {
            // The first time there is nothing to do yet.
            ("regroup", Side::Before) => 2,
            ("claims_held", Side::Before) => 3,
            _ => 1,
        };
        format!("{}.{}:{count}", self.step, self.side)
    }

    fn environment(self) -> Vec<(&'static str, String)> {
        let mut environment = vec![("TASKYARD_FAILPOINT", self.point())];
        environment.extend(self.lost.map(|(call, side)| ("TASKYARD_LOSE", format!("{call}.{side}"))));
        let steps = match self.step {
            // Without the spare tasks, whose kind it refuses.
            "regroup" => &[][..],
            "prune" => &["FAULTS_STEPS", "FAULTS_PRUNE"],
            "end_set_aside" | "end_aside_settled" => &["FAULTS_STEPS", "FAULTS_ASIDE"],
            _ => &["FAULTS_STEPS"],
        };
        environment.extend(steps.iter().map(|name| (*name, "1".to_owned())));
        environment
    }
}

/// Brings the database to a state in which the step is reached.
async fn prepare(harness: &Harness, step: &str) {
    match step {
        "rescue" => {
            let mut dead = harness.start_server();
            harness.until_in_flight(dead.id(), 5).await;
            dead.kill();
        }
        "unpark" => {
            // A server without the spare tasks parks them and leaves.
            let mut older = harness.start_server();
            let parked = async {
                while harness.queue.store().parked(Runtime::Rust).await.unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(BOUND, parked).await.unwrap();
            older.signal(SIGTERM);
            harness.until_exited(&mut older).await;
        }
        "regroup" => {
            // Not claimed, so that they are in the partition that their kind leaves once it is refused.
            harness.queue.pause_queue(PAUSED).await.unwrap();
            let calls = (0..IN_PAUSED as u64).map(|number| spare(number).queue(PAUSED));
            harness.queue.add_tasks(calls).await.unwrap();
        }
        "end_set_aside" => harness.refuse_ends("talk"),
        "end_aside_settled" => {
            harness.refuse_ends("talk");
            let mut older = harness.start_server_with(&[("FAULTS_STEPS", "1"), ("FAULTS_ASIDE", "1")]);
            let aside = async {
                while harness.queue.store().ends_aside(None, None, 1).await.unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(BOUND, aside).await.unwrap();
            older.signal(SIGTERM);
            harness.until_exited(&mut older).await;
            harness.accept_ends();
        }
        _ => {}
    }
}

/// Claims a task for a server that does not know of it, as if a crash of the database had lost its end. No server runs
/// Python tasks here. `None` if the server's lease is over.
async fn claim_for(harness: &Harness, server: &ServerProcess) -> Option<TaskId> {
    let store = harness.queue.store();
    let task = harness.queue.add(Call::<()>::new("app::of_python", &()).runtime(Runtime::Python)).await.unwrap();
    let servers = store.servers().await.unwrap();
    let request = ClaimRequest {
        server: servers.iter().find(|row| row.pid == server.id()).unwrap().id,
        claim: ClaimId::generate(),
        runtime: Runtime::Python,
        queues: None,
        limit: 1,
        alone: false,
        cursor: None,
    };
    let claimed = store.claim(&request).await.unwrap().tasks.len();
    if claimed == 0 {
        harness.queue.cancel(&[task.id()]).await.unwrap();
    }
    (claimed > 0).then_some(task.id())
}

/// Waits until a task that [`claim_for`] claimed is free again, with one lost attempt, and cancels it.
async fn until_freed(harness: &Harness, task: TaskId) {
    let freed = async {
        loop {
            let record = harness.queue.store().get(&[task]).await.unwrap().remove(0).unwrap();
            if record.state == TaskState::Enqueued {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let record = tokio::time::timeout(BOUND, freed).await.expect("it is freed");
    assert_eq!((record.attempt, record.lost), (1, 1), "{record:?}");
    harness.queue.cancel(&[task]).await.unwrap();
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

async fn abort_at(mut harness: Harness, at: Case) {
    let Case { step, side, lost } = at;
    let lost = lost.map_or_else(String::new, |(call, side)| format!(" after {call}.{side} was lost"));
    let case = format!("{}{lost}", at.point());
    // A cascade beyond the inline bound is left to the step itself.
    let children = if step == "cascade" { CASCADE_INLINE_MAX as u64 + 200 } else { 20 };
    // If bodies must be seen in flight, some run long enough for that, however late the check is.
    let slow = if matches!(step, "rescue" | "server_leave") { 10 } else { 0 };
    add_work(&mut harness, children, slow).await;
    prepare(&harness, step).await;
    let environment = at.environment();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (mut victim, _) = harness.spawn_server(&environment);
    let mut unheld = None;
    match step {
        "server_leave" => {
            harness.until_in_flight(victim.id(), 5).await;
            victim.signal(SIGTERM);
        }
        "claims_held" => unheld = claim_for(&harness, &victim).await,
        _ => {}
    }
    until_aborted(&case, &mut victim).await;
    match step {
        "regroup" => harness.queue.resume_queue(PAUSED).await.unwrap(),
        "end_set_aside" => harness.accept_ends(),
        _ => {}
    }

    let mut successor = harness.start_server_with(&[("FAULTS_STEPS", "1"), ("FAULTS_ASIDE", "1")]);
    if let Some(task) = unheld {
        until_freed(&harness, task).await;
    }
    let started = Instant::now();
    // The schedule first: its last run is among the tasks that must have ended.
    while harness.queue.schedule("each second").await.unwrap().runs < 2 || !is_quiet(&harness).await {
        assert!(started.elapsed() < BOUND, "{case}: {:?}", harness.queue.store().status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = harness.report(BOUND).await;
    assert_eq!(report.added, 40, "{case}");
    report.assert_clean();
    let ended = TaskFilter { limit: 2_000, ..TaskFilter::default() };
    let records = harness.queue.store().list(&ended).await.unwrap();
    let of = |kind: &'static str| records.iter().filter(move |record| record.kind.ends_with(kind));
    let count = |kind| of(kind).count();
    let tagged = |tag: &str| records.iter().filter(|record| record.tags.iter().any(|known| known == tag)).count();
    let spares = if step == "regroup" { 3 + IN_PAUSED } else { 3 };
    let counts = ["::spare", "::talk", "::spawn", "::steer"].map(count);
    assert_eq!(counts, [spares, 1, 1, 1], "{case}");
    let spawned = tagged("spawned");
    assert!(spawned >= 5 && spawned % 5 == 0, "{case}: {spawned} children were added, in batches of five");
    assert_eq!(count("::noop") - spawned, 1 + children as usize + 5 + 2 + tagged("cancelled"), "{case}");
    assert!(tagged("cancelled") == 1 || step == "prune", "{case}");
    for record in &records {
        let is_cancelled = record.tags.iter().any(|tag| tag == "cancelled") || record.runtime == Runtime::Python;
        let expected = match is_cancelled {
            true => TaskState::Cancelled,
            false if record.kind.ends_with("::fail") => TaskState::Failed,
            false => TaskState::Done,
        };
        assert_eq!(record.state, expected, "{case}: {record:?}");
    }
    for record in of("::fail") {
        assert!(record.attempt >= 2, "{case}: it was not retried: {record:?}");
    }
    if step == "end_aside_settled" || step == "end_set_aside" && side == Side::After {
        // No rescue freed it: its end was set aside.
        assert!(of("::talk").all(|record| record.attempt == 1), "{case}: {:?}", of("::talk").collect::<Vec<_>>());
    }
    if step == "record" {
        let talk = of("::talk").next().unwrap();
        assert!(!harness.queue.store().logs(talk.id, 0, 1).await.unwrap().is_empty(), "{case}: it logged nothing");
    }
    let runs = harness.queue.schedule_runs("each second", 100).await.unwrap();
    let times: HashSet<_> = runs.iter().map(|run| run.fire_at).collect();
    assert_eq!(times.len(), runs.len(), "{case}: a time was decided twice: {runs:?}");
    assert!(!successor.has_exited(), "{case}");
}

/// Runs every step on both sides, several at a time.
async fn a_server_that_aborts_at_any_step_loses_nothing(backend: Backend) {
    let mut running = JoinSet::new();
    for case in Case::all() {
        if running.len() >= CONCURRENCY {
            running.join_next().await.unwrap().unwrap();
        }
        let database = backend.create_database();
        running.spawn(async move { abort_at(Harness::on(database).await, case).await });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

taskyard_testkit::on_both_stores! { a_server_that_aborts_at_any_step_loses_nothing }

#[test]
fn there_are_enough_steps() {
    let cases = Case::all();
    assert!(cases.len() >= 50);
    let is_lost = |call: &str| cases.iter().any(|case| case.lost.is_some_and(|(lost, _)| lost == call));
    assert!(LOSSY.iter().all(|call| is_lost(call)));
}
