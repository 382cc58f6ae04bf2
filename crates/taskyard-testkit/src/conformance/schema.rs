//! Schema and connection: migrating is safe to repeat, closing is final.

use taskyard_core::Error;

use super::Harness;
use crate::factory::{task, tasks};

pub(super) async fn migrating_again_does_nothing(harness: Harness) {
    let schema = harness.store.schema().await.unwrap();
    assert!(schema.found > 0 && schema.found == schema.known, "{schema:?}");
    assert!(schema.pending.is_empty());
    let id = harness.add(task()).await;
    let report = harness.store.migrate().await.unwrap();
    assert_eq!((report.from, report.to), (schema.known, schema.known));
    assert!(report.applied.is_empty());
    assert!(harness.exists(id).await);
}

pub(super) async fn many_may_migrate_at_once(harness: Harness) {
    let mut migrations = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = std::sync::Arc::clone(&harness.store);
        migrations.spawn(async move { store.migrate().await.unwrap().applied.len() });
    }
    assert_eq!(migrations.join_all().await.iter().sum::<usize>(), 0);
    harness.add_all(&tasks(3)).await;
}

pub(super) async fn it_says_what_and_where_it_is(harness: Harness) {
    assert!(["sqlite", "postgresql"].contains(&harness.store.backend()));
    assert!(!harness.store.address().is_empty());
}

/// The suite closes every store once more after this.
pub(super) async fn a_closed_store_says_so(harness: Harness) {
    let bystander = task();
    harness.add(bystander).await;
    super::check_invariants(&harness.store).await;
    harness.store.close().await;
    assert!(matches!(harness.store.add(&[task()]).await, Err(Error::ShutDown(_))));
    assert!(matches!(harness.store.status().await, Err(Error::ShutDown(_))));
    harness.store.close().await;
}
