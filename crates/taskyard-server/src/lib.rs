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
//! # Rooms
//! Each imports only those before it in this list, and says in its header what it owns.
//!
//! - `primitives`: queues between threads, clock, locks, panics.
//! - `config`: the settings of a server and of its child processes.
//! - `attempt`: one attempt from its start to its outcome, and the outbox for what it wants written.
//! - `task`: what the author of a Rust task uses: declaration, context, progress, log lines.
//! - [`layer`]: the application's code around and after bodies: layers and hooks.
//! - `registry`: the functions, state values, layers and hooks of an application.
//! - `execute`: how bodies run: `in_process` (Rust) and [`children`] (Python).
//! - `loops`: fetcher, completer, recorder, heartbeat, and the state that they share.
//! - `upkeep`: what any server does for all: timers, rescue, cascades, schedules, pruning.
//! - `inline`: runs without a server, for tests.
//! - `server`: the life cycle: start, stop, status.

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
