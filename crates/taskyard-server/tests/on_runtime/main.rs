//! A server on SQLite whose async bodies run on the runtime that started it. The tests that apply to every server are
//! in `../server`, and run here on such a server.

// Tests may panic; clippy exempts only code in `#[test]` functions themselves.
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
#[path = "../server/outcomes.rs"]
mod outcomes;
#[path = "../server/shutdown.rs"]
mod shutdown;
#[path = "../server/slot_release.rs"]
mod slot_release;
#[path = "../server/time_limits.rs"]
mod time_limits;
#[path = "../server/workers.rs"]
mod workers;
#[path = "../server/world.rs"]
mod world;

/// Returns a new runtime with several threads, on which a server is started.
fn runtime() -> Option<tokio::runtime::Runtime> {
    Some(tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap())
}
