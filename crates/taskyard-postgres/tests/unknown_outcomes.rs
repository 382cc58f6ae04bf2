//! Additions whose outcome is unknown for a while: each is stored once, or its caller gets an error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::Client;
use taskyard_core::client::{Call, ClientConfig};
use taskyard_core::store::{AddRequest, Store};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::{ids, task, tasks};
use taskyard_testkit::postgres::shared;
use tokio_postgres::NoTls;

mod harness;

/// Connects a store that gives a statement up long before its server gives up the wait for a lock (600 ms).
async fn impatient(url: &str) -> Arc<PostgresStore> {
    let options = Options { answer_max: Duration::from_millis(250), ..Options::default() };
    PostgresStore::connect(url, options).await.unwrap()
}

async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until the only value of this query is `t`.
async fn until(url: &str, query: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while shared().psql_in(url, query) != "t" {
        assert!(Instant::now() < deadline, "{query}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_addition_behind_a_lock_that_outlasts_the_client_is_stored_once() {
    let url = harness::database().await;
    let client = Client::new(impatient(&url).await, ClientConfig::default());
    let locker = session(&url).await;
    locker.batch_execute("BEGIN; LOCK TABLE taskyard.task IN SHARE MODE").await.unwrap();
    let calls = (0..2_000).map(|number| Call::<u64>::new("testkit::body", &(number,)));
    let tasks = client.add_tasks_later(calls).unwrap();
    // The client has given the statement up, and queries its outcome.
    until(
        &url,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%task_added%' AND query NOT LIKE '%activity%'",
    )
    .await;
    locker.batch_execute("COMMIT").await.unwrap();
    let id = tokio::time::timeout(Duration::from_secs(30), tasks[0].stored()).await.expect("in time").unwrap();
    assert_eq!(id, tasks[0].id());
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.task"), "2000");
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.ready"), "2000");
}

/// The statement is being executed while its outcome is queried: the query waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn asking_waits_for_a_statement_that_is_being_executed() {
    let (store, url) = harness::fresh_with_address().await;
    for large in [false, true] {
        // A large batch is several statements in one transaction.
        let batch = tasks(if large { 3_000 } else { 3 });
        let locker = session(&url).await;
        locker.batch_execute("BEGIN; LOCK TABLE taskyard.ready IN SHARE MODE").await.unwrap();
        let request = AddRequest::new(&batch);
        let (adding, other) = (store.clone(), harness::open(&url).await);
        let copy = batch.clone();
        let add = tokio::spawn(async move { adding.add_batch(AddRequest { id: request.id, batch: &copy }).await });
        until(
            &url,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%task_add_as%' AND wait_event_type = 'Lock'",
        )
        .await;
        let (asked, asker) = (ids(&batch), other.clone());
        let ask = tokio::spawn(async move { asker.added(request.id, &asked).await });
        until(
            &url,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%task_added%' AND wait_event = 'advisory'",
        )
        .await;
        locker.batch_execute("COMMIT").await.unwrap();
        add.await.unwrap().unwrap();
        assert_eq!(ask.await.unwrap().unwrap(), vec![true; batch.len()]);
    }
}

/// A program of the previous version calls the function by its old name.
#[tokio::test]
async fn the_function_of_the_version_before_still_adds() {
    let url = harness::database().await;
    let id = task().id;
    let nulls = ["NULL"; 18].join(", ");
    shared().psql_in(
        &url,
        &format!(
            "SELECT taskyard.task_add(ARRAY['{id}'::uuid], ARRAY['k'], ARRAY[0::smallint], NULL, ARRAY['default'], ARRAY[0],
             ARRAY[convert_to('{{}}', 'UTF8')], NULL, {nulls})"
        ),
    );
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.ready"), "1");
}
