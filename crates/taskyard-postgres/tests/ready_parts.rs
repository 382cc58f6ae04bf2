//! The parts of `ready` rotate, whatever old snapshot is open, and claims are not affected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::store::Store;
use taskyard_core::{NewTask, TaskId};
use taskyard_testkit::factory::{request, server, tasks};
use tokio_postgres::{Client, NoTls};

mod harness;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs one step with the smallest size; returns whether another one is useful.
async fn step(client: &Client) -> bool {
    client.query_one("SELECT taskyard.ready_turn_over(1)", &[]).await.unwrap().get(0)
}

/// Returns the rows in each part, the sizes of the parts, and the part that takes new rows.
async fn parts(client: &Client) -> ([i64; 2], [i64; 2], i16) {
    let sql = "SELECT (SELECT count(*) FROM taskyard.ready_0), (SELECT count(*) FROM taskyard.ready_1), \
               pg_relation_size('taskyard.ready_0'), pg_relation_size('taskyard.ready_1'), turn FROM taskyard.ready_turn";
    let row = client.query_one(sql, &[]).await.unwrap();
    ([row.get(0), row.get(1)], [row.get(2), row.get(3)], row.get(4))
}

fn ids(batch: &[NewTask]) -> Vec<TaskId> {
    batch.iter().map(|task| task.id).collect()
}

#[tokio::test]
async fn an_old_snapshot_does_not_keep_claimed_rows() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut holder = client(&url).await;
    let snapshot = holder.transaction().await.unwrap();
    snapshot.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    snapshot.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
    let look = client(&url).await;

    let (first, second) = (tasks(300), tasks(200));
    store.add(&first).await.unwrap();
    assert!(!step(&look).await);
    assert_eq!(parts(&look).await.2, 1, "the part that has grown takes no more");
    store.add(&second).await.unwrap();
    assert_eq!(parts(&look).await.0, [300, 200]);

    // Both parts have one order.
    let claimed = store.claim(&request(host.id, 400)).await.unwrap().tasks;
    let expected = [ids(&first), ids(&second)].concat();
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), expected[..400]);
    assert!(!step(&look).await);
    let (rows, sizes, turn) = parts(&look).await;
    assert_eq!((rows, turn), ([0, 100], 1));
    assert_eq!(sizes[0], 0, "the part that is empty was truncated, old snapshot or not");
    assert!(!step(&look).await);
    assert_eq!(parts(&look).await.2, 0, "and takes the next turn");

    // A few unclaimed rows are moved, so that the other part is emptied all the same.
    let third = tasks(10);
    store.add(&third).await.unwrap();
    while step(&look).await {}
    let (rows, sizes, turn) = parts(&look).await;
    assert_eq!((rows, sizes[1], turn), ([110, 0], 0, 0));
    let claimed = store.claim(&request(host.id, 400)).await.unwrap().tasks;
    let expected = [&expected[400..], &ids(&third)].concat();
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), expected);
    snapshot.commit().await.unwrap();
}

#[tokio::test]
async fn a_reader_of_a_partition_delays_its_turn_and_nothing_else() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&tasks(5)).await.unwrap();
    let (look, mut holder) = (client(&url).await, client(&url).await);
    let reader = holder.transaction().await.unwrap();
    reader.query("SELECT FROM taskyard.ready", &[]).await.unwrap();
    assert!(!step(&look).await);
    assert_eq!(store.claim(&request(host.id, 9)).await.unwrap().tasks.len(), 5);
    assert!(!step(&look).await);
    assert!(parts(&look).await.1[0] > 0, "it is being read");
    let more = tasks(5);
    store.add(&more).await.unwrap();
    assert_eq!(store.claim(&request(host.id, 9)).await.unwrap().tasks.len(), 5);
    reader.commit().await.unwrap();
    assert!(!step(&look).await);
    assert_eq!(parts(&look).await.1[0], 0);
}

/// Parts rotate while tasks are added, claimed and cancelled concurrently: each is claimed or cancelled, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_under_load_lose_nothing() {
    let (store, url) = harness::fresh_with_address().await;
    let (adding, ended) = tokio::sync::watch::channel(false);
    let turner = {
        let (look, mut ended) = (client(&url).await, ended.clone());
        tokio::spawn(async move {
            let mut turns = 0;
            while !*ended.borrow_and_update() {
                let before = parts(&look).await.2;
                step(&look).await;
                turns += u32::from(parts(&look).await.2 != before);
            }
            turns
        })
    };
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (url, ended) = (url.clone(), ended.clone());
        claimers.spawn(async move {
            let store = harness::open(&url).await;
            let host = server();
            store.server_enter(&host).await.unwrap();
            let mut claimed = Vec::new();
            loop {
                // Read before the claim: a claim after the end sees all tasks that were added before it.
                let last = *ended.borrow();
                let reply = store.claim(&request(host.id, 40)).await.unwrap();
                if reply.tasks.is_empty() && last {
                    return claimed;
                }
                claimed.extend(reply.tasks.iter().map(|task| task.id));
            }
        });
    }
    let (mut added, mut cancelled) = (Vec::new(), Vec::new());
    for round in 0..200 {
        let batch = tasks(25);
        store.add(&batch).await.unwrap();
        added.extend(ids(&batch));
        if round % 4 == 0 {
            let reply = store.cancel(&[batch[24].id]).await.unwrap();
            if reply[0] == taskyard_core::store::ControlReply::Applied(taskyard_core::TaskState::Cancelled) {
                cancelled.push(batch[24].id);
            }
        }
    }
    adding.send_replace(true);
    let mut seen: Vec<TaskId> = claimers.join_all().await.into_iter().flatten().chain(cancelled).collect();
    assert!(turner.await.unwrap() >= 2, "the parts took turns");
    seen.sort();
    added.sort();
    assert_eq!(seen, added);
}
