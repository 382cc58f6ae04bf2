//! The conformance suite that every store passes: the protocol of [`taskyard_core::store`], case by case.
//!
//! A store's crate runs it with a few lines in `tests/conformance.rs`:
//!
//! ```ignore
//! use std::sync::Arc;
//! use taskyard_testkit::conformance::Fixture;
//!
//! async fn fresh() -> Fixture {
//!     let directory = tempfile::tempdir().unwrap();
//!     let store = SqliteStore::open(&directory.path().join("queue.db")).await.unwrap();
//!     store.migrate().await.unwrap();
//!     Fixture::new(Arc::new(store), directory)
//! }
//!
//! taskyard_testkit::conformance!(fresh);
//! ```
//!
//! Every case is a test of its own (`conformance::rescue::...`) on a fresh store, and ends with [`check_invariants`].
//! No case waits for time to pass: the store's test clock is frozen and moved by the case. A case is defined in the
//! file of its subject and listed once more in `list.rs`; one that is missing there causes a warning.

#![allow(clippy::unwrap_used, reason = "the cases are tests: what they unwrap is what they assert")]

mod harness;
mod invariants;

mod adding;
mod ageing;
mod attempts;
mod claiming;
mod clock;
mod context;
mod control;
mod counters;
mod deaths;
mod edits;
mod encodings;
mod ends_aside;
mod expiry;
mod fencing;
mod graphs;
mod held;
mod kinds;
mod listing;
mod logs;
mod notifications;
mod parents_added;
mod parents_finish;
mod parking;
mod payloads;
mod priorities;
mod query;
mod queues;
mod rates;
mod removal;
mod requests;
mod rescue;
mod retrying;
mod schedules;
mod schema;
mod servers;
mod snapshots;
mod status;
mod timers;
mod unique;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use taskyard_core::Store;

pub use harness::{Harness, TestServer};
pub use invariants::check_invariants;

/// Time limit of a case: a case that waits for an event that never comes fails instead of hanging.
const CASE_SECONDS_MAX: u64 = 180;

/// A fresh, migrated store, and the resources that must outlive it.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    /// For example the directory or database of the store; dropped after the case.
    pub keep: Box<dyn Any + Send>,
}

impl Fixture {
    /// Creates a fixture of a store and the resource that must outlive it (`()` if none).
    pub fn new(store: Arc<dyn Store>, keep: impl Any + Send) -> Self {
        Self { store, keep: Box::new(keep) }
    }
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Runs one case on a fresh store, then [`check_invariants`]. Called by [`conformance!`].
///
/// # Panics
/// If the store breaks the protocol.
pub fn run<Making>(subject: &str, case: &str, factory: impl FnOnce() -> Making)
where
    Making: Future<Output = Fixture>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(async {
        let fixture = factory().await;
        let all = async {
            dispatch(subject, case, Harness::new(Arc::clone(&fixture.store))).await;
            // The only case that closes its store has checked the invariants before.
            if !matches!(fixture.store.status().await, Err(taskyard_core::Error::ShutDown(_))) {
                check_invariants(&fixture.store).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(CASE_SECONDS_MAX), all).await.is_err() {
            panic!("{subject}::{case} did not end within {CASE_SECONDS_MAX} s");
        }
        fixture.store.close().await;
        drop(fixture);
    });
}

macro_rules! dispatch_by_name {
    ([] $($subject:ident { $($case:ident)* })*) => {
        async fn dispatch(subject: &str, case: &str, harness: Harness) {
            match (subject, case) {
                $($((stringify!($subject), stringify!($case)) => Box::pin($subject::$case(harness)).await,)*)*
                _ => unreachable!("the list names {subject}::{case}"),
            }
        }
    };
}

__conformance_list! { [dispatch_by_name] [] }
