//! The nemesis: servers and clients that are really killed, on databases that really fail, drawn from a seed.
//!
//! While clients add tasks of many forms and servers run them, one fault follows another: connections of one purpose
//! that fail, processes that are killed or suspended, statements that the database refuses, foreign locks, restarts of
//! PostgreSQL. Then all faults end, everything drains within a bound, and a checker compares the records of the
//! processes with the contents of the database. The report covers the promises of the README: nothing lost, one
//! decision, the time to recover, and memory. `cargo dev nemesis` runs more seeds, or one run over many tasks.
//!
//! `processes.rs`: the processes · `faults.rs`: the faults · `checker.rs`: the checks · `report.rs`: the statistics ·
//! `scenarios.rs`: faults that need a run of their own · `deadline.rs`: the time limit of all of this in the gate. The
//! clients' work is in `src/bin/faults-client.rs`.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod checker;
mod deadline;
mod faults;
mod processes;
mod report;
mod scenarios;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deadline::{Bound, Turn};
use faults::{Database, Deck};
use processes::{Processes, Production};
use report::Report;
use taskyard::settings::Settings;
use taskyard::store::ServerRecord;
use taskyard::{Store, TaskFilter, TaskState, Taskyard};
use taskyard_testkit::postgres::{Cluster, ClusterOptions};

/// Number of tasks of the gate's run, and its maximum duration.
const TASKS: u64 = 10_000;
const STRIKES_MAX: Duration = Duration::from_secs(40);
/// Additions per second, of all clients.
const RATE: f64 = 250.0;
/// A queue that runs few tasks at once.
const NARROW: &str = "narrow";
const NARROW_MAX: u32 = 3;
/// From the last fault until everything has ended: the backlog, the deadlines of hanging calls, and the last backoffs.
const QUIET_MAX: Duration = Duration::from_secs(120);

/// The record that the database itself makes of each end, and the tables that make it refuse a step.
const WATCH: &str = "
CREATE SCHEMA nemesis;
CREATE TABLE nemesis.note (task uuid NOT NULL);
CREATE TABLE nemesis.effect (task uuid NOT NULL);
CREATE TABLE nemesis.fault (step text NOT NULL, code text NOT NULL, one_in int NOT NULL);
CREATE TABLE nemesis.decision (task uuid NOT NULL, state smallint NOT NULL, was_final boolean NOT NULL);
CREATE FUNCTION nemesis.watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this_step text := CASE WHEN tg_op = 'INSERT' THEN 'add' WHEN new.state = 2 THEN 'claim' ELSE 'end' END;
    refusal text;
BEGIN
    SELECT code INTO refusal FROM nemesis.fault WHERE step = this_step AND random() * one_in < 1;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION 'the nemesis refuses' USING ERRCODE = refusal;
    END IF;
    IF tg_op = 'UPDATE' AND old.state <> new.state AND greatest(old.state, new.state) >= 3 THEN
        INSERT INTO nemesis.decision VALUES (new.id, new.state, old.state >= 3);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER nemesis BEFORE INSERT OR UPDATE OF state ON taskyard.task FOR EACH ROW EXECUTE FUNCTION nemesis.watch();
CREATE FUNCTION nemesis.watch_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    refusal text;
BEGIN
    SELECT code INTO refusal FROM nemesis.fault WHERE step = 'log' AND random() * one_in < 1;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION 'the nemesis refuses' USING ERRCODE = refusal;
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER nemesis BEFORE INSERT ON taskyard.task_log FOR EACH ROW EXECUTE FUNCTION nemesis.watch_log();
";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}")))
}

#[test]
fn on_postgresql() {
    let turn = Turn::blocking("on_postgresql");
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let durable = ClusterOptions { durable: true, settings: Vec::new() };
    let cluster = CLUSTER.get_or_init(|| Cluster::start_with(&durable));
    for seed in seeds() {
        run(&turn, seed, &Database::Postgres { cluster, address: cluster.create_database() });
    }
}

#[test]
fn on_sqlite() {
    let turn = Turn::blocking("on_sqlite");
    for seed in seeds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue.db").to_str().unwrap().to_owned();
        run(&turn, seed, &Database::Sqlite { path });
    }
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("TASKYARD_SEED").unwrap_or(1);
    first..first + number("TASKYARD_SEEDS").unwrap_or(1)
}

/// Returns the time in seconds of the epoch; the databases of these tests have the same clock.
pub fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Lists what has not ended: clients, and the first of the tasks.
pub async fn unsettled(store: &dyn Store, processes: &Processes) -> String {
    let states = vec![TaskState::Waiting, TaskState::Enqueued, TaskState::Doing];
    let open = TaskFilter { states, limit: 10, ..TaskFilter::default() };
    let tasks = match store.list(&open).await {
        Ok(tasks) => tasks.iter().map(|task| format!("\n{task:?}")).collect(),
        Err(error) => error.to_string(),
    };
    format!("{} clients run; tasks that have not ended, ten at most: {tasks}", processes.clients_running())
}

fn run(turn: &Turn, seed: u64, database: &Database) {
    let asked = number("TASKYARD_TASKS");
    let (tasks, strikes_max) = (asked.unwrap_or(TASKS), asked.map_or(STRIKES_MAX, |_| Duration::MAX));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = Settings { database: Some(database.address().to_owned()), ..Settings::default() };
    let queue = runtime.block_on(Taskyard::with_settings(settings)).unwrap();
    if let Database::Postgres { cluster, address } = database {
        cluster.psql_in(address, WATCH);
    }
    runtime.block_on(queue.limit_queue(NARROW, Some(NARROW_MAX))).unwrap();
    let mut ledgers = tempfile::tempdir().unwrap();
    let mut deck = Deck::new(seed, database);
    let mut processes = Processes::start(database.address(), ledgers.path(), seed, Production { tasks, rate: RATE });
    let (mut faults, mut lifted): (BTreeMap<String, usize>, _) = (BTreeMap::new(), Vec::new());
    let (began, mut broken, mut told) = (Instant::now(), Vec::new(), Instant::now());
    let strikes = Bound::new(strikes_max);
    processes.run_for(Duration::from_secs(1));
    while !processes.are_clients_done() && !strikes.is_over() {
        if let Some(place) = deck.victim() {
            processes.signal(place, "KILL");
        }
        let (fault, time) = deck.draw();
        turn.is_at(format!("seed {seed}: {fault:?} for {time:?}"));
        if fault.strike(&mut processes, database, time) {
            lifted.push((seconds(), fault.name()));
            *faults.entry(fault.name()).or_default() += 1;
        } else {
            *faults.entry("without a target".into()).or_default() += 1;
        }
        processes.run_for(deck.pause());
        // A database that does not respond at the moment is not checked.
        let queues = runtime.block_on(queue.queues()).unwrap_or_default();
        let over = queues.into_iter().filter(|queue| queue.name == NARROW && queue.doing > u64::from(NARROW_MAX));
        broken.extend(
            over.map(|queue| format!("{} tasks of a queue ran at once, its limit is {NARROW_MAX}", queue.doing)),
        );
        if asked.is_some() && told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!(
                "{:.0} s: {} tasks begun by clients that have ended",
                began.elapsed().as_secs_f64(),
                processes.begun
            );
        }
    }
    let struck_for = began.elapsed();
    processes.end_production();
    let (calm, quiet) = (Instant::now(), Bound::new(QUIET_MAX));
    loop {
        processes.run_for(Duration::from_millis(100));
        let status = runtime.block_on(queue.store().status());
        turn.is_at(format!("seed {seed}: waits until all has ended: {status:?}"));
        let is_quiet = status.as_ref().is_ok_and(|status| {
            [TaskState::Waiting, TaskState::Enqueued, TaskState::Doing]
                .iter()
                .all(|state| status.by_state[*state as usize] == 0)
        });
        if is_quiet && processes.are_clients_done() {
            break;
        }
        if quiet.is_over() {
            ledgers.disable_cleanup(true);
            let kept = ledgers.path().display();
            let open = runtime.block_on(unsettled(queue.store().as_ref(), &processes));
            panic!("seed {seed}, ledgers in {kept}: not quiet after the last fault {quiet}: {status:?}; {open}");
        }
    }
    let quiet_after = calm.elapsed();
    turn.is_at(format!("seed {seed}: is checked"));
    let findings = runtime.block_on(checker::check(queue.store().as_ref(), ledgers.path(), database));
    let kind = if matches!(database, Database::Sqlite { .. }) { "SQLite" } else { "PostgreSQL" };
    let servers = runtime.block_on(queue.store().servers()).unwrap();
    let killed = |server: &ServerRecord| processes.killed.get(&server.pid).map(|at| (server.id, *at));
    let killed = servers.iter().filter_map(killed).collect();
    let (peaks, fallen) = (processes.peaks.clone(), processes.fallen.clone());
    drop(processes);
    let report = Report {
        name: format!("{kind}, seed {seed}"),
        faults,
        lifted,
        killed,
        struck_for,
        quiet_after,
        peaks,
        findings,
    };
    println!("{report}");
    broken.extend([report.broken(), fallen].concat());
    if !broken.is_empty() {
        ledgers.disable_cleanup(true);
        panic!(
            "seed {seed} on {kind} (`cargo dev nemesis --seed {seed}`), ledgers in {}, {} broken promises:\n{}",
            ledgers.path().display(),
            report.findings.broken_count,
            broken.join("\n")
        );
    }
}
