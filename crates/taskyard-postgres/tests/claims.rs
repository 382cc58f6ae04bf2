//! The cost of a claim, and that claims miss no task: a million rows, late commits, the cursor as a mere hint.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use taskyard_core::state::Runtime;
use taskyard_core::store::{ClaimRequest, Finish, Outcome, Store};
use taskyard_core::{ClaimId, NewTask, TaskId};
use taskyard_postgres::{PostgresStore, enqueue_in};
use taskyard_testkit::factory::{beat, in_queue, request, server, task, tasks};
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};

mod harness;

/// Maximum number of blocks read for ten tasks, whatever else is stored; the range of a million has some 14,000 blocks.
const BLOCKS_MAX: u64 = 400;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns the cost of one claim of ten, limited to these queues if any: rows of scanned tables, and blocks read.
async fn cost(client: &mut Client, server: uuid::Uuid, queues: &str) -> (i64, u64) {
    let transaction = client.transaction().await.unwrap();
    let sql = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING off) SELECT * FROM taskyard.task_claim('{server}', gen_random_uuid(),
         0::smallint, {queues}, 10, false, -2147483648, -9223372036854775808)"
    );
    let plan: Vec<String> = transaction.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // PostgreSQL 18 prints row counts with two decimals.
    assert!(["actual rows=10 ", "actual rows=10.00 "].iter().any(|rows| plan[0].contains(rows)), "{plan:?}");
    let scanned: i64 = transaction
        .query_one(
            "SELECT sum(seq_tup_read)::bigint FROM pg_stat_xact_user_tables
             WHERE schemaname = 'taskyard' AND relname IN ('ready_0', 'ready_1', 'task', 'claim')",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    transaction.commit().await.unwrap();
    (scanned, blocks(&plan))
}

/// Returns the number of blocks that a statement read, according to its plan.
fn blocks(plan: &[String]) -> u64 {
    let buffers = plan.iter().find(|line| line.contains("Buffers: shared")).unwrap();
    let count = |name: &str| {
        buffers.split_whitespace().find_map(|part| part.strip_prefix(name)).map_or(0, |n| n.parse::<u64>().unwrap())
    };
    count("hit=") + count("read=")
}

async fn set_apart(store: &PostgresStore, queue: &str) {
    while store.set_apart(&[queue.to_owned()]).await.unwrap().more {}
}

#[tokio::test]
async fn a_claim_reads_what_it_takes_of_a_million() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut planned_empty = client(&url).await;
    // Statistics stay as they were while the tables were empty: the worst basis for a plan.
    planned_empty
        .batch_execute(
            "ALTER TABLE taskyard.task SET (autovacuum_enabled = false, fillfactor = 100);
             ALTER TABLE taskyard.ready_0 SET (autovacuum_enabled = false);",
        )
        .await
        .unwrap();
    store.add(&tasks(60)).await.unwrap();
    for _ in 0..6 {
        // The plan is cached from here on.
        cost(&mut planned_empty, host.id.0, "NULL").await;
    }
    planned_empty
        .batch_execute(
            "INSERT INTO taskyard.task (id, order_number, created_at, runtime, state, kind, queue, payload)
             SELECT taskyard.uuid7(), (1::bigint << 40) + i, taskyard.now(), 0, CASE WHEN i % 2 = 0 THEN 1 ELSE 4 END, 'k',
                 'default', '{}' FROM generate_series(1, 1000000) i;
             INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn)
             SELECT t.order_number, t.id, 0, ~t.priority, t.queue, 0 FROM taskyard.task t
             WHERE t.order_number > (1::bigint << 40) AND t.state = 1;
             INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, open_parents)
             SELECT gen_random_uuid(), 0, 0, 'default', 1 FROM generate_series(1, 100000);",
        )
        .await
        .unwrap();
    // Inserting the rows may have taken longer than the lease.
    store.server_beat(&beat(host.id)).await.unwrap();
    let mut planned_full = client(&url).await;
    for client in [&mut planned_empty, &mut planned_full] {
        // The first claim of a session also reads the catalogues.
        cost(client, host.id.0, "NULL").await;
        for _ in 0..2 {
            let began = Instant::now();
            let (scanned, blocks) = cost(client, host.id.0, "NULL").await;
            assert_eq!(scanned, 0, "no table is scanned");
            assert!(blocks <= BLOCKS_MAX, "{blocks} blocks were looked at for ten tasks");
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }
    }
    // For one queue only, with half a million tasks of another one before its own.
    set_apart(&store, "mails").await;
    let mails: Vec<NewTask> = (0..90).map(|_| in_queue("mails")).collect();
    store.add(&mails).await.unwrap();
    planned_full.batch_execute("VACUUM ANALYZE taskyard.ready").await.unwrap();
    let mut analyzed = client(&url).await;
    for client in [&mut planned_empty, &mut planned_full, &mut analyzed] {
        cost(client, host.id.0, "'{mails}'").await;
        for _ in 0..2 {
            let (scanned, blocks) = cost(client, host.id.0, "'{mails}'").await;
            assert_eq!(scanned, 0, "no table is scanned");
            assert!(blocks <= BLOCKS_MAX, "{blocks} blocks were looked at for ten tasks of one queue");
        }
    }
    store.close().await;
    drop(harness::Gone(url));
}

/// Creates groups of kinds that were refused by builds without servers; the kinds `k1`, `k2`, … are in one group each.
async fn groups(client: &Client, count: usize) {
    let sql = format!(
        "WITH g AS (INSERT INTO taskyard.kind_group (runtime, builds) SELECT 0, ARRAY[1000 + i]
             FROM generate_series(1, {count}) i RETURNING id, builds)
         INSERT INTO taskyard.kind (runtime, kind, group_id) SELECT 0, 'k' || g.builds[1] - 1000, g.id FROM g"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Returns the ids that a claim in this transaction takes, in the order of their addition.
async fn claim_in(transaction: &tokio_postgres::Transaction<'_>, server: uuid::Uuid, limit: i32) -> Vec<TaskId> {
    let sql = "SELECT id FROM taskyard.task_claim($1, gen_random_uuid(), 0::smallint, NULL, $2, false, -2147483648,
        -9223372036854775808) WHERE id IS NOT NULL ORDER BY order_number";
    let rows = transaction.query(sql, &[&server, &limit]).await.unwrap();
    rows.iter().map(|row| TaskId(row.get(0))).collect()
}

/// A claim locks only the tasks that it takes: a concurrent claim of another server takes the next ones.
#[tokio::test]
async fn claims_at_once_over_groups_and_lanes_take_one_after_the_other() {
    let (store, url) = harness::fresh_with_address().await;
    let (one, two) = (server(), server());
    store.server_enter(&one).await.unwrap();
    store.server_enter(&two).await.unwrap();
    let (mut first, mut second) = (client(&url).await, client(&url).await);
    groups(&first, 3).await;
    for queue in ["left", "right"] {
        set_apart(&store, queue).await;
    }
    let batch: Vec<NewTask> = (0..300)
        .map(|at| NewTask {
            queue: ["default", "left", "right"][at % 3].into(),
            kind: ["common", "k1", "k2", "k3"][at % 4].into(),
            ..task()
        })
        .collect();
    store.add(&batch).await.unwrap();
    let ids: Vec<TaskId> = batch.iter().map(|task| task.id).collect();
    let (under_way, beside) = (first.transaction().await.unwrap(), second.transaction().await.unwrap());
    assert_eq!(claim_in(&under_way, one.id.0, 100).await, ids[..100]);
    assert_eq!(claim_in(&beside, two.id.0, 100).await, ids[100..200]);
    // Behind two hundred tasks that other transactions lock, one by one.
    assert_eq!(claim_in(&beside, two.id.0, 1).await, ids[200..201]);
    under_way.rollback().await.unwrap();
    assert_eq!(claim_in(&beside, two.id.0, 10).await, ids[..10]);
    beside.commit().await.unwrap();
    // A queue with a limit is locked only by a claim that takes some of its tasks, and no more are taken than the limit
    // allows.
    store.set_limit("left", Some(3)).await.unwrap();
    let urgent: Vec<NewTask> = (0..10).map(|_| NewTask { priority: 1, ..task() }).collect();
    store.add(&urgent).await.unwrap();
    // The tasks of that queue that the claims above run would count, too.
    second.batch_execute("DELETE FROM taskyard.claim").await.unwrap();
    let (under_way, beside) = (first.transaction().await.unwrap(), second.transaction().await.unwrap());
    assert_eq!(claim_in(&under_way, one.id.0, 10).await, urgent.iter().map(|task| task.id).collect::<Vec<_>>());
    let rest: Vec<TaskId> = ids[10..100].iter().chain(&ids[201..]).copied().collect();
    let is_left = |id: &&TaskId| ids.iter().position(|one| one == *id).unwrap() % 3 == 1;
    let mut expected: Vec<&TaskId> = rest.iter().filter(|id| !is_left(id)).collect();
    expected.extend(rest.iter().filter(is_left).take(3));
    expected.sort_by_key(|id| ids.iter().position(|one| *one == **id));
    assert_eq!(claim_in(&beside, two.id.0, 200).await.iter().collect::<Vec<_>>(), expected);
    store.close().await;
}

/// A claim of ten reads at most ten rows of each group, however many the group has.
#[tokio::test]
async fn a_claim_reads_what_it_takes_of_many_groups() {
    const GROUPS: usize = 40;
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut planned_empty = client(&url).await;
    groups(&planned_empty, GROUPS).await;
    store.add(&tasks(60)).await.unwrap();
    for _ in 0..6 {
        cost(&mut planned_empty, host.id.0, "NULL").await;
    }
    planned_empty
        .batch_execute(
            "INSERT INTO taskyard.task (id, order_number, created_at, runtime, state, kind, queue, payload)
             SELECT taskyard.uuid7(), (1::bigint << 40) + i, taskyard.now(), 0, 1, 'k', 'default', '{}'
             FROM generate_series(1, 100000) i;
             INSERT INTO taskyard.ready (order_number, task_id, lane, rank, queue, turn)
             SELECT t.order_number, t.id, (t.order_number % 41) << 32, ~t.priority, t.queue, 0 FROM taskyard.task t
             WHERE t.order_number > (1::bigint << 40)",
        )
        .await
        .unwrap();
    // Inserting the rows may have taken longer than the lease.
    store.server_beat(&beat(host.id)).await.unwrap();
    let mut planned_full = client(&url).await;
    for client in [&mut planned_empty, &mut planned_full] {
        cost(client, host.id.0, "NULL").await;
        let (scanned, _) = cost(client, host.id.0, "NULL").await;
        assert_eq!(scanned, 0, "no table is scanned");
        let transaction = client.transaction().await.unwrap();
        let sql = "SELECT sum(idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables
            WHERE schemaname = 'taskyard' AND relname IN ('ready_0', 'ready_1')";
        // Earlier claims are counted until the session reports them.
        let before: i64 = transaction.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(claim_in(&transaction, host.id.0, 10).await.len(), 10);
        let read = transaction.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) - before;
        assert!(read <= 11 * (GROUPS as i64 + 1), "{read} rows were read for ten tasks of {GROUPS} groups");
        transaction.commit().await.unwrap();
    }
    store.close().await;
    drop(harness::Gone(url));
}

/// Servers run this query again and again, on the connection of their claims: with a cached plan that reads all rows
/// for each reason, 5,000 reasons delayed claims for many seconds.
#[tokio::test]
async fn thousands_of_reasons_are_read_once_each() {
    const REASONS: u64 = 5_000;
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let park = |rows: &str| {
        format!(
            "INSERT INTO taskyard.waiting (task_id, reason, runtime, queue, parked)
             SELECT gen_random_uuid(), 3, 0, 'default', {rows}"
        )
    };
    // Statistics and plans stay as they were while the table was empty, as in a server that was started before.
    client.batch_execute("ALTER TABLE taskyard.waiting SET (autovacuum_enabled = false)").await.unwrap();
    for _ in 0..6 {
        assert!(store.parked(Runtime::Rust).await.unwrap().is_empty());
        client.query("SELECT * FROM taskyard.waiting_parked(0::smallint)", &[]).await.unwrap();
    }
    let kinds = format!("'kind `' || i || '`' FROM generate_series(1, {REASONS}) i");
    client.batch_execute(&park(&kinds)).await.unwrap();
    let sql = "EXPLAIN (ANALYZE, BUFFERS, TIMING off) SELECT * FROM taskyard.waiting_parked(0::smallint)";
    for _ in 0..2 {
        let plan: Vec<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        let blocks = blocks(&plan);
        assert!(blocks <= 2 * REASONS, "{blocks} blocks were looked at for {REASONS} reasons");
    }
    let parked = store.parked(Runtime::Rust).await.unwrap();
    assert!(parked.len() as u64 == REASONS && parked.iter().all(|reason| reason.count == 1));
    // One reason with more than a page of rows, with others before and after it, and the empty one.
    client.batch_execute(&park("'kind `3`' FROM generate_series(1, 25000) i")).await.unwrap();
    client.batch_execute(&park("''")).await.unwrap();
    let parked = store.parked(Runtime::Rust).await.unwrap();
    let distinct: HashSet<&str> = parked.iter().map(|reason| reason.reason.as_str()).collect();
    assert_eq!((parked.len() as u64, distinct.len() as u64), (REASONS + 1, REASONS + 1));
    assert!(parked.iter().all(|reason| reason.count == if reason.reason == "kind `3`" { 10_000 } else { 1 }));
    store.close().await;
    drop(harness::Gone(url));
}

/// A task that was added in a transaction which commits after later ones have been claimed.
#[tokio::test]
async fn a_late_commit_is_claimed_next() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut client = client(&url).await;
    let transaction = client.transaction().await.unwrap();
    let late = task();
    enqueue_in(&transaction, &late).await.unwrap();
    store.add(&tasks(3_000)).await.unwrap();
    let mut cursor = None;
    for _ in 0..2 {
        let reply = store.claim(&ClaimRequest { cursor, ..request(host.id, 1_000) }).await.unwrap();
        assert_eq!(reply.tasks.len(), 1_000);
        cursor = reply.cursor;
        assert!(cursor.is_some());
    }
    transaction.commit().await.unwrap();
    // The cursor is a hint: with it the late task is skipped, without it the late task comes first.
    let reply = store.claim(&ClaimRequest { cursor, ..request(host.id, 500) }).await.unwrap();
    assert_eq!(reply.tasks.len(), 500);
    assert!(reply.tasks.iter().all(|task| task.id != late.id));
    let reply = store.claim(&request(host.id, 500)).await.unwrap();
    assert_eq!(reply.tasks[0].id, late.id);
    assert_eq!(reply.tasks.len(), 500);
}

/// A task that an addition under way left in the common range while its queue was set apart is found by the next step.
#[tokio::test]
async fn a_late_commit_is_set_apart_after_all() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut client = client(&url).await;
    let transaction = client.transaction().await.unwrap();
    let late = in_queue("mails");
    enqueue_in(&transaction, &late).await.unwrap();
    set_apart(&store, "mails").await;
    transaction.commit().await.unwrap();
    set_apart(&store, "mails").await;
    let only = ClaimRequest { queues: Some(vec!["mails".into()]), ..request(host.id, 10) };
    assert_eq!(store.claim(&only).await.unwrap().tasks[0].id, late.id);
}

/// With cursors from claim to claim every task is claimed once, in order, whatever the priorities.
#[tokio::test]
async fn places_lead_through_all_priorities() {
    let (store, _url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let batch: Vec<NewTask> =
        (0..2_500).map(|number| NewTask { priority: [0, i32::MAX, -7, i32::MIN, 3][number % 5], ..task() }).collect();
    store.add(&batch).await.unwrap();
    let mut expected: Vec<&NewTask> = batch.iter().collect();
    expected.sort_by_key(|task| std::cmp::Reverse(task.priority));
    let expected: Vec<TaskId> = expected.iter().map(|task| task.id).collect();
    let mut claimed = Vec::new();
    let mut cursor = None;
    loop {
        let reply = store.claim(&ClaimRequest { cursor, ..request(host.id, 300) }).await.unwrap();
        claimed.extend(reply.tasks.iter().map(|task| task.id));
        cursor = reply.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(claimed, expected);
}

/// Many concurrent servers take every task once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_many_servers_share_the_tasks() {
    let (store, url) = harness::fresh_with_address().await;
    store.add(&tasks(4_000)).await.unwrap();
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        servers.spawn(async move {
            let store = harness::open(&url).await;
            let host = server();
            store.server_enter(&host).await.unwrap();
            let mut claimed: Vec<TaskId> = Vec::new();
            loop {
                let ask = ClaimRequest { claim: ClaimId::generate(), ..request(host.id, 70) };
                let reply = store.claim(&ask).await.unwrap();
                if reply.tasks.is_empty() {
                    return claimed;
                }
                let read_back = store.claimed(host.id, ask.claim).await.unwrap();
                assert_eq!(read_back, reply.tasks);
                claimed.extend(reply.tasks.iter().map(|task| task.id));
            }
        });
    }
    let mut all: Vec<TaskId> = servers.join_all().await.into_iter().flatten().collect();
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!((count, all.len()), (4_000, 4_000));
}

/// A claim that arrives after its server has asked for its result claims nothing, because no server would know of the
/// tasks.
#[tokio::test]
async fn a_claim_that_arrives_after_it_was_asked_back_does_nothing() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&tasks(10)).await.unwrap();
    let late = request(host.id, 10);
    assert!(store.claimed(host.id, late.claim).await.unwrap().is_empty());
    assert!(store.claim(&late).await.unwrap().tasks.is_empty());
    // The query waits for a claim that is under way.
    let slow = request(host.id, 4);
    let mut other = client(&url).await;
    let under_way = other.transaction().await.unwrap();
    let sql = "SELECT FROM taskyard.task_claim($1, $2, 0::smallint, NULL, 4, false, -2147483648, 0)";
    assert_eq!(under_way.query(sql, &[&host.id.0, &slow.claim.0]).await.unwrap().len(), 4);
    let asked = tokio::spawn({
        let store = store.clone();
        async move { store.claimed(host.id, slow.claim).await.unwrap() }
    });
    let watcher = client(&url).await;
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while watcher.query(waiting, &[]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    under_way.commit().await.unwrap();
    assert_eq!(asked.await.unwrap().len(), 4);
    assert_eq!(store.claim(&request(host.id, 10)).await.unwrap().tasks.len(), 6);
}

/// If commits do not wait for the disk, a claim is not closed while one of its tasks is running according to the task's
/// row, unless the end of that task is set aside.
#[tokio::test]
async fn a_claim_of_a_forgotten_end_is_not_closed() {
    let url = harness::database().await;
    let name = url.rsplit('/').next().unwrap();
    shared().psql(&format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off"));
    let store = harness::open(&url).await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&tasks(3)).await.unwrap();
    let claim = request(host.id, 3);
    let claimed = store.claim(&claim).await.unwrap().tasks;
    let end = |at: usize| Finish {
        id: claimed[at].id,
        token: claimed[at].token,
        outcome: Outcome::Done { result: b"1".to_vec() },
        context: None,
        logs: Vec::new(),
    };
    store.finish(&[end(0)], &[claim.claim]).await.unwrap();
    assert_eq!(store.claims_held(host.id, &[], None).await.unwrap().claims, [claim.claim]);
    store.end_set_aside(&end(1), "a trigger").await.unwrap();
    store.finish(&[end(2)], &[claim.claim]).await.unwrap();
    assert!(store.claims_held(host.id, &[], None).await.unwrap().claims.is_empty());
    store.close().await;
}

/// A child that became runnable while the claim waited for a lock starts after its parent's end, by the stored times.
#[tokio::test]
async fn no_attempt_starts_before_the_end_of_a_parent() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let mut other = client(&url).await;
    let watcher = client(&url).await;
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    // Also in a limited queue, for which claims select tasks in another way.
    for queue in ["default", "limited"] {
        if queue == "limited" {
            store.set_limit(queue, Some(10)).await.unwrap();
        }
        // On a slow machine, the claim gives up its wait for the lock after a second; then the round is repeated.
        loop {
            let parent = in_queue(queue);
            let child = NewTask { parents: vec![parent.id], ..in_queue(queue) };
            store.add(&[parent.clone(), child.clone()]).await.unwrap();
            let first = request(host.id, 100);
            let claimed = store.claim(&first).await.unwrap().tasks;
            let parent = claimed.into_iter().find(|task| task.id == parent.id).unwrap();
            let lock = other.transaction().await.unwrap();
            lock.execute("SELECT FROM taskyard.server WHERE id = $1 FOR UPDATE", &[&host.id.0]).await.unwrap();
            let claim = tokio::spawn({
                let store = store.clone();
                async move { store.claim(&request(host.id, 1)).await }
            });
            while watcher.query(waiting, &[]).await.unwrap().is_empty() && !claim.is_finished() {
                tokio::task::yield_now().await;
            }
            let outcome = Outcome::Done { result: b"1".to_vec() };
            let end = Finish { id: parent.id, token: parent.token, outcome, context: None, logs: Vec::new() };
            store.finish(&[end], &[first.claim]).await.unwrap();
            lock.commit().await.unwrap();
            if claim.await.unwrap().is_ok_and(|reply| reply.tasks.iter().any(|task| task.id == child.id)) {
                let records = store.get(&[parent.id, child.id]).await.unwrap();
                let [Some(parent), Some(child)] = records.as_slice() else { panic!("{records:?}") };
                assert!(child.started_at.unwrap() >= parent.finished_at.unwrap(), "{queue}: {child:?} {parent:?}");
                break;
            }
        }
    }
}
