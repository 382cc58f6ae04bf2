//! The suite that every store passes, on a fresh database per case.

use taskyard_testkit::conformance::Fixture;

mod yard;

async fn fresh() -> Fixture {
    Fixture::new(yard::fresh().await, ())
}

taskyard_testkit::conformance!(fresh);
