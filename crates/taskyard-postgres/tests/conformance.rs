//! The conformance suite of all stores, on a fresh database per case, among functions and operators that another role
//! created in `public`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_testkit::conformance::Fixture;

mod harness;

async fn fresh() -> Fixture {
    let (store, url) = harness::planted().await;
    Fixture::new(store, harness::Gone(url))
}

taskyard_testkit::conformance!(fresh);
