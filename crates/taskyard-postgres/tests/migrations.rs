//! Migrating: many at once, foreign relations, newer and changed schemas, and the views as a choice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_core::Error;
use taskyard_core::store::Store;
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::factory::task;
use taskyard_testkit::postgres::shared;

mod yard;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_make_one_schema() {
    let url = shared().create_database();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let url = url.clone();
        runs.spawn(async move {
            let store = yard::open(&url).await;
            let report = store.migrate().await.unwrap();
            store.close().await;
            (report.applied.len(), report.to)
        });
    }
    let reports = runs.join_all().await;
    assert_eq!(reports.iter().filter(|(applied, _)| *applied > 0).count(), 1, "one did the work: {reports:?}");
    let known = yard::open(&url).await.schema().await.unwrap();
    assert!(known.pending.is_empty() && known.found == known.known);
    assert!(reports.iter().all(|(_, to)| *to == known.known));
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM taskyard.migration"), known.known.to_string());
}

#[tokio::test]
async fn a_foreign_relation_is_refused_and_nothing_is_changed() {
    for relation in [
        "CREATE TABLE queued_tasks (id int)",
        "CREATE VIEW queued_task_logs AS SELECT 1 AS one",
        "CREATE SEQUENCE queued_task_workers",
        "CREATE SCHEMA other; CREATE TABLE other.queued_tasks (id int); ALTER ROLE postgres IN DATABASE %DB% SET search_path = public, other",
    ] {
        let url = shared().create_database();
        shared().psql_in(&url, &relation.replace("%DB%", url.rsplit('/').next().unwrap()));
        let store = yard::open(&url).await;
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::ForeignRelation(name) if name.contains("queued_task")), "{error}");
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'taskyard'";
        assert_eq!(shared().psql_in(&url, schemas), "0", "the whole migration was undone");
        // The setting does without them, and can be changed back once the relation is out of the way.
        let without = PostgresStore::connect(&url, Options { views: false, ..Options::default() }).await.unwrap();
        without.migrate().await.unwrap();
        without.add(&[task()]).await.unwrap();
        assert!(matches!(store.migrate().await, Err(Error::ForeignRelation(_))));
        store.close().await;
        without.close().await;
    }
}

#[tokio::test]
async fn views_can_be_had_later() {
    let url = shared().create_database();
    let without = PostgresStore::connect(&url, Options { views: false, ..Options::default() }).await.unwrap();
    without.migrate().await.unwrap();
    assert_eq!(shared().psql_in(&url, "SELECT to_regclass('queued_tasks') IS NULL"), "t");
    yard::open(&url).await.migrate().await.unwrap();
    assert_eq!(shared().psql_in(&url, "SELECT count(*) FROM queued_tasks"), "0");
}

#[tokio::test]
async fn a_newer_schema_and_a_changed_migration_are_refused() {
    let (store, url) = yard::fresh_with_address().await;
    shared().psql_in(&url, "INSERT INTO taskyard.migration (version, name, checksum) VALUES (999, 'later', 'x')");
    assert!(matches!(store.migrate().await, Err(Error::SchemaTooNew { found: 999, .. })));
    shared().psql_in(&url, "DELETE FROM taskyard.migration WHERE version = 999");
    store.migrate().await.unwrap();
}
