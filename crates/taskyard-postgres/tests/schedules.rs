//! Schedules by SQL: the functions, and plain writes of the rows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use taskyard_core::schedule::plan::plan;
use taskyard_core::schedule::{CatchUp, DueSchedule, Overlap, RunOutcome, Tick};
use taskyard_core::state::Runtime;
use taskyard_core::store::{Store, TestClock};
use taskyard_core::{TaskState, Timestamp};
use taskyard_postgres::PostgresStore;
use tokio_postgres::{Client, NoTls};

mod harness;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn due(store: &PostgresStore, name: &str) -> DueSchedule {
    store.schedule(name).await.unwrap().unwrap()
}

/// Decides due schedules as a server does.
async fn look(store: &PostgresStore) {
    loop {
        let look = store.schedule_look(100).await.unwrap();
        let ticks: Vec<Tick> = look.due.iter().filter_map(|due| plan(due, look.now, &mut || 0.5)).collect();
        if ticks.is_empty() {
            return;
        }
        store.schedule_tick(&ticks).await.unwrap();
    }
}

#[tokio::test]
async fn they_are_added_changed_and_removed_by_sql() {
    let (store, url) = harness::fresh_with_address().await;
    let sql = client(&url).await;
    let now: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
    store.set_clock(TestClock::Frozen(now)).await.unwrap();
    let add = "SELECT taskyard.schedule_add('nightly', '0 3 * * *', 'app:report', args => '[1, 1e400]', zone => 'Europe/Berlin',
        queue => 'reports', priority => -2, overlap => 'queue_one', catch_up => 'all', catch_up_window => '2 hours',
        jitter => '90 s', runs_max => 9, max_retries => 5, timeout => '1 hour', runtime => 'python')";
    assert_eq!(sql.query_one(add, &[]).await.unwrap().get::<_, String>(0), "added");
    assert_eq!(sql.query_one(add, &[]).await.unwrap().get::<_, String>(0), "kept");
    look(&store).await;
    let record = due(&store, "nightly").await.record;
    let new = &record.definition;
    assert_eq!(new.task.payload, br#"{"args":[1, 1e400],"kwargs":{}}"#);
    assert_eq!((new.task.runtime, new.task.queue.as_str(), new.task.priority), (Runtime::Python, "reports", -2));
    assert_eq!((new.task.retry.max_retries, new.task.timeout), (5, Some(Duration::from_secs(3_600))));
    assert_eq!((new.overlap, new.catch_up), (Overlap::QueueOne, CatchUp::All));
    assert_eq!((new.catch_up_window, new.jitter), (Duration::from_secs(7_200), Duration::from_secs(90)));
    assert_eq!(record.next_at, Some("2026-11-02T02:00:00Z".parse().unwrap()));
    // A plain write of the row has the same effect, and servers are notified of it.
    let mut listener = store.notifications().schedules.listen();
    let listening = async {
        while !store.hears_others() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listening).await.expect("LISTEN comes up");
    listener.take();
    sql.execute("UPDATE taskyard.schedule SET rule = '0 4 * * *' WHERE name = 'nightly'", &[]).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), listener.notified()).await.is_ok());
    look(&store).await;
    assert_eq!(due(&store, "nightly").await.record.next_at, Some("2026-11-02T03:00:00Z".parse().unwrap()));
    // A schedule that cannot be decoded is quarantined, and resumes when it is corrected.
    sql.execute("UPDATE taskyard.schedule SET rule = '61 * * * *'", &[]).await.unwrap();
    look(&store).await;
    assert!(due(&store, "nightly").await.record.problem.unwrap().contains("61"));
    sql.execute("UPDATE taskyard.schedule SET rule = '@hourly', options = '{\"nonsense\": 1}'", &[]).await.unwrap();
    look(&store).await;
    assert!(due(&store, "nightly").await.record.problem.unwrap().contains("nonsense"));
    sql.execute("UPDATE taskyard.schedule SET options = '{}'", &[]).await.unwrap();
    look(&store).await;
    let record = due(&store, "nightly").await.record;
    assert_eq!((record.problem, record.next_at), (None, Some("2026-11-02T01:00:00Z".parse().unwrap())));

    let task: uuid::Uuid = sql.query_one("SELECT taskyard.schedule_run_now('nightly')", &[]).await.unwrap().get(0);
    let runs = store.schedule_runs("nightly", None, 10).await.unwrap();
    assert_eq!((runs[0].task.unwrap().0, runs[0].manual, runs[0].outcome), (task, true, RunOutcome::Enqueued));
    let context = store.context(runs[0].task.unwrap()).await.unwrap().unwrap();
    let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
    assert_eq!(context["schedule"]["fire_at"], "2026-11-02T00:00:00.000000Z");
    // Absent options are stored as absent, or no claim could decode the task.
    let row = sql.query_one("SELECT policy, tags FROM taskyard.task WHERE id = $1", &[&task]).await.unwrap();
    assert_eq!(
        (row.get::<_, Option<String>>(0), row.get::<_, Option<Vec<String>>>(1).unwrap_or_default().len()),
        (None, 0)
    );
    assert!(sql.query_one("SELECT taskyard.schedule_pause('nightly')", &[]).await.unwrap().get::<_, bool>(0));
    assert!(due(&store, "nightly").await.record.paused);
    assert!(sql.query_one("SELECT taskyard.schedule_resume('nightly')", &[]).await.unwrap().get::<_, bool>(0));
    assert!(sql.query_one("SELECT taskyard.schedule_remove('nightly')", &[]).await.unwrap().get::<_, bool>(0));
    assert!(!sql.query_one("SELECT taskyard.schedule_remove('nightly')", &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(store.status().await.unwrap().by_state[TaskState::Enqueued as usize], 1);
    for bad in [
        "'', '@daily', 'k'",
        "'a', '', 'k'",
        "'a', '@daily', 'k', overlap => 'never'",
        "'a', '@daily', 'k', args => '{}'",
        "'a', '@daily', 'k', runs_max => 0",
    ] {
        let error = sql.query_one(&format!("SELECT taskyard.schedule_add({bad})"), &[]).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().starts_with("taskyard: "), "{bad}: {error:?}");
    }
}

/// The query that every server repeats costs a few blocks, however many schedules, runs and tasks there are.
#[tokio::test]
async fn a_look_reads_what_is_due_and_nothing_else() {
    let (store, url) = harness::fresh_with_address().await;
    let sql = client(&url).await;
    sql.batch_execute(
        "INSERT INTO taskyard.schedule (name, rule, kind, payload, created_at, planned_from, planned, next_at)
            SELECT 's' || n, '@yearly', 'k', '{}', now(), now(), true, now() + n * interval '1 minute'
            FROM generate_series(1, 20000) n;
        INSERT INTO taskyard.schedule_run (schedule, fire_at, outcome, open, task_id, created_at)
            SELECT 's' || (n % 20000 + 1), now(), 0, false, gen_random_uuid(), now() FROM generate_series(1, 50000) n;
        ANALYZE taskyard.schedule; ANALYZE taskyard.schedule_run",
    )
    .await
    .unwrap();
    let look = include_str!("../src/sql/schedule/look.sql").replace("$1", "100");
    let plan = sql.query(&format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {look}"), &[]).await.unwrap();
    let plan: serde_json::Value = plan[0].get(0);
    let plan = &plan[0]["Plan"];
    let blocks = plan["Shared Hit Blocks"].as_u64().unwrap() + plan["Shared Read Blocks"].as_u64().unwrap();
    assert!(blocks < 100, "{blocks} blocks: {plan:#}");
    assert!(
        !plan
            .to_string()
            .contains("Seq Scan\",\"Parallel Aware\":false,\"Async Capable\":false,\"Relation Name\":\"schedule")
    );
    let found = store.schedule_look(100).await.unwrap();
    assert!(found.due.is_empty() && found.next_due.is_some());
}

/// An open transaction of another client that has changed a row blocks that schedule and no other.
#[tokio::test]
async fn a_row_that_another_transaction_writes_is_skipped() {
    let (store, url) = harness::fresh_with_address().await;
    let (sql, other) = (client(&url).await, client(&url).await);
    for name in ["a", "b"] {
        sql.execute("SELECT taskyard.schedule_add($1, '@every 1h', 'k')", &[&name]).await.unwrap();
    }
    look(&store).await;
    let now = store.now().await.unwrap();
    store.set_clock(TestClock::Frozen(now.checked_add(Duration::from_secs(3_600)).unwrap())).await.unwrap();
    other.batch_execute("BEGIN; UPDATE taskyard.schedule SET queue = 'q' WHERE name = 'a'").await.unwrap();
    let found = store.schedule_look(100).await.unwrap();
    let ticks: Vec<Tick> = found.due.iter().filter_map(|due| plan(due, found.now, &mut || 0.5)).collect();
    let written = tokio::time::timeout(Duration::from_secs(5), store.schedule_tick(&ticks)).await.unwrap().unwrap();
    assert_eq!(written.iter().filter(|written| written.is_some()).count(), 1);
    assert_eq!(store.schedule_runs("b", None, 10).await.unwrap().len(), 1);
    other.batch_execute("COMMIT").await.unwrap();
    look(&store).await;
    assert_eq!(store.schedule_runs("a", None, 10).await.unwrap().len(), 1);
    // Deleting a schedule deletes its history, which is then no longer read.
    sql.execute("DELETE FROM taskyard.schedule", &[]).await.unwrap();
    assert!(!store.schedule_look(100).await.unwrap().open);
}

/// A mistake that only SQL can write is quarantined on its own.
#[tokio::test]
async fn zones_in_rules_and_bounds_that_are_moved() {
    let (store, url) = harness::fresh_with_address().await;
    let sql = client(&url).await;
    let now: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
    store.set_clock(TestClock::Frozen(now)).await.unwrap();
    sql.execute("SELECT taskyard.schedule_add('zone', 'CRON_TZ=Europe/Berlin 0 3 * * *', 'k')", &[]).await.unwrap();
    sql.execute("SELECT taskyard.schedule_add('bound', '@every 1h', 'k', runs_max => 1)", &[]).await.unwrap();
    look(&store).await;
    assert_eq!(due(&store, "zone").await.record.next_at, Some("2026-11-02T02:00:00Z".parse().unwrap()));
    store.set_clock(TestClock::Frozen("2026-11-02T01:00:00Z".parse().unwrap())).await.unwrap();
    look(&store).await;
    assert!(due(&store, "bound").await.record.ended);
    sql.execute("UPDATE taskyard.schedule SET runs_max = 5 WHERE name = 'bound'", &[]).await.unwrap();
    look(&store).await;
    let record = due(&store, "bound").await.record;
    assert_eq!((record.ended, record.next_at), (false, Some("2026-11-02T02:00:00Z".parse().unwrap())));
}
