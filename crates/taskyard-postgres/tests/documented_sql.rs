//! Queries of applications on the views, unchanged; and the rows that the views must be able to show.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::store::{Finish, Outcome, Store};
use taskyard_core::task::LogLine;
use taskyard_core::{NewTask, TaskState};
use taskyard_testkit::factory::{child_of, failure, request, server, task};
use tokio_postgres::NoTls;

mod harness;

const ALL_TASKS: &str = "
SELECT id, name, state, date_enqueued, date_started, date_done, parent_task
FROM queued_tasks
ORDER BY date_enqueued DESC;";

const LOGS: &str = "
SELECT qt.name, qtl.type, qtl.message, qtl.date_created
FROM queued_task_logs qtl
JOIN queued_tasks qt ON qtl.queued_task_id = qt.id
ORDER BY qtl.date_created DESC;";

const WORKERS: &str = "
SELECT server_name, max_workers, active_workers, idle_workers, is_running, last_heartbeat
FROM queued_task_workers
WHERE is_running = true;";

const HIERARCHY: &str = "
WITH RECURSIVE task_hierarchy AS (SELECT id, name, parent_task, 1 as level, ARRAY[id] as path
                                  FROM queued_tasks
                                  WHERE parent_task IS NULL

                                  UNION ALL

                                  SELECT qt.id, qt.name, qt.parent_task, th.level + 1, th.path || qt.id
                                  FROM queued_tasks qt
                                  JOIN task_hierarchy th ON qt.parent_task = th.id)
SELECT level, REPEAT('  ', level - 1) || name as indented_name, id, path
FROM task_hierarchy
ORDER BY path;";

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn the_documents_queries_are_right() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let parent = NewTask { name: Some("the parent".into()), ..task() };
    let child = child_of(&[parent.id]);
    let grandchild = child_of(&[child.id]);
    store.add(&[parent.clone(), child.clone(), grandchild.clone()]).await.unwrap();
    let claimed = store.claim(&request(host.id, 10)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 1);
    let line = LogLine {
        level: 30,
        logger: "my.module".into(),
        message: "Potential issue".into(),
        fields: None,
        traceback: None,
    };
    let end = Finish {
        id: claimed[0].id,
        token: claimed[0].token,
        outcome: Outcome::Done { result: br#"{"sent":true}"#.to_vec() },
        context: Some(br#"{"progress":100}"#.to_vec()),
        logs: vec![line],
    };
    store.finish(&[end], &[]).await.unwrap();

    let client = client(&url).await;
    let rows = client.query(ALL_TASKS, &[]).await.unwrap();
    assert_eq!(rows.len(), 3);
    let first = rows.iter().find(|row| row.get::<_, uuid::Uuid>(0) == parent.id.0).unwrap();
    assert_eq!((first.get::<_, &str>(1), first.get::<_, &str>(2)), ("the parent", "done"));
    assert!(first.get::<_, Option<jiff::Timestamp>>(3).is_some(), "date_enqueued is never null");
    assert!(first.get::<_, Option<jiff::Timestamp>>(5).is_some());
    assert_eq!(first.get::<_, Option<uuid::Uuid>>(6), None);
    let second = rows.iter().find(|row| row.get::<_, uuid::Uuid>(0) == child.id.0).unwrap();
    assert_eq!((second.get::<_, &str>(2), second.get::<_, Option<uuid::Uuid>>(6)), ("enqueued", Some(parent.id.0)));

    let rows = client.query(LOGS, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, &str>(0), "the parent");
    assert_eq!((rows[0].get::<_, &str>(1), rows[0].get::<_, &str>(2)), ("warning", "Potential issue"));

    let rows = client.query(WORKERS, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].get::<_, &str>(0), rows[0].get::<_, i64>(1)), ("testkit", 4));
    assert!(rows[0].get::<_, bool>(4));

    let rows = client.query(HIERARCHY, &[]).await.unwrap();
    let levels: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(levels, [1, 2, 3]);
    assert_eq!(rows[2].get::<_, &str>(1), "    testkit::body");

    let row = client
        .query_one(
            "SELECT args::text, kwargs::text, context::text, result::text, error FROM queued_tasks WHERE id = $1",
            &[&parent.id.0],
        )
        .await
        .unwrap();
    let shown: Vec<Option<String>> = (0..5).map(|column| row.get(column)).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown, [text("[]"), text("{}"), text(r#"{"progress":100}"#), text(r#"{"sent":true}"#), None]);
    let row =
        client.query_one("SELECT waiting_for FROM queued_tasks WHERE id = $1", &[&grandchild.id.0]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), Some("parent enqueued"));
    let count: i64 = client.query_one("SELECT count(*) FROM queued_task_attempts", &[]).await.unwrap().get(0);
    assert_eq!(count, 1);
}

#[tokio::test]
async fn what_is_not_json_is_shown_as_text_and_rows_edited_by_hand_stop_nothing() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let payloads: [&[u8]; 3] = [br#"{"args":["\u0000"],"kwargs":{}}"#, b"\xff\xfe", b"{"];
    let tasks: Vec<NewTask> = payloads.iter().map(|payload| NewTask { payload: payload.to_vec(), ..task() }).collect();
    store.add(&tasks).await.unwrap();
    let bad_policy = task();
    let bad_state = task();
    let good = task();
    store.add(&[bad_policy.clone(), bad_state.clone(), good.clone()]).await.unwrap();

    let client = client(&url).await;
    assert_eq!(
        client.query("SELECT args::text, kwargs::text, context, result FROM queued_tasks", &[]).await.unwrap().len(),
        6
    );
    client.execute("UPDATE taskyard.task SET policy = 'no json' WHERE id = $1", &[&bad_policy.id.0]).await.unwrap();
    client.execute("UPDATE taskyard.task SET state = 99 WHERE id = $1", &[&bad_state.id.0]).await.unwrap();
    client.execute("UPDATE taskyard.task SET created_at = '-infinity' WHERE id = $1", &[&good.id.0]).await.unwrap();

    // The claim continues without the two; they are quarantined and reported.
    let claimed = store.claim(&request(host.id, 100)).await.unwrap().tasks;
    assert_eq!(claimed.len(), 4);
    assert!(claimed.iter().any(|task| task.payload == b"\xff\xfe"));
    let parked = store.parked(taskyard_core::state::Runtime::Rust).await.unwrap();
    let reasons: Vec<&str> = parked.iter().map(|parked| parked.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons.iter().all(|reason| reason.starts_with("corrupt: ")), "{reasons:?}");
    let records = store.get(&[bad_policy.id, bad_state.id, good.id]).await.unwrap();
    let states: Vec<TaskState> = records.iter().map(|record| record.as_ref().unwrap().state).collect();
    assert_eq!(states, [TaskState::Waiting, TaskState::Waiting, TaskState::Doing]);
    assert!(store.list(&Default::default()).await.unwrap().len() == 6);
    assert!(store.claim(&request(host.id, 100)).await.unwrap().tasks.is_empty());
}

#[tokio::test]
async fn an_error_is_shown_with_its_type() {
    let (store, url) = harness::fresh_with_address().await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    store.add(&[task()]).await.unwrap();
    let claimed = store.claim(&request(host.id, 1)).await.unwrap().tasks.remove(0);
    let outcome = Outcome::Failed(failure("it broke"));
    let end = Finish { id: claimed.id, token: claimed.token, outcome, context: None, logs: Vec::new() };
    store.finish(&[end], &[]).await.unwrap();
    let row = client(&url).await.query_one("SELECT state, error FROM queued_tasks", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("failed", "ValueError: it broke"));
}
