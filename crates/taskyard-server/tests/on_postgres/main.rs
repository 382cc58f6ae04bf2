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
#[path = "../server/death_hooks.rs"]
mod death_hooks;
#[path = "../server/declared_dead.rs"]
mod declared_dead;
#[path = "../server/inline.rs"]
mod inline;
#[path = "../server/kinds.rs"]
mod kinds;
#[path = "../server/log.rs"]
mod log;
#[path = "../server/on_demand.rs"]
mod on_demand;
#[path = "../server/outcomes.rs"]
mod outcomes;
#[path = "../server/queue_order.rs"]
mod queue_order;
#[path = "../server/queue_upkeep.rs"]
mod queue_upkeep;
#[path = "../server/refused_ends.rs"]
mod refused_ends;
#[path = "../server/rescue.rs"]
mod rescue;
#[path = "../server/schedules.rs"]
mod schedules;
#[path = "../server/shutdown.rs"]
mod shutdown;
#[path = "../server/slot_release.rs"]
mod slot_release;
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
