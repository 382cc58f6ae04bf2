//! A server whose async bodies run on the runtime that started it, on SQLite. The tests that hold for every server are in
//! `../server`, and run here on such a one.

// Tests may panic; clippy only knows those in `#[test]` functions themselves.
#![allow(clippy::unwrap_used)]

mod shared_workers;

#[path = "../server/additions.rs"]
mod additions;
#[path = "../server/bodies.rs"]
mod bodies;
#[path = "../server/context.rs"]
mod context;
#[path = "../server/control.rs"]
mod control;
#[allow(dead_code, reason = "the tests of SQLite need more of it")]
#[path = "../on_sqlite/database.rs"]
mod database;
#[path = "../server/ends.rs"]
mod ends;
#[path = "../server/resting.rs"]
mod resting;
#[path = "../server/stopping.rs"]
mod stopping;
#[path = "../server/time_limits.rs"]
mod time_limits;
#[path = "../server/workers.rs"]
mod workers;
#[path = "../server/world.rs"]
mod world;

/// Each server is started on a runtime of several threads, of its own.
fn runtime() -> Option<tokio::runtime::Runtime> {
    Some(tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap())
}
