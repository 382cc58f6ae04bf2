//! An operator's own SQL: it reads the views, and cannot change anything.

use taskyard_core::store::{Outcome, Rows};
use taskyard_core::task::NewTask;
use taskyard_core::{Error, TaskState};

use super::Harness;
use super::payloads::hostile;
use crate::factory::{child_of, failure, line, task, tasks};

async fn rows(harness: &Harness, sql: &str) -> Rows {
    harness.store.query(sql, 1_000).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Returns the first column of every row as text.
async fn texts(harness: &Harness, sql: &str) -> Vec<String> {
    rows(harness, sql).await.rows.iter().map(|row| row[0].get().trim_matches('"').to_owned()).collect()
}

pub(super) async fn columns_and_values_come_back(harness: Harness) {
    let answer = rows(&harness, "select 7 as number, 'it''s' as word, null as absent").await;
    assert_eq!(answer.columns, ["number", "word", "absent"]);
    assert_eq!(answer.rows.len(), 1);
    let shown: Vec<String> = answer.rows[0].iter().map(|value| value.get().to_owned()).collect();
    assert_eq!(shown, ["7", "\"it's\"", "null"]);
    assert!(!answer.more);
}

/// Numbers in JSON keep every digit.
pub(super) async fn numbers_come_back_with_every_digit(harness: Harness) {
    let payload = br#"{"args":[1000000000000000000000000000000,1.00000000000000000001]}"#.to_vec();
    harness.add(NewTask { payload, ..task() }).await;
    let args = &rows(&harness, "select args from queued_tasks").await.rows[0][0];
    assert!(args.get().contains("[1000000000000000000000000000000"), "{args}");
    assert!(args.get().contains("1.00000000000000000001]"), "{args}");
}

pub(super) async fn a_limit_says_that_there_is_more(harness: Harness) {
    harness.add_all(&tasks(5)).await;
    for (limit, more) in [(3, true), (5, false), (9, false)] {
        let answer = harness.store.query("select id from queued_tasks", limit).await.unwrap();
        assert_eq!((answer.rows.len(), answer.more), (limit.min(5), more));
    }
}

pub(super) async fn the_documents_views_are_there(harness: Harness) {
    let server = harness.server().await;
    let parent = harness.start(&server, NewTask { name: Some("parent".into()), ..task() }).await;
    let child = harness.add(child_of(&[parent.id])).await;
    let record = taskyard_core::store::Record {
        id: parent.id,
        token: parent.token,
        context: Some(b"{\"progress\": 1}".to_vec()),
        logs: vec![line("hello")],
    };
    server.record(record).await;
    let columns = "id, name, state, parent_task, date_enqueued, date_started, date_done, queue, priority, args, context, \
                   result, error, waiting_for";
    assert_eq!(rows(&harness, &format!("select {columns} from queued_tasks")).await.rows.len(), 2);
    let by_id = |id| format!("select state from queued_tasks where id = '{id}'");
    assert_eq!(texts(&harness, &by_id(parent.id)).await, ["doing"]);
    assert_eq!(texts(&harness, &by_id(child)).await, ["waiting"]);
    let sql = format!("select parent_task from queued_tasks where id = '{child}'");
    assert_eq!(texts(&harness, &sql).await, [parent.id.to_string()]);
    let sql = format!("select waiting_for from queued_tasks where id = '{child}'");
    assert!(texts(&harness, &sql).await[0].contains("parent"));
    let sql =
        "select message from queued_task_logs where type = 'info' and name = 'testkit' and date_created is not null";
    assert_eq!(texts(&harness, sql).await, ["hello"]);
    let sql = "select server_name from queued_task_workers where is_running and max_workers = 4 and last_heartbeat \
               is not null and active_workers is not null and idle_workers is not null";
    assert_eq!(texts(&harness, sql).await, ["testkit"]);
    server.fail(&parent).await;
    let sql = "select error from queued_tasks where name = 'parent' and date_done is not null";
    assert!(texts(&harness, sql).await[0].contains(&failure("it broke").message));
    assert_eq!(texts(&harness, "select count(*) from queued_tasks where date_enqueued is null").await, ["0"]);
}

/// No argument, result, context or log line, however odd, makes the views fail.
pub(super) async fn odd_bytes_do_not_break_the_views(harness: Harness) {
    let server = harness.server().await;
    for bytes in hostile() {
        let new = NewTask { payload: bytes.clone(), context: Some(bytes.clone()), ..task() };
        let claimed = harness.start(&server, new).await;
        let mut odd = line("odd");
        odd.fields = Some(bytes.clone());
        let record =
            taskyard_core::store::Record { id: claimed.id, token: claimed.token, context: None, logs: vec![odd] };
        server.record(record).await;
        server.finish(&claimed, Outcome::Done { result: bytes }).await;
    }
    let count = hostile().len();
    assert_eq!(rows(&harness, "select * from queued_tasks").await.rows.len(), count);
    assert_eq!(rows(&harness, "select * from queued_task_logs").await.rows.len(), count);
}

pub(super) async fn nothing_that_writes_is_run(harness: Harness) {
    let id = harness.add(task()).await;
    let table = if harness.store.backend() == "sqlite" { "ty_task" } else { "taskyard.task" };
    for sql in [
        format!("delete from {table}"),
        format!("update {table} set priority = 9"),
        format!("drop table {table}"),
        format!("alter table {table} rename to gone"),
        format!("with gone as (delete from {table} returning id) select * from gone"),
        format!("explain analyze delete from {table}"),
        format!("select 1; delete from {table}"),
        format!("select 1 ; /* two */ select 2; drop table {table}"),
        format!("commit; delete from {table}"),
        format!("-- only a comment\ndelete from {table}"),
        "delete from queued_tasks".to_owned(),
        "create table extra (n int)".to_owned(),
        "create temporary table extra (n int)".to_owned(),
        "select 1 into extra".to_owned(),
        "vacuum".to_owned(),
        "begin".to_owned(),
        "pragma user_version = 9".to_owned(),
        "attach ':memory:' as other".to_owned(),
        "set transaction read write".to_owned(),
        "copy (select 1) to program 'true'".to_owned(),
        "do $$ begin null; end $$".to_owned(),
        String::new(),
        ";".to_owned(),
        "-- nothing".to_owned(),
    ] {
        let error = harness.store.query(&sql, 10).await.expect_err(&sql);
        assert!(matches!(error, Error::InvalidArgument { .. } | Error::Database(_)), "{sql}: {error:?}");
    }
    let record = harness.record(id).await;
    assert_eq!((record.state, record.priority), (TaskState::Enqueued, 0));
}

pub(super) async fn a_wrong_statement_is_a_sentence(harness: Harness) {
    for sql in
        ["select nothing_such from queued_tasks", "select", "select * from no_such_table", "select $1", "select ?1"]
    {
        // SQLite gives an unbound parameter the value null, which is not an error.
        if let Err(error) = harness.store.query(sql, 10).await {
            assert!(!error.to_string().is_empty() && !error.is_transient(), "{sql}: {error:?}");
        }
    }
    assert!(harness.store.query("select * from no_such_table", 10).await.is_err());
    assert_eq!(texts(&harness, "select count(*) from queued_tasks").await, ["0"], "and the store goes on");
}
