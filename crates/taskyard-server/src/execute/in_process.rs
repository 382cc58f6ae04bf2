//! The executor of Rust tasks.

mod blocking;
mod local;
mod pending;
mod poll_watch;
mod pool;
mod run_queue;
mod running;
mod shared;
mod watchdog;
mod worker;
mod worker_group;

pub(crate) use pool::Pool;
pub(crate) use shared::SharedRuntime;
