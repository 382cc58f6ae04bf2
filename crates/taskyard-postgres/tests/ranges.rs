//! The runnable range is rebuilt from the tasks: rows missing in a restored dump are noticed and run, and no task gets
//! two rows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use taskyard_core::store::{Finish, Outcome, RangeReport, Store};
use taskyard_core::{NewTask, TaskId, TaskState};
use taskyard_postgres::PostgresStore;
use taskyard_testkit::factory::{in_queue, request, server, task, tasks};
use taskyard_testkit::postgres::shared;

mod harness;

/// Compares all tasks in small steps.
async fn walk(store: &PostgresStore, repair: bool) -> RangeReport {
    let mut sum = RangeReport::default();
    loop {
        let step = store.compare_ranges(sum.last, 100, repair).await.unwrap();
        sum = RangeReport {
            seen: sum.seen + step.seen,
            missing: sum.missing + step.missing,
            repaired: sum.repaired + step.repaired,
            last: step.last,
        };
        if sum.last.is_none() {
            return sum;
        }
    }
}

/// No search runs on tables that a migration has just created, however many tasks are added before the first server.
#[tokio::test]
async fn a_new_database_is_not_suspect() {
    let store = harness::open(&shared().create_database()).await;
    store.migrate().await.unwrap();
    store.add(&tasks(3)).await.unwrap();
    assert!(!store.ranges_suspect().await.unwrap());
}

/// A dump of the data alone, restored into a schema that was just created, would add a second row; one without these
/// tables, none.
#[tokio::test]
async fn the_part_that_takes_new_rows_is_always_one() {
    let (store, url) = harness::fresh_with_address().await;
    let second = shared().try_psql_in(&url, "INSERT INTO taskyard.ready_turn (turn) VALUES (1)");
    assert!(second.unwrap_err().contains("duplicate key"));
    shared().psql_in(&url, "DELETE FROM taskyard.ready_turn");
    assert!(store.add(&[task()]).await.is_err());
    walk(&store, true).await;
    store.add(&[task()]).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_noticed_and_put_back() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.set_ageing("aged", Some(Duration::from_micros(1))).await.unwrap();
    store.set_paused("paused", true).await.unwrap();
    store.add(&tasks(300)).await.unwrap();
    store.add(&(0..20).map(|_| in_queue("aged")).collect::<Vec<_>>()).await.unwrap();
    store.add(&(0..20).map(|_| in_queue("paused")).collect::<Vec<_>>()).await.unwrap();
    let urgent: Vec<NewTask> = (0..20).map(|at| NewTask { priority: at, ..task() }).collect();
    store.add(&urgent).await.unwrap();
    store
        .add(&[NewTask { start: taskyard_core::task::Start::After(Duration::from_secs(600)), ..task() }])
        .await
        .unwrap();
    store.age().await.unwrap();
    // Nothing is wrong: rows that have aged, and those of other partitions, do not count as missing.
    assert!(store.ranges_suspect().await.unwrap(), "these tables were never compared");
    let report = walk(&store, true).await;
    assert_eq!((report.seen, report.missing, report.repaired), (361, 0, 0));
    assert!(!store.ranges_suspect().await.unwrap());
    assert_eq!(store.status().await.unwrap().misplaced, 0);

    shared().psql_in(
        &url,
        "DELETE FROM taskyard.ready WHERE ctid IN (SELECT ctid FROM taskyard.ready WHERE order_number % 2 = 0)",
    );
    let left: u64 = shared().psql_in(&url, "SELECT count(*) FROM taskyard.ready").parse().unwrap();
    assert!(left < 360);
    assert!(store.status().await.unwrap().misplaced > 0);
    assert!(store.ranges_suspect().await.unwrap());
    let report = walk(&store, false).await;
    assert_eq!((report.missing, report.repaired), (360 - left, 0));
    let report = walk(&store, true).await;
    assert_eq!((report.missing, report.repaired), (360 - left, 360 - left));
    assert_eq!(
        shared().psql_in(&url, "SELECT count(*) || '/' || count(DISTINCT task_id) FROM taskyard.ready"),
        "360/360"
    );
    assert!(!store.ranges_suspect().await.unwrap());
    assert_eq!(store.status().await.unwrap().misplaced, 0);
    // Each task is in its partition, in its order.
    let claimed = store.claim(&request(host.id, 1_000)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 340, "all but those of the paused queue");
    store.set_paused("paused", false).await.unwrap();
    assert_eq!(store.claim(&request(host.id, 1_000)).await.unwrap().tasks.len(), 20);
}

/// A copy of a database is a different one: rows missing in the dump are searched for without depending on a sample.
#[tokio::test]
async fn a_restored_database_is_suspect() {
    let (store, url) = harness::fresh_with_address().await;
    store.add(&tasks(3)).await.unwrap();
    walk(&store, true).await;
    assert!(!store.ranges_suspect().await.unwrap());
    store.close().await;
    let name = url.rsplit('/').next().unwrap();
    // A copy is refused while a session is connected; a session ends a moment after its client left.
    while shared().terminate_backends(name) > 0 {}
    let copy = shared().create_database_from(name);
    let copied = harness::open(&copy).await;
    assert!(copied.ranges_suspect().await.unwrap());
    assert_eq!(walk(&copied, true).await.missing, 0);
    assert!(!copied.ranges_suspect().await.unwrap());
}

/// Runs all claimable tasks, and returns how often each was claimed.
async fn run(store: Arc<PostgresStore>, total: usize) -> HashMap<TaskId, u32> {
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut claims = HashMap::new();
    let done = |claimed: &taskyard_core::store::Claimed| Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Done { result: b"null".to_vec() },
        context: None,
        logs: Vec::new(),
    };
    loop {
        let claimed = store.claim(&request(host.id, 7)).await.unwrap().tasks;
        for task in &claimed {
            *claims.entry(task.id).or_default() += 1;
        }
        store.finish(&claimed.iter().map(done).collect::<Vec<_>>(), &[]).await.unwrap();
        if claimed.is_empty() {
            let status = store.status().await.unwrap();
            if status.by_state[TaskState::Done.code() as usize] == total as u64 {
                return claims;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_doubled_beside_claims() {
    const TOTAL: usize = 600;
    let (store, url) = harness::fresh_with_address().await;
    store.add(&tasks(TOTAL)).await.unwrap();
    shared().psql_in(
        &url,
        "DELETE FROM taskyard.ready WHERE ctid IN (SELECT ctid FROM taskyard.ready WHERE order_number % 3 > 0)",
    );
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..2 {
        running.spawn(run(harness::open(&url).await, TOTAL));
    }
    let (first, second) = (harness::open(&url).await, harness::open(&url).await);
    let repairs = async |store: &PostgresStore| {
        let mut repaired = 0;
        for _ in 0..3 {
            repaired += walk(store, true).await.repaired;
        }
        repaired
    };
    let (one, two) = tokio::join!(repairs(&first), repairs(&second));
    assert_eq!(one + two, 400, "each by one of them");
    let mut claims: HashMap<TaskId, u32> = HashMap::new();
    for (id, times) in running.join_all().await.into_iter().flatten() {
        *claims.entry(id).or_default() += times;
    }
    assert_eq!(claims.len(), TOTAL);
    assert!(claims.values().all(|times| *times == 1));
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.ready"), "0", "no row is left over");
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.waiting"), "0", "and none was set aside");
}
