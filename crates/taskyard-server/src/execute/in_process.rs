//! The executor of Rust tasks: [`Pool`].
//!
//! Async bodies run on workers: on the caller's runtime (`shared_workers`), or on threads with a runtime of their own (`local_workers`)
//! if they cannot move between threads or that runtime has only one. A `worker` polls each body once in place; what is then still
//! pending becomes a task of its own (`pending`). Blocking bodies have threads (`blocking`). The `watchdog` looks at all of them from
//! the server's thread and abandons a thread whose body exceeds its time.
//!
//! No lock is held while a body is polled, but that of the body itself, and no clock is read per poll.

mod blocking;
mod local_workers;
mod pending;
mod poll_watch;
mod pool;
mod run_queue;
mod running;
mod shared_workers;
mod watchdog;
mod worker;
mod worker_group;

pub(crate) use pool::Pool;
pub(crate) use shared_workers::SharedRuntime;
