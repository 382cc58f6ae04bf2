//! Rows that were edited by hand: quarantined and reported, never lost, and nothing else is delayed by them.

use taskyard_core::store::{ControlReply, TaskFilter, WriteReply};
use taskyard_core::{Store, TaskId, TaskState, WaitReason};

use crate::sandbox::{Sandbox, add, claim, done, server, task};

async fn three(sandbox: &Sandbox) -> (std::sync::Arc<taskyard_sqlite::SqliteStore>, Vec<TaskId>) {
    let store = sandbox.store().await;
    let batch = [task(), task(), task()];
    store.add(&batch).await.unwrap();
    (store, batch.iter().map(|task| task.id).collect())
}

fn edit(sandbox: &Sandbox, change: &str, id: TaskId) {
    // The texts are constants of this file.
    let sql = format!("update ty_task set {change} where id = ?1");
    assert_eq!(sandbox.raw().execute(&sql, [id.0.as_bytes()]).unwrap(), 1);
}

#[tokio::test]
async fn a_claim_goes_on_past_each_of_them() {
    for (change, word) in [
        ("policy = 'not json'", "policy"),
        ("policy = '{\"max_retries\": -1}'", "policy"),
        ("policy = x'ff00'", "policy"),
        ("timeout_ms = -5", "timeout"),
        ("timeout_ms = 'soon'", "timeout"),
        ("kind = ''", "kind"),
        ("kind = x'ff'", "kind"),
        ("queue = x'ff'", "queue"),
        ("payload = 17", "payload"),
        ("state = 99", "99"),
        ("state = 'doing'", "doing"),
    ] {
        let sandbox = Sandbox::new();
        let (store, ids) = three(&sandbox).await;
        let server = server(&store).await;
        edit(&sandbox, change, ids[0]);
        let claimed: Vec<TaskId> = claim(&store, server, 2).await.iter().map(|task| task.id).collect();
        assert_eq!(claimed, ids[1..], "{change}");
        let record = store.get(&ids[..1]).await.unwrap().remove(0).expect(change);
        assert_eq!((record.state, record.wait_reason), (TaskState::Waiting, Some(WaitReason::Parked)), "{change}");
        let why = record.waiting_for.expect(change);
        assert!(why.starts_with("corrupt: "), "{change}: {why}");
        assert!(why.contains(word) || change.contains("state ="), "{change}: {why}");
        // The task is listed among the parked ones, and can be cancelled.
        assert_eq!(store.parked(taskyard_core::state::Runtime::Rust).await.unwrap().len(), 1, "{change}");
        let reply = store.cancel(&ids[..1]).await.unwrap()[0];
        assert_eq!(reply, ControlReply::Applied(TaskState::Cancelled), "{change}");
    }
}

#[tokio::test]
async fn a_state_that_is_none_is_shown() {
    let sandbox = Sandbox::new();
    let (store, ids) = three(&sandbox).await;
    let server = server(&store).await;
    let claimed = claim(&store, server, 3).await;
    let ends: Vec<_> = claimed.iter().map(done).collect();
    store.finish(&ends, &[]).await.unwrap();
    edit(&sandbox, "state = 42", ids[1]);
    let listed = store.list(&TaskFilter::default()).await.unwrap();
    assert_eq!(listed.len(), 3, "one odd row hides no other");
    let odd = listed.iter().find(|record| record.id == ids[1]).unwrap();
    assert!(odd.waiting_for.as_ref().unwrap().contains("42"));
    assert_eq!(store.finals(&ids).await.unwrap().len(), 2);
    assert_eq!(store.purge(&ids).await.unwrap(), 2, "what is not understood is not deleted");
    assert!(store.get(&ids).await.unwrap()[1].is_some());
}

#[tokio::test]
async fn odd_tags_break_no_filter() {
    let sandbox = Sandbox::new();
    let (store, ids) = three(&sandbox).await;
    edit(&sandbox, "tags = '[broken'", ids[0]);
    edit(&sandbox, "tags = '[\"a\"]'", ids[1]);
    let filter = TaskFilter { tag: Some("a".into()), ..TaskFilter::default() };
    let found: Vec<TaskId> = store.list(&filter).await.unwrap().iter().map(|record| record.id).collect();
    assert_eq!(found, ids[1..2]);
    assert_eq!(store.list(&TaskFilter::default()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_odd_running_row_loses_its_write_alone() {
    let sandbox = Sandbox::new();
    let (store, ids) = three(&sandbox).await;
    let server = server(&store).await;
    let claimed = claim(&store, server, 3).await;
    edit(&sandbox, "token = 'short', attempt = 'x'", ids[1]);
    let ends: Vec<_> = claimed.iter().map(done).collect();
    let replies = store.finish(&ends, &[]).await.unwrap();
    let applied = WriteReply::Applied(TaskState::Done);
    assert_eq!(replies, [applied, WriteReply::Lost, applied]);
}

#[tokio::test]
async fn stray_rows_in_the_small_tables_are_swept() {
    let sandbox = Sandbox::new();
    let (store, ids) = three(&sandbox).await;
    let raw = sandbox.raw();
    raw.execute_batch(
        "insert into ty_ready (lane, rank, order_number, queue) values (0, -9, 424242, 'default');
         insert into ty_waiting values (434343, 1, 0, 1, null, 0), (444444, 3, 0, null, 'x', 0);
         insert into ty_deadline values (null, 1, 454545, 0), (null, 1, 464646, 1);
         insert into ty_cascade values (474747, 1, x'00', -1), (484848, 9, null, -1);",
    )
    .unwrap();
    store.promote().await.unwrap();
    assert!(!store.cascade().await.unwrap().more);
    store.unpark(taskyard_core::state::Runtime::Rust, "x").await.unwrap();
    let server = server(&store).await;
    assert_eq!(claim(&store, server, 10).await.len(), ids.len());
    let left: i64 = raw
        .query_row(
            "select (select count(*) from ty_ready) + (select count(*) from ty_waiting) + (select count(*) from \
             ty_deadline) + (select count(*) from ty_cascade)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

/// A runnable row of a task that is done: the task's own row is authoritative.
#[tokio::test]
async fn a_finished_task_is_not_run_again() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    edit(&sandbox, "state = 4, finished_at = created_at", id);
    let server = server(&store).await;
    assert!(claim(&store, server, 10).await.is_empty());
    assert_eq!(store.get(&[id]).await.unwrap()[0].as_ref().unwrap().state, TaskState::Done);
    assert_eq!(store.status().await.unwrap().by_state, [0, 0, 0, 0, 1, 0, 0]);
}
