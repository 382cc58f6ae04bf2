//! Faults that need a run of their own: SQLite's file is replaced, a dump is restored, two programs share a queue.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use taskyard::settings::Settings;
use taskyard::{Store, TaskFilter, TaskId, TaskState, Taskyard};
use taskyard_faults::ledger::{Event, Ledger, read_all};
use taskyard_faults::rng::SeededRng;
use taskyard_faults::tasks::{spare, work};
use taskyard_testkit::backend::Backend;
use taskyard_testkit::postgres::shared;

use crate::checker::check;
use crate::deadline::{Bound, Turn};
use crate::faults::Database;
use crate::processes::{Processes, Production};
use crate::{WATCH, unsettled};

const WAIT_MAX: Duration = Duration::from_secs(60);
const NOTHING: Production = Production { tasks: 0, rate: 1.0 };

async fn open(database: &str) -> Taskyard {
    let settings = Settings { database: Some(database.to_owned()), ..Settings::default() };
    Taskyard::with_settings(settings).await.unwrap()
}

async fn ids(store: &dyn Store) -> HashSet<TaskId> {
    let filter = TaskFilter { limit: 10_000, ..TaskFilter::default() };
    store.list(&filter).await.unwrap().iter().map(|task| task.id).collect()
}

/// Lets the processes run until every task has ended.
async fn until_quiet(processes: &mut Processes, store: &dyn Store) {
    let bound = Bound::new(WAIT_MAX);
    loop {
        processes.run_for(Duration::from_millis(50));
        let status = store.status().await.unwrap();
        let is_open = |state: &TaskState| status.by_state[*state as usize] > 0;
        if ![TaskState::Waiting, TaskState::Enqueued, TaskState::Doing].iter().any(is_open) {
            return;
        }
        assert!(!bound.is_over(), "not quiet {bound}: {status:?}; {}", unsettled(store, processes).await);
    }
}

fn told(ledgers: &Path, wanted: impl Fn(&Event) -> Option<TaskId>) -> HashSet<TaskId> {
    read_all(ledgers).unwrap().iter().filter_map(wanted).collect()
}

fn adding(event: &Event) -> Option<TaskId> {
    if let Event::Adding { task } = event { Some(*task) } else { None }
}

fn added(event: &Event) -> Option<TaskId> {
    if let Event::Added { task } = event { Some(*task) } else { None }
}

/// Checks the checker, one rule at a time: a run without faults is clean, and a forged line or row is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_checker_sees_what_is_wrong() {
    let _turn = Turn::of("the_checker_sees_what_is_wrong").await;
    let address = shared().create_database();
    let queue = open(&address).await;
    shared().psql_in(&address, WATCH);
    let database = Database::Postgres { cluster: shared(), address: address.clone() };
    let ledgers = tempfile::tempdir().unwrap();
    let mut processes = Processes::start(&address, ledgers.path(), 1, Production { tasks: 300, rate: 300.0 });
    let bound = Bound::new(WAIT_MAX);
    while !processes.are_clients_done() {
        assert!(!bound.is_over(), "the clients do not end {bound}");
        processes.run_for(Duration::from_millis(50));
    }
    until_quiet(&mut processes, queue.store().as_ref()).await;
    drop(processes);
    let clean = check(queue.store().as_ref(), ledgers.path(), &database).await;
    assert_eq!(clean.broken, Vec::<String>::new());
    let done = TaskFilter { states: vec![TaskState::Done], limit: 1, ..TaskFilter::default() };
    let task = queue.store().list(&done).await.unwrap().remove(0).id;
    let forged = ledgers.path().join("forged.ledger");
    let seen = |state: &str| Event::Observed { task, state: state.into(), result: None };
    let start = Event::Started { task, attempt: 9, token: "9".into(), process: 9 };
    for events in [
        vec![Event::Added { task: TaskId::generate() }],
        vec![Event::Refused { task }],
        vec![Event::Merged { task, holder: task }],
        vec![seen("failed")],
        vec![start.clone(), start],
    ] {
        Ledger::open(ledgers.path(), "forged").unwrap().write(&events);
        let found = check(queue.store().as_ref(), ledgers.path(), &database).await;
        std::fs::remove_file(&forged).unwrap();
        assert!(found.broken_count > 0, "{events:?} was not seen");
    }
    for (row, back) in [
        ("UPDATE taskyard.task SET state = 5 WHERE id = '{}'", "UPDATE taskyard.task SET state = 4 WHERE id = '{}'"),
        ("INSERT INTO nemesis.effect VALUES ('{}')", "DELETE FROM nemesis.effect WHERE task = '{}'"),
        ("INSERT INTO nemesis.note SELECT gen_random_uuid()", "TRUNCATE nemesis.note"),
        ("UPDATE taskyard.task SET result = '{}' WHERE id = '{}'", ""),
    ] {
        let id = task.to_string();
        shared().psql_in(&address, &row.replace("'{}'", &format!("'{id}'")));
        let found = check(queue.store().as_ref(), ledgers.path(), &database).await;
        assert!(found.broken_count > 0, "{row} was not seen");
        shared().psql_in(&address, &back.replace("'{}'", &format!("'{id}'")));
        shared().psql_in(&address, "DELETE FROM nemesis.decision WHERE was_final");
    }
}

/// The file is moved away and an older copy put in its place, under servers and clients: from then on nothing is
/// acknowledged that the path does not show, and everything acknowledged before is in the file that was moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_file_takes_nothing_along() {
    let _turn = Turn::of("a_replaced_file_takes_nothing_along").await;
    let (directory, ledgers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = directory.path().join("queue.db");
    let (copy, moved) = (directory.path().join("copy.db"), directory.path().join("moved.db"));
    let address = path.to_str().unwrap();
    let mut processes = Processes::start(address, ledgers.path(), 1, Production { tasks: 2_000, rate: 400.0 });
    let bound = Bound::new(WAIT_MAX);
    while told(ledgers.path(), added).len() < 200 {
        assert!(!bound.is_over(), "the clients do not add {bound}");
        processes.run_for(Duration::from_millis(50));
    }
    rusqlite::Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    processes.run_for(Duration::from_millis(500));

    let acknowledged = told(ledgers.path(), added);
    let file = |path: &Path, suffix: &str| format!("{}{suffix}", path.display());
    for suffix in ["", "-wal", "-shm"] {
        std::fs::rename(file(&path, suffix), file(&moved, suffix)).unwrap();
    }
    std::fs::rename(&copy, &path).unwrap();
    let begun_before = told(ledgers.path(), adding);
    // These processes continue: none of them may acknowledge into the file that was moved.
    processes.run_for(Duration::from_secs(2));
    (0..processes.slots.len()).for_each(|place| processes.signal(place, "KILL"));
    processes.run_for(Duration::from_secs(2));
    processes.end_production();
    let queue = open(address).await;
    while !processes.are_clients_done() {
        assert!(!bound.is_over(), "the clients do not end {bound}");
        processes.run_for(Duration::from_millis(50));
    }
    until_quiet(&mut processes, queue.store().as_ref()).await;

    let (now, before) =
        (ids(queue.store().as_ref()).await, ids(open(moved.to_str().unwrap()).await.store().as_ref()).await);
    let lost: Vec<_> = acknowledged.difference(&before).collect();
    assert!(lost.is_empty(), "acknowledged before the file was moved, and not in it: {lost:?}");
    let later: HashSet<TaskId> = told(ledgers.path(), added).difference(&begun_before).copied().collect();
    let lost: Vec<_> = later.difference(&now).collect();
    assert!(lost.is_empty(), "acknowledged after the file was moved, and not at its path: {lost:?}");
    assert!(!later.is_empty(), "nothing was added to the new file");
}

/// A dump whose snapshot is older than a truncation of the runnable range has tasks that are enqueued and in no range.
/// The comparison restores each once, and servers run them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_dump_runs_what_it_holds() {
    const TASKS: u64 = 500;
    let _turn = Turn::of("a_restored_dump_runs_what_it_holds").await;
    let database = shared().create_database();
    let queue = open(&database).await;
    queue.add_tasks((0..TASKS).map(|_| work(0))).await.unwrap();
    let (snapshots, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    snapshots.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let snapshot: String = snapshots.query_one("SELECT pg_export_snapshot()", &[]).await.unwrap().get(0);
    let ledgers = tempfile::tempdir().unwrap();
    let mut processes = Processes::start(&database, ledgers.path(), 1, NOTHING);
    until_quiet(&mut processes, queue.store().as_ref()).await;
    drop(processes);
    // As when the range rotates after a part has become empty.
    shared().psql_in(&database, "TRUNCATE taskyard.ready_0, taskyard.ready_1");
    let restored = shared().copy_of_snapshot(&database, &snapshot);
    drop(snapshots);

    let queue = open(&restored).await;
    let store = queue.store();
    assert_eq!(store.status().await.unwrap().by_state[TaskState::Enqueued as usize], TASKS);
    assert_eq!(shared().psql_in(&restored, "SELECT count(*) FROM taskyard.ready"), "0");
    assert!(store.ranges_suspect().await.unwrap());
    let (mut after, mut repaired) = (None, 0);
    loop {
        let report = store.compare_ranges(after, 100, true).await.unwrap();
        repaired += report.repaired;
        after = report.last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(repaired, TASKS);
    let ledgers = tempfile::tempdir().unwrap();
    let mut processes = Processes::start(&restored, ledgers.path(), 2, NOTHING);
    until_quiet(&mut processes, store.as_ref()).await;
    assert_eq!(store.status().await.unwrap().by_state[TaskState::Done as usize], TASKS);
    let runs =
        read_all(ledgers.path()).unwrap().into_iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!(runs as u64, TASKS);
}

/// Two programs, of which one knows tasks that the other does not, serve one queue and are killed in turn: every task
/// ends done, and none stays parked.
async fn two_programs_share_a_queue(backend: Backend) {
    const TASKS: u64 = 300;
    let _turn = Turn::of(match backend {
        Backend::Sqlite(_) => "sqlite::two_programs_share_a_queue",
        Backend::Postgres => "postgres::two_programs_share_a_queue",
    })
    .await;
    let database = backend.create_database();
    let queue = open(&database).await;
    let ledgers = tempfile::tempdir().unwrap();
    let mut processes = Processes::start(&database, ledgers.path(), 1, NOTHING);
    let mut rng = SeededRng::new(1);
    for _ in 0..6 {
        for number in 0..TASKS / 6 {
            queue.add(spare(number)).await.unwrap();
            queue.add(work(rng.within(0..30))).await.unwrap();
        }
        let place = usize::try_from(rng.within(0..2)).unwrap();
        processes.signal(place, rng.pick(&["KILL", "TERM"]));
        processes.run_for(Duration::from_millis(rng.within(200..800)));
    }
    until_quiet(&mut processes, queue.store().as_ref()).await;
    let status = queue.store().status().await.unwrap();
    assert_eq!((status.by_state[TaskState::Done as usize], status.parked), (2 * TASKS, 0), "{status:?}");
    assert_eq!(processes.fallen, Vec::<String>::new());
}

taskyard_testkit::on_both_stores! { two_programs_share_a_queue }
