//! Random sequences of operations: the database and the model of the protocol must agree after every step.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use taskyard_testkit::conformance::Fixture;

mod yard;

async fn fresh() -> Fixture {
    let (store, url) = yard::fresh_with_address().await;
    Fixture::new(store, yard::Gone(url))
}

#[test]
fn the_model_and_the_database_agree() {
    taskyard_testkit::sequences::check(300, 40, fresh);
}
