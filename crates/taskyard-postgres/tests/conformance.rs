//! The suite that every store passes, on a fresh database per case.

use taskyard_testkit::conformance::Fixture;

mod yard;

async fn fresh() -> Fixture {
    let (store, url) = yard::fresh_with_address().await;
    Fixture::new(store, yard::Gone(url))
}

taskyard_testkit::conformance!(fresh);
