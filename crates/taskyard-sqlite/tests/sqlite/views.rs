//! The views for operators, and relations of other applications with the same names.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use taskyard_core::store::{Finish, Outcome};
use taskyard_core::task::{LogLine, NewTask};
use taskyard_core::{Error, Failure, Store, TaskId};
use taskyard_sqlite::{Options, SqliteStore};

use crate::sandbox::{Sandbox, add, claim, server, task};

async fn one(store: &SqliteStore, sql: &str) -> Vec<Box<RawValue>> {
    let answer = store.query(sql, 1_000).await.unwrap();
    assert_eq!(answer.rows.len(), 1, "{sql}");
    answer.rows.into_iter().next().unwrap()
}

fn texts(row: &[Box<RawValue>]) -> Vec<String> {
    let text = |value: &RawValue| match serde_json::from_str(value.get()).unwrap() {
        Value::Null => "-".to_owned(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    row.iter().map(|value| text(value)).collect()
}

#[tokio::test]
async fn they_show_what_people_ask_for() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let parent =
        add(&store, NewTask { name: Some("Mail".into()), context: Some(br#"{"a":1}"#.to_vec()), ..task() }).await;
    let child = add(&store, NewTask { parents: vec![parent], ..task() }).await;
    let server = server(&store).await;
    let claimed = claim(&store, server, 1).await.remove(0);
    let line = LogLine { level: 40, logger: "app".into(), message: "oh".into(), fields: None, traceback: None };
    let finish = Finish {
        id: claimed.id,
        token: claimed.token,
        outcome: Outcome::Retry { after: Duration::from_secs(60), error: Failure::new("ValueError", "no") },
        context: None,
        logs: vec![line],
    };
    store.finish(&[finish], &[]).await.unwrap();
    let row = one(
        &store,
        "select name, kind, state, parent_task, queue, priority, args, kwargs, context, result, error, waiting_for, attempt
         from queued_tasks where parent_task is null",
    )
    .await;
    let expected = [
        "Mail",
        "test::body",
        "waiting",
        "-",
        "default",
        "0",
        "[1]",
        r#"{"a":"b"}"#,
        r#"{"a":1}"#,
        "-",
        "ValueError: no",
        "backing off",
        "1",
    ];
    assert_eq!(texts(&row), expected);
    let row = one(
        &store,
        "select id, state, waiting_for, date_started, date_done from queued_tasks where parent_task is not null",
    )
    .await;
    assert_eq!(texts(&row), [child.to_string().as_str(), "waiting", "parent waiting", "-", "-"]);
    let row = one(&store, "select queued_task_id, type, message, name from queued_task_logs").await;
    assert_eq!(texts(&row), [parent.to_string().as_str(), "error", "oh", "app"]);
    let row =
        one(&store, "select server_name, max_workers, is_running from queued_task_workers where is_running = true")
            .await;
    assert_eq!(texts(&row), ["test", "1", "1"]);
    let row = one(&store, "select count(*) from queued_tasks where date_enqueued is null").await;
    assert_eq!(texts(&row), ["0"]);
}

/// Runs the query of PostgreSQL's tests, without its arrays.
#[tokio::test]
async fn the_hierarchy_can_be_walked() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let root = add(&store, task()).await;
    let child = add(&store, NewTask { parents: vec![root], ..task() }).await;
    add(&store, NewTask { parents: vec![child], ..task() }).await;
    let answer = store
        .query(
            "with recursive task_hierarchy as (
                select id, name, parent_task, 1 as level from queued_tasks where parent_task is null
                union all
                select qt.id, qt.name, qt.parent_task, th.level + 1
                from queued_tasks qt join task_hierarchy th on qt.parent_task = th.id
            ) select level from task_hierarchy order by level",
            100,
        )
        .await
        .unwrap();
    assert_eq!(answer.rows.iter().map(|row| texts(row).remove(0)).collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[tokio::test]
async fn odd_payloads_are_shown_as_nothing() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    add(&store, NewTask::new("odd", vec![0, 255, 7])).await;
    let row = one(&store, "select kind, args from queued_tasks").await;
    assert_eq!(texts(&row), ["odd", "-"]);
}

#[tokio::test]
async fn a_query_writes_nothing() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id: TaskId = add(&store, task()).await;
    for sql in ["delete from ty_task", "drop view queued_tasks", "pragma journal_mode = delete", "not sql"] {
        assert!(store.query(sql, 10).await.is_err(), "{sql}");
    }
    assert!(store.get(&[id]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_users_table_of_that_name_is_never_touched() {
    let sandbox = Sandbox::new();
    sandbox.raw().execute_batch("create table Queued_Tasks (id); insert into Queued_Tasks values (7)").unwrap();
    let before = std::fs::read(sandbox.file()).unwrap();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert_eq!(store.migrate().await.unwrap_err(), Error::ForeignRelation("queued_tasks".into()));
    assert!(std::fs::read(sandbox.file()).unwrap() == before, "the file was touched");
    let mut options = Options::default();
    options.views = false;
    let store = SqliteStore::open_with(sandbox.file(), options).await.unwrap();
    store.migrate().await.unwrap();
    add(&store, task()).await;
    let seven: i64 = sandbox.raw().query_row("select id from Queued_Tasks", [], |row| row.get(0)).unwrap();
    assert_eq!(seven, 7);
}

#[tokio::test]
async fn missing_views_are_made_again() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    sandbox.raw().execute_batch("drop view queued_tasks").unwrap();
    let report = store.migrate().await.unwrap();
    assert!(report.applied.is_empty());
    store.query("select * from queued_tasks", 10).await.unwrap();
}
