//! A body adds a task without awaiting it and returns: its server is killed before that task is stored.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod harness;

use std::time::Duration;

use harness::Harness;
use taskyard::{TaskFilter, TaskState};
use taskyard_faults::ledger::{Event, read_all};
use taskyard_faults::tasks::{leave, work};
use taskyard_testkit::backend::Backend;

/// Holds additions up until it is dropped.
enum HeldUp {
    Sqlite(rusqlite::Connection),
    Postgres { _client: tokio_postgres::Client, _driver: tokio::task::JoinHandle<()> },
}

impl HeldUp {
    async fn begin(database: &str) -> Self {
        if !database.starts_with("postgres") {
            let file = rusqlite::Connection::open(database).unwrap();
            file.busy_timeout(Duration::from_secs(30)).unwrap();
            file.execute_batch("begin immediate").unwrap();
            return Self::Sqlite(file);
        }
        let (client, connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(async move { connection.await.unwrap_or(()) });
        let sql = "create function public.hold() returns trigger language plpgsql as $$
                       begin perform pg_advisory_xact_lock_shared(4242); return new; end $$;
                   create trigger hold before insert on taskyard.task for each row
                       when (new.kind like '%::noop') execute function public.hold()";
        client.batch_execute(sql).await.unwrap();
        client.batch_execute("select pg_advisory_lock(4242)").await.unwrap();
        Self::Postgres { _client: client, _driver: driver }
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        if let Self::Sqlite(file) = self {
            file.execute_batch("rollback").unwrap();
        }
    }
}

async fn a_kill_before_a_child_is_stored(backend: Backend) {
    let harness = Harness::on(backend.create_database()).await;
    let count =
        |is_it: fn(&Event) -> bool| read_all(harness.ledgers()).unwrap().iter().filter(|event| is_it(event)).count();
    let mut server = harness.start_server();
    let parent = harness.queue.add(leave(1_500)).await.unwrap();
    harness.until("the body has begun", || count(|event| matches!(event, Event::Started { .. })) == 1).await;
    let held_up = HeldUp::begin(&harness.database).await;
    harness.until("the body has ended", || count(|event| matches!(event, Event::Ended { .. })) == 1).await;
    if let HeldUp::Postgres { .. } = held_up {
        // An end that does not wait is stored before the end of a later task. The locked SQLite file accepts no writes.
        let later = harness.queue.add(work(0)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), later.wait()).await.unwrap().unwrap();
    }
    assert_eq!(parent.state().await.unwrap(), TaskState::Doing);
    server.kill();
    drop(held_up);
    assert_eq!(parent.state().await.unwrap(), TaskState::Doing);
    let _server = harness.start_server();
    let child = tokio::time::timeout(Duration::from_secs(60), parent.wait()).await.unwrap().unwrap();
    assert_eq!(parent.record().await.unwrap().attempt, 2);
    let filter = TaskFilter { limit: 100, ..TaskFilter::default() };
    let stored = harness.queue.store().list(&filter).await.unwrap();
    assert!(stored.iter().any(|task| task.id == child), "{stored:?}");
}

taskyard_testkit::on_both_stores! { a_kill_before_a_child_is_stored }
