//! The server: claims tasks, executes them, records their outcomes, sends heartbeats, rescues the tasks of dead
//! servers, runs timers, prunes and shuts down.
//!
//! Generic over [`taskyard_core::Store`]: there is no SQL and no argument parsing here. Rust tasks run in this process,
//! async bodies on the caller's runtime and blocking ones on threads of their own; all others run in child processes
//! ([`children`]).
//!
//! # Invariants
//! - Every end of an attempt goes through the store's fenced writes; the state of this process never decides the
//!   outcome.
//! - A task is claimed only if it can start soon. A task that has not started within a second is released and no
//!   attempt is charged (within fifteen seconds while the first child process starts).
//! - No loop ends because the database is unavailable.
//!
//! Read [`Server`] for the life cycle, `executor` for how bodies run, and `completer` for how outcomes are written.

mod attempt;
mod config;
mod execute;
mod inline;
pub mod layer;
mod loops;
mod primitives;
mod registry;
mod server;
mod task;
mod upkeep;

pub use attempt::body::{AsyncBody, BodyResult, LocalBody};
pub use attempt::parked_reason::{kind_of_reason, parked_reason};
pub use attempt::task_error::{TaskError, TaskFailure};
pub use config::{LiveConfig, ServerConfig};
pub use execute::children;
pub use inline::{drain, run_inline};
pub use registry::Registry;
pub use server::{ExitReason, Server, ServerExit, ServerHandle, ServerStatus};
pub use task::context::{Cursor, Ranges, TaskContext, block_on};
pub use task::definition::{Run, StateType, TaskDef};
pub use task::log_layer::TaskLogLayer;
pub use task::progress::{Amount, ProgressTracker};
