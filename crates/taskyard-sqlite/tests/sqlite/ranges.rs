//! Rows of the runnable range that were deleted by hand: noticed, reported, and restored once.

use std::collections::HashSet;
use std::time::Duration;

use taskyard_core::store::RangeReport;
use taskyard_core::task::{NewTask, Start};
use taskyard_core::{Store, TaskState};
use taskyard_sqlite::SqliteStore;

use crate::sandbox::{Sandbox, claim, done, request, server, task};

/// Compares all tasks in small steps.
async fn walk(store: &SqliteStore, repair: bool) -> RangeReport {
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

fn in_queue(queue: &str) -> NewTask {
    NewTask { queue: queue.into(), ..task() }
}

/// Returns whether rows are known to be missing, and the number that the status reports.
async fn suspicion(store: &SqliteStore) -> (bool, u64) {
    (store.ranges_suspect().await.unwrap(), store.status().await.unwrap().misplaced)
}

#[tokio::test]
async fn what_is_missing_is_noticed_and_put_back() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let host = server(&store).await;
    store.set_ageing("aged", Some(Duration::from_micros(1))).await.unwrap();
    let many = |count: usize, queue: &str| (0..count).map(|_| in_queue(queue)).collect::<Vec<_>>();
    store.add(&many(300, "default")).await.unwrap();
    store.add(&many(20, "aged")).await.unwrap();
    // These are in the common partition, and those of the freed queue in its own.
    store.add(&many(20, "paused")).await.unwrap();
    store.set_paused("paused", true).await.unwrap();
    store.set_paused("freed", true).await.unwrap();
    store.add(&many(20, "freed")).await.unwrap();
    store.set_paused("freed", false).await.unwrap();
    let urgent: Vec<NewTask> = (0..20).map(|at| NewTask { priority: at, ..task() }).collect();
    store.add(&urgent).await.unwrap();
    store.add(&[NewTask { start: Start::After(Duration::from_secs(600)), ..task() }]).await.unwrap();
    store.age().await.unwrap();
    // Nothing is wrong: rows that have aged, and those in another partition than their queue's current one, do not
    // count as missing.
    assert_eq!(suspicion(&store).await, (false, 0));
    let report = walk(&store, true).await;
    assert_eq!((report.seen, report.missing, report.repaired), (381, 0, 0));

    let raw = sandbox.raw();
    let deleted = raw.execute("delete from ty_ready where order_number % 2 = 0", []).unwrap() as u64;
    assert!(deleted > 100);
    assert_eq!(suspicion(&store).await, (true, deleted));
    let report = walk(&store, false).await;
    assert_eq!((report.missing, report.repaired), (deleted, 0));
    assert_eq!(suspicion(&store).await, (true, deleted), "a comparison alone changes nothing");
    let mut work = store.notifications().work.listen();
    let report = walk(&store, true).await;
    assert_eq!((report.missing, report.repaired), (deleted, deleted));
    assert!(work.take(), "what was put back can be claimed");
    assert_eq!(suspicion(&store).await, (false, 0));
    let rows = "select count(*) || '/' || count(distinct order_number) from ty_ready";
    assert_eq!(raw.query_row(rows, [], |row| row.get::<_, String>(0)).unwrap(), "380/380");
    assert_eq!(walk(&store, true).await.missing, 0);

    let mut claimed = HashSet::new();
    loop {
        let reply = store.claim(&request(host, 1_000)).await.unwrap();
        if reply.tasks.is_empty() && reply.cursor.is_none() {
            break;
        }
        for task in reply.tasks {
            assert!(claimed.insert(task.id), "claimed twice");
        }
    }
    assert_eq!(claimed.len(), 360, "all but those of the paused queue");
}

#[tokio::test]
async fn none_is_doubled_beside_claims() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let host = server(&store).await;
    store.add(&(0..600).map(|_| task()).collect::<Vec<_>>()).await.unwrap();
    sandbox.raw().execute("delete from ty_ready where order_number % 3 > 0", []).unwrap();
    let other = SqliteStore::open(sandbox.file()).await.unwrap();
    let run = async {
        let mut claimed = HashSet::new();
        while claimed.len() < 600 {
            let tasks = claim(&store, host, 7).await;
            store.finish(&tasks.iter().map(done).collect::<Vec<_>>(), &[]).await.unwrap();
            for task in &tasks {
                assert!(claimed.insert(task.id), "claimed twice");
            }
            tokio::task::yield_now().await;
        }
    };
    let repairs = async |store: &SqliteStore| {
        let mut repaired = 0;
        for _ in 0..3 {
            repaired += walk(store, true).await.repaired;
        }
        repaired
    };
    let all = async { tokio::join!(run, repairs(&store), repairs(&other)) };
    let ((), one, two) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("all run");
    assert_eq!(one + two, 400, "each by one of them");
    let status = store.status().await.unwrap();
    assert_eq!((status.misplaced, status.by_state[TaskState::Done.code() as usize]), (0, 600));
}

/// A count that is wrong for another reason does not keep the store suspect.
#[tokio::test]
async fn a_wrong_count_is_put_right_by_a_repair() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    store
        .add(&(0..250).map(|at| in_queue(if at % 2 == 0 { "even" } else { "odd" })).collect::<Vec<_>>())
        .await
        .unwrap();
    let raw = sandbox.raw();
    raw.execute_batch(
        "delete from ty_task where order_number in (select order_number from ty_ready where queue = 'odd' limit 5);
         delete from ty_ready where order_number not in (select order_number from ty_task);
         delete from ty_ready where order_number in (select order_number from ty_ready where queue = 'even' limit 3);",
    )
    .unwrap();
    assert_eq!(suspicion(&store).await, (true, 8));
    assert_eq!(walk(&store, true).await.repaired, 3);
    assert_eq!(suspicion(&store).await, (false, 0));
    let counts: Vec<(String, u64)> =
        store.queues().await.unwrap().into_iter().map(|queue| (queue.name, queue.enqueued)).collect();
    assert_eq!(counts, [("even".to_owned(), 125), ("odd".to_owned(), 120)]);
}
