//! Repeated steps of upkeep, and transactions and triggers that obstruct them.
#![allow(
    dead_code,
    unused_macros,
    clippy::unwrap_used,
    reason = "each test uses a part, and fails where it cannot go on"
)]

use std::time::Duration;

use taskyard_core::store::{Finish, Outcome, Store};
use taskyard_core::{NewTask, ServerId, TaskId, TaskState};
use taskyard_postgres::PostgresStore;
use taskyard_testkit::factory::{request, server};
use taskyard_testkit::postgres::shared;
use tokio_postgres::{Client, NoTls};

pub const SOON: Duration = Duration::from_millis(1);

pub async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns another transaction, which holds locks until its connection is dropped.
pub async fn locked(url: &str, sql: &str) -> Client {
    let client = session(url).await;
    client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
    client
}

pub async fn states(store: &PostgresStore, ids: &[TaskId]) -> Vec<Option<TaskState>> {
    store.get(ids).await.unwrap().into_iter().map(|found| found.map(|record| record.state)).collect()
}

/// Repeats a step of upkeep until these tasks are in a state (`None`: they are deleted).
macro_rules! until {
    ($store:expr, $ids:expr, $state:expr, $step:expr) => {
        for attempt in 0.. {
            $step.await.unwrap();
            if $crate::steps::states(&$store, $ids).await.iter().all(|state| *state == $state) {
                break;
            }
            assert!(attempt < 600, "after {attempt} steps: {:?}", $crate::steps::states(&$store, $ids).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
}

/// Repeats a step of upkeep until the status reports a refusal.
macro_rules! until_shown {
    ($store:expr, $text:expr, $step:expr) => {
        for attempt in 0.. {
            $step.await.unwrap();
            let shown = $store.status().await.unwrap().upkeep_refused;
            if shown.as_ref().is_some_and(|shown| shown.contains($text)) {
                break;
            }
            assert!(attempt < 600, "after {attempt} steps: {shown:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
}

pub async fn added(store: &PostgresStore, batch: Vec<NewTask>) -> Vec<TaskId> {
    store.add(&batch).await.unwrap().into_iter().map(|added| added.id).collect()
}

/// Adds tasks and finishes them through a server, each with its own end.
pub async fn done(store: &PostgresStore, batch: Vec<NewTask>) -> Vec<TaskId> {
    let ids = added(store, batch).await;
    let host = server();
    store.server_enter(&host).await.unwrap();
    let ends: Vec<Finish> = store
        .claim(&request(host.id, ids.len()))
        .await
        .unwrap()
        .tasks
        .into_iter()
        .map(|task| Finish {
            id: task.id,
            token: task.token,
            outcome: Outcome::Done { result: b"1".to_vec() },
            context: None,
            logs: Vec::new(),
        })
        .collect();
    assert_eq!(ends.len(), ids.len());
    store.finish(&ends, &[]).await.unwrap();
    ids
}

pub fn lock_of(id: TaskId) -> String {
    format!("SELECT FROM taskyard.task WHERE id = '{id}' FOR UPDATE")
}

/// Like a caller of `enqueue` that does not commit.
pub const KEY_HELD: &str = "SELECT taskyard.enqueue('a::b', unique_key => 'k')";

/// Makes the database refuse such changes of these tasks from now on; when the transaction commits, if `deferred`.
pub fn refuse(url: &str, deferred: bool, condition: &str) {
    let timing = if deferred { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
    shared().psql_in(
        url,
        &format!(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'not this one';
             END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON taskyard.task {timing} FOR EACH ROW
                 WHEN ({condition}) EXECUTE FUNCTION public.refuse()"
        ),
    );
}

pub fn accept(url: &str) {
    let sql = "DROP TRIGGER refuse ON taskyard.task; UPDATE taskyard.waiting SET not_before = NULL, run_at = now(); \
               UPDATE taskyard.cascade SET not_before = now() WHERE not_before IS NOT NULL";
    shared().psql_in(url, sql);
}

/// Enters a server that claims all enqueued tasks; returns it with its heartbeat number.
pub async fn holder(store: &PostgresStore, count: usize) -> (ServerId, i64) {
    let host = server();
    store.server_enter(&host).await.unwrap();
    assert_eq!(store.claim(&request(host.id, count)).await.unwrap().tasks.len(), count);
    (host.id, store.beats().await.unwrap()[0].beat)
}
