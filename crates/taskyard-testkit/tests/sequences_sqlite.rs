//! Random sequences on SQLite.

use taskyard_sqlite::SqliteStore;
use taskyard_testkit::conformance::Fixture;
use taskyard_testkit::model::{Guard, Rules};
use taskyard_testkit::sequences;

async fn fresh() -> Fixture {
    // In memory where possible: surviving a power cut is not tested here.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory can be made");
    let store = SqliteStore::open(directory.path().join("queue.db")).await.expect("a store can be opened");
    taskyard_core::Store::migrate(&*store).await.expect("a fresh file can be migrated");
    Fixture::new(store, directory)
}

#[test]
fn sqlite_equals_the_model() {
    sequences::check(3_000, 40, fresh);
}

/// Otherwise equality would mean nothing.
#[test]
fn a_broken_model_is_told_from_sqlite() {
    let broken = [
        ("completion by id only", Rules { guard: Guard::Id, ..Rules::default() }),
        ("id and state", Rules { guard: Guard::IdState, ..Rules::default() }),
        ("id, state and server", Rules { guard: Guard::IdStateServer, ..Rules::default() }),
        ("the attempt number as the token", Rules { guard: Guard::AttemptNumber, ..Rules::default() }),
        ("the token cleared at the end", Rules { token_cleared_at_end: true, ..Rules::default() }),
        ("a flag lost at release", Rules { flag_lost_at_release: true, ..Rules::default() }),
    ];
    for (what, rules) in broken {
        let difference = sequences::tells_apart(400, 40, rules, fresh);
        let difference = difference.unwrap_or_else(|| panic!("{what}: not noticed"));
        println!("{what}: {difference}");
    }
}
