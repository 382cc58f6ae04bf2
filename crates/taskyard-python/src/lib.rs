//! `taskyard._core`: the engine for Python.
//!
//! This crate alone knows Python, and decides nothing: no policy, no SQL. In a web process a [`queue::Queue`] stands on
//! the engine itself; in a worker process a [`channel::Channel`] asks the server for the same things over its socket.
//! Both answer with [`reply::Reply`], which an event loop waits for by a [`mailbox::Mailbox`] and a thread by blocking.
//!
//! What must hold: no thread of the engine ever takes Python's lock, so that a busy interpreter slows nothing down and
//! one that ends hangs on nothing; what was made before a `fork` is neither used nor dropped after it.

mod blocked;
mod channel;
mod command;
mod draft;
mod errors;
mod guard;
mod log;
mod mailbox;
mod message;
mod question;
mod queue;
mod queues;
mod reply;
mod runtime;
mod schedule;
mod server;
mod stored;

use pyo3::prelude::*;

/// The engine.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::channel::Channel;
    #[pymodule_export]
    use super::command::{die_with_parent, run};
    #[pymodule_export]
    use super::draft::{enqueue_values, kind_in, new_id};
    #[pymodule_export]
    use super::guard::keep;
    #[pymodule_export]
    use super::log::{end_logs, next_logs};
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::queue::Queue;
    #[pymodule_export]
    use super::reply::{Addition, Reply, open_questions};
    #[pymodule_export]
    use super::schedule::{check_rule, next_times};
    #[pymodule_export]
    use super::server::Server;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
