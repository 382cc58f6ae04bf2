//! Migrations: one process does the work, nothing is left half done, and nothing of other applications is touched.

use std::io::{BufRead, BufReader};

use taskyard_core::{Error, Store};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::sandbox::{Sandbox, add, task, versions};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_twenty_stores_one_wins() {
    for _ in 0..10 {
        let sandbox = Sandbox::new();
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let file = sandbox.file();
            starts.spawn(async move {
                let store = SqliteStore::open(file).await.unwrap();
                let applied = store.migrate().await.unwrap().applied.len();
                add(&store, task()).await;
                applied
            });
        }
        assert_eq!(starts.join_all().await.into_iter().sum::<usize>(), versions());
        let store = sandbox.store().await;
        assert_eq!(store.status().await.unwrap().by_state[1], 20);
    }
}

#[tokio::test]
async fn of_several_processes_one_wins() {
    let sandbox = Sandbox::new();
    let children: Vec<_> = (0..6).map(|_| child::spawn("migrate", &sandbox.file())).collect();
    let mut applied = 0;
    for mut child in children {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let counts = lines.map_while(Result::ok).filter_map(|line| line.split("applied=").nth(1)?.parse::<u32>().ok());
        applied += counts.sum::<u32>();
        child.wait().unwrap();
    }
    assert_eq!(applied as usize, versions());
}

/// A migration killed before its commit leaves the schema as it was, and the next one does all the work.
#[tokio::test]
async fn one_that_does_not_commit_leaves_nothing() {
    let sandbox = Sandbox::new();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    let raw = sandbox.raw();
    raw.execute_batch("pragma journal_mode=wal; begin immediate; create table ty_migration (version integer)").unwrap();
    // Dropped without a commit, as by a kill.
    drop(raw);
    assert_eq!(store.migrate().await.unwrap().applied.len(), versions());
    add(&store, task()).await;
}

#[tokio::test]
async fn a_failing_migration_is_undone_as_a_whole() {
    let sandbox = Sandbox::new();
    sandbox.raw().execute_batch("create table ty_signal (a); insert into ty_signal values ('kept')").unwrap();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    assert_eq!(store.migrate().await.unwrap_err(), Error::ForeignRelation("ty_signal".into()));
    let tables: i64 = sandbox.raw().query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_changed_migration_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let raw = sandbox.raw();
    raw.execute_batch("update ty_migration set checksum = 'x'; drop view queued_tasks").unwrap();
    let store = SqliteStore::open(sandbox.file()).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(error.to_string().contains("another text"), "{error}");
}

#[tokio::test]
async fn a_restored_copy_without_wal_gets_it_back() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    let id = add(&store, task()).await;
    store.close().await;
    let copy = Sandbox::new();
    sandbox.raw().execute("vacuum into ?1", [copy.file().to_str().unwrap()]).unwrap();
    let store = SqliteStore::open(copy.file()).await.unwrap();
    assert!(store.get(&[id]).await.unwrap()[0].is_some());
    let mode: String = copy.raw().query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}
