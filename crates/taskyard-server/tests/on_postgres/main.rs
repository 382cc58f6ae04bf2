//! A server on PostgreSQL, from claim to exit. One binary, so that it links once; the tests are in `../server`.

// Tests may panic; clippy exempts only code in `#[test]` functions themselves.
#![allow(clippy::unwrap_used)]

mod alone;
mod crash;
mod database;
mod outages;
mod refused_schedules;

#[path = "../server/additions.rs"]
mod additions;
#[path = "../server/bodies.rs"]
mod bodies;
#[path = "../server/child.rs"]
mod child;
#[path = "../server/children.rs"]
mod children;
#[path = "../server/context.rs"]
mod context;
#[path = "../server/control.rs"]
mod control;
#[path = "../server/deaths.rs"]
mod deaths;
#[path = "../server/ends.rs"]
mod ends;
#[path = "../server/identity.rs"]
mod identity;
#[path = "../server/inline.rs"]
mod inline;
#[path = "../server/keeping.rs"]
mod keeping;
#[path = "../server/kinds.rs"]
mod kinds;
#[path = "../server/log.rs"]
mod log;
#[path = "../server/on_demand.rs"]
mod on_demand;
#[path = "../server/orders.rs"]
mod orders;
#[path = "../server/refusals.rs"]
mod refusals;
#[path = "../server/rescue.rs"]
mod rescue;
#[path = "../server/resting.rs"]
mod resting;
#[path = "../server/schedules.rs"]
mod schedules;
#[path = "../server/stopping.rs"]
mod stopping;
#[path = "../server/time_limits.rs"]
mod time_limits;
#[path = "../server/timers.rs"]
mod timers;
#[path = "../server/worker_threads.rs"]
mod worker_threads;
#[path = "../server/workers.rs"]
mod workers;
#[path = "../server/world.rs"]
mod world;

/// Servers are started on the runtime of their test, which has one thread: their bodies run on worker threads.
fn runtime() -> Option<tokio::runtime::Runtime> {
    None
}
