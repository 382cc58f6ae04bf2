//! Schema and connection: migrating is safe to repeat, closing is final.

use taskyard_core::Error;

use super::Yard;
use crate::factory::{task, tasks};

pub(super) async fn migrating_again_does_nothing(yard: Yard) {
    let schema = yard.store.schema().await.unwrap();
    assert!(schema.found > 0 && schema.found == schema.known, "{schema:?}");
    assert!(schema.pending.is_empty());
    let id = yard.add(task()).await;
    let report = yard.store.migrate().await.unwrap();
    assert_eq!((report.from, report.to), (schema.known, schema.known));
    assert!(report.applied.is_empty());
    assert!(yard.exists(id).await);
}

pub(super) async fn many_may_migrate_at_once(yard: Yard) {
    let mut migrations = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = std::sync::Arc::clone(&yard.store);
        migrations.spawn(async move { store.migrate().await.unwrap().applied.len() });
    }
    assert_eq!(migrations.join_all().await.iter().sum::<usize>(), 0);
    yard.add_all(&tasks(3)).await;
}

pub(super) async fn it_says_what_and_where_it_is(yard: Yard) {
    assert!(["sqlite", "postgresql"].contains(&yard.store.backend()));
    assert!(!yard.store.address().is_empty());
}

/// The suite closes every store once more after this.
pub(super) async fn a_closed_store_says_so(yard: Yard) {
    let bystander = task();
    yard.add(bystander).await;
    super::check_invariants(&yard.store).await;
    yard.store.close().await;
    assert!(matches!(yard.store.add(&[task()]).await, Err(Error::ShutDown(_))));
    assert!(matches!(yard.store.status().await, Err(Error::ShutDown(_))));
    yard.store.close().await;
}
