//! `taskyard._core`: the engine for Python.
//!
//! This is the only crate that uses Python, and it decides nothing: no policy, no SQL. In a web process a
//! [`queue::Queue`] uses the engine directly; in a worker process a [`channel::Channel`] sends the same requests to the
//! server over its socket. Both return a [`reply::Reply`], which an event loop awaits through a [`mailbox::Mailbox`]
//! and a thread by blocking.
//!
//! Invariants: no thread of the engine ever takes the GIL, so that a busy interpreter slows nothing down and the end of
//! an interpreter blocks on nothing; values created before a `fork` are neither used nor dropped after it.

mod arguments;
mod blocked;
mod channel;
mod client_request;
mod command;
mod draft;
mod enqueue;
mod errors;
mod guard;
mod log;
mod mailbox;
mod message;
mod queue;
mod reply;
mod runtime;
mod schedule;
mod server;
mod stored;
mod values;

use pyo3::prelude::*;

/// The engine.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::arguments::{DeadEdit, TaskFilter};
    #[pymodule_export]
    use super::channel::Channel;
    #[pymodule_export]
    use super::client_request::Request;
    #[pymodule_export]
    use super::command::{die_with_parent, run};
    #[pymodule_export]
    use super::draft::{kind_in, new_id};
    #[pymodule_export]
    use super::enqueue::enqueue_values;
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
