//! Values that this program cannot compute with or decode: every interface refuses them, and one that is stored all the
//! same stops no timer and no view.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use taskyard_core::Rate;
use taskyard_core::state::Runtime;
use taskyard_core::store::{DeadTake, Finish, Outcome, Store, TaskFilter};
use taskyard_core::task::{NewTask, Start};
use taskyard_core::{TaskState, Timestamp};
use taskyard_testkit::factory::{failure, request, server, task};
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};

mod harness;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns the SQLSTATE and the message of a statement that must fail.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn every_function_refuses_them() {
    let (_store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    for arguments in [
        "run_at => 'infinity'",
        "run_at => '-infinity'",
        "run_at => '0044-03-15 BC'",
        "run_at => now() + interval '101 years'",
        "delay => interval '101 years'",
        "expires => interval '101 years'",
        "timeout => interval '101 years'",
        "timeout => interval '-1 s'",
        // In comparisons a year has 360 days; stored, it has 365.25.
        "timeout => interval '-1 year 361 days'",
    ] {
        let (code, message) = refused(&client, &format!("SELECT taskyard.enqueue('a::b', {arguments})")).await;
        assert_eq!(code, "22023", "{arguments}: {message}");
        assert!(
            ["hundred years", "negative", "before year 1"].iter().any(|part| message.contains(part)),
            "{arguments}: {message}"
        );
    }
    for bound in [
        "starts_at => 'infinity'",
        "ends_at => '-infinity'",
        "jitter => interval '200 years'",
        "jitter => interval '-1 year 361 days'",
        "catch_up_window => interval '-1 year 361 days'",
        "timeout => interval '-1 year 361 days'",
    ] {
        let (code, message) =
            refused(&client, &format!("SELECT taskyard.schedule_add('s', '@daily', 'a', {bound})")).await;
        assert_eq!(code, "22023", "{bound}: {message}");
    }
    client.batch_execute("SELECT taskyard.enqueue('a::b', run_at => now() + interval '99 years')").await.unwrap();
    // A negative delay means no delay. The days that are stored decide whether it is negative.
    for (delay, state, ahead) in [("-1 year 361 days", 1, "0"), ("1 year -361 days", 0, "4.25")] {
        let sql = format!("SELECT taskyard.enqueue('a::b', delay => interval '{delay}')");
        let id: uuid::Uuid = client.query_one(&sql, &[]).await.unwrap().get(0);
        let stored = format!(
            "SELECT state || ' ' || trim_scale((extract(epoch FROM run_at - created_at) / 86400)::numeric)
             FROM taskyard.task WHERE id = '{id}'"
        );
        assert_eq!(shared().psql_in(&url, &stored), format!("{state} {ahead}"), "{delay}");
    }
}

#[tokio::test]
async fn a_time_limit_below_a_millisecond_is_one_and_not_none() {
    let (_store, url) = harness::fresh_with_address().await;
    for (limit, stored) in [("0.0005 s", "1"), ("1 ms", "1"), ("1.0005 s", "1001"), ("0 s", "")] {
        let add = format!("SELECT taskyard.enqueue('a::b', timeout => '{limit}')");
        let id = shared().psql_in(&url, &add);
        let kept = format!("SELECT timeout_ms FROM taskyard.task WHERE id = '{id}'");
        assert_eq!(shared().psql_in(&url, &kept), stored, "{limit}");
        shared().psql_in(&url, &format!("SELECT taskyard.schedule_add('s', '@daily', 'a', timeout => '{limit}')"));
        let kept = "SELECT options::json ->> 'timeout_ms' FROM taskyard.schedule WHERE name = 's'";
        assert_eq!(shared().psql_in(&url, kept), stored, "{limit}");
    }
}

#[tokio::test]
async fn every_table_refuses_them() {
    let (store, url) = harness::fresh_with_address().await;
    let later =
        NewTask { start: Start::After(Duration::from_secs(60)), expires: Some(Duration::from_secs(90)), ..task() };
    store.add(&[later, task()]).await.unwrap();
    store.set_rate("default", Some(Rate::new(1, Duration::from_secs(1)).unwrap())).await.unwrap();
    let client = client(&url).await;
    client
        .batch_execute("SELECT taskyard.schedule_add('s', '@daily', 'a'); SELECT taskyard.schedule_run_now('s')")
        .await
        .unwrap();
    for (table, column) in [
        ("waiting", "run_at"),
        ("task", "run_at"),
        ("task", "expires_at"),
        ("deadline", "at"),
        ("ready", "ages_at"),
        ("queue", "rate_full_at"),
        ("schedule", "next_at"),
        ("schedule", "ends_at"),
        ("schedule_run", "fire_at"),
    ] {
        for instant in ["infinity", "-infinity"] {
            let (code, message) =
                refused(&client, &format!("UPDATE taskyard.{table} SET {column} = '{instant}'")).await;
            assert_eq!(code, "23514", "{table}.{column}: {message}");
        }
    }
}

/// Rows that were stored before the check existed, or written around it.
#[tokio::test]
async fn those_that_are_there_stop_nothing() {
    let (store, url) = harness::fresh_with_address().await;
    let delayed = |seconds| NewTask { start: Start::After(Duration::from_secs(seconds)), ..task() };
    let (never, soon) = (delayed(60), NewTask { expires: Some(Duration::from_secs(60)), ..delayed(3_600) });
    store.add(&[never.clone(), soon.clone()]).await.unwrap();
    store.set_rate("rated", Some(Rate::new(1, Duration::from_secs(1)).unwrap())).await.unwrap();
    store.set_ageing("aged", Some(Duration::from_secs(1))).await.unwrap();
    store
        .add(&[NewTask { queue: "rated".into(), ..task() }, NewTask { queue: "aged".into(), ..task() }])
        .await
        .unwrap();
    let client = client(&url).await;
    client
        .batch_execute(
            "SELECT taskyard.schedule_add('bad', '@daily', 'a'); SELECT taskyard.schedule_add('good', '@daily', 'a');
             SELECT taskyard.schedule_run_now('bad');
             ALTER TABLE taskyard.waiting DROP CONSTRAINT waiting_instants;
             ALTER TABLE taskyard.task DROP CONSTRAINT task_instants;
             ALTER TABLE taskyard.ready DROP CONSTRAINT ready_instants;
             ALTER TABLE taskyard.queue DROP CONSTRAINT queue_instants;
             ALTER TABLE taskyard.deadline DROP CONSTRAINT deadline_instants;
             ALTER TABLE taskyard.schedule DROP CONSTRAINT schedule_instants;
             ALTER TABLE taskyard.schedule_run DROP CONSTRAINT schedule_run_instants",
        )
        .await
        .unwrap();
    for instant in ["infinity", "-infinity"] {
        client
            .batch_execute(&format!(
                "UPDATE taskyard.waiting SET run_at = '{instant}' WHERE task_id = '{never}';
                 UPDATE taskyard.task SET run_at = '{instant}' WHERE id = '{never}';
                 UPDATE taskyard.ready SET ages_at = '{instant}' WHERE ages_at IS NOT NULL;
                 UPDATE taskyard.queue SET rate_full_at = '{instant}' WHERE name = 'rated';
                 UPDATE taskyard.deadline SET at = '{instant}';
                 UPDATE taskyard.schedule SET next_at = '{instant}', planned = true WHERE name = 'bad';
                 UPDATE taskyard.schedule_run SET fire_at = '{instant}', open = true",
                never = never.id
            ))
            .await
            .unwrap();
        let report = store.promote().await.unwrap();
        assert!(report.next_due.is_none_or(|due| due > Duration::from_secs(3_000)), "{instant}: {report:?}");
        store.age().await.unwrap();
        store.status().await.unwrap();
        store.queues().await.unwrap();
        let look = store.schedule_look(10).await.unwrap();
        assert!(look.due.iter().any(|due| due.record.definition.name == "good"), "{instant}");
        assert_eq!(store.schedule_runs("bad", None, 10).await.unwrap().len(), 1);
        assert_eq!(store.schedules(None, 10).await.unwrap().len(), 2);
        assert!(store.get(&[never.id]).await.unwrap()[0].is_some());
    }
    // The task that was to start before all times has started.
    assert_eq!(store.get(&[never.id]).await.unwrap()[0].as_ref().unwrap().state, TaskState::Enqueued);
}

/// The migration corrects rows that an older version accepted.
#[tokio::test]
async fn the_migration_puts_them_right() {
    let (store, url) = harness::fresh_with_address().await;
    let delayed = |seconds| NewTask { start: Start::After(Duration::from_secs(seconds)), ..task() };
    let (never, always) = (delayed(60), delayed(61));
    store.add(&[never.clone(), always.clone()]).await.unwrap();
    let text = include_str!("../src/migrations/0008_checks.sql");
    let constraints = "SELECT string_agg(format('ALTER TABLE taskyard.%I DROP CONSTRAINT %I', relname, conname), ';') \
                       FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
                       WHERE (conname LIKE '%\\_instants' OR conname = 'task_tags') AND c.coninhcount = 0";
    let client = client(&url).await;
    let drop: String = client.query_one(constraints, &[]).await.unwrap().get(0);
    client.batch_execute(&drop).await.unwrap();
    for (id, instant) in [(never.id, "infinity"), (always.id, "-infinity")] {
        let set = format!(
            "UPDATE taskyard.waiting SET run_at = '{instant}' WHERE task_id = '{id}'; \
             UPDATE taskyard.task SET run_at = '{instant}' WHERE id = '{id}'"
        );
        client.batch_execute(&set).await.unwrap();
    }
    client.batch_execute(&text.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS")).await.unwrap();
    client.batch_execute(include_str!("../src/migrations/0013_tags.sql")).await.unwrap();
    store.promote().await.unwrap();
    let records = store.get(&[never.id, always.id]).await.unwrap();
    let (never, always) = (records[0].as_ref().unwrap(), records[1].as_ref().unwrap());
    assert_eq!(never.waiting_for.as_deref(), Some("corrupt: its start time was infinite"));
    assert_eq!((always.state, always.run_at), (TaskState::Enqueued, None::<Timestamp>));
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.task WHERE NOT isfinite(run_at)"), "0");
}

#[tokio::test]
async fn tags_of_two_dimensions_are_refused() {
    let (store, url) = harness::fresh_with_address().await;
    let client = client(&url).await;
    let many = "ARRAY(SELECT 'a' FROM generate_series(1, 101))";
    let (code, message) = refused(&client, &format!("SELECT taskyard.enqueue('a::b', tags => {many})")).await;
    assert_eq!((code.as_str(), message.contains("at most 100")), ("22023", true), "{message}");
    for tags in ["ARRAY[ARRAY['a'], ARRAY['b']]", "ARRAY['a', NULL]"] {
        let (code, message) = refused(&client, &format!("SELECT taskyard.enqueue('a::b', tags => {tags})")).await;
        assert_eq!((code.as_str(), message.contains("tag")), ("22023", true), "{message}");
        // Written directly into the table, they are reported.
        let added = task();
        store.add(std::slice::from_ref(&added)).await.unwrap();
        client
            .batch_execute(&format!("UPDATE taskyard.task SET tags = {tags} WHERE id = '{}'", added.id))
            .await
            .unwrap();
        let record = store.get(&[added.id]).await.unwrap().remove(0).unwrap();
        assert!(record.waiting_for.is_some_and(|flag| flag.starts_with("corrupt: ")), "{tags}");
    }
    client
        .batch_execute("SELECT taskyard.enqueue('a::b', tags => '{}'), taskyard.enqueue('a::b', tags => '{a,b}')")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unreadable_row_is_flagged_and_hides_no_other() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let (bad, good) = (task(), task());
    store.add(&[bad.clone(), good.clone()]).await.unwrap();
    let fail = |claimed: &taskyard_core::store::Claimed| Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Failed(failure("it broke")),
        context: None,
        logs: Vec::new(),
    };
    let claimed = store.claim(&request(host.id, 10)).await.unwrap().tasks;
    store.finish(&claimed.iter().map(fail).collect::<Vec<_>>(), &[]).await.unwrap();
    let client = client(&url).await;
    client
        .batch_execute(&format!(
            "UPDATE taskyard.task SET tags = ARRAY[ARRAY['a'], ARRAY['b']], policy = 'none' WHERE id = '{}'",
            bad.id
        ))
        .await
        .unwrap();
    let filter = TaskFilter { states: vec![TaskState::Failed], ..TaskFilter::default() };
    for records in [
        store.list(&TaskFilter::default()).await.unwrap(),
        store.list(&filter).await.unwrap(),
        store.list(&TaskFilter { tag: Some("a".into()), ..filter.clone() }).await.unwrap(),
        store.get(&[bad.id, good.id]).await.unwrap().into_iter().flatten().collect(),
    ] {
        let found = records.iter().find(|record| record.id == bad.id).unwrap();
        let flag = found.waiting_for.as_deref().unwrap();
        assert!(flag.starts_with("corrupt: ") && flag.contains("policy"), "{flag}");
        assert_eq!((found.kind.as_str(), found.state, found.tags.len()), (bad.kind.as_str(), TaskState::Failed, 0));
        assert!(records.iter().filter(|record| record.id == good.id).all(|record| record.waiting_for.is_none()));
    }
    // Death hooks are told of both.
    let take = DeadTake { server: host.id, runtime: Runtime::Rust, queues: None, namespace: None, limit: 10 };
    assert_eq!(store.dead_take(&take).await.unwrap().len(), 2);
    assert_eq!(store.retry(&[bad.id, good.id]).await.unwrap().len(), 2);
    assert_eq!(store.purge(&[bad.id]).await.unwrap(), 0);
}
