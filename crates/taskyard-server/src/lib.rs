//! The process that runs tasks: claim, execute, complete, heartbeat, rescue, timers, pruning, stopping.
//!
//! It is generic over [`taskyard_core::Store`]; there is no SQL and no argument parsing here. Rust tasks run in this
//! process: async bodies on the caller's runtime, blocking ones on threads of their own. Others run in child processes ([`children`]).
//!
//! # What must hold
//! - Every end of an attempt goes through the store's fenced writes; what this process believes never decides.
//! - A task is claimed only if it can start soon; what did not start within a second is given back, uncharged
//!   (what waits for the first child process to come up, within fifteen).
//! - No loop ends because the database is away.
//!
//! Read [`Server`] for the life of a server, `executor` for how bodies run, `completer` for how ends are written.

mod attempt;
mod backoff;
pub mod children;
mod clock;
mod completer;
mod config;
mod engine;
mod executor;
mod fetcher;
mod heartbeat;
mod hooks;
mod inline;
pub mod layer;
mod log_layer;
mod panics;
mod pieces;
mod progress;
mod recorder;
mod references;
mod registry;
mod server;
mod state;
mod task_context;
mod task_def;
mod task_error;
mod upkeep;

pub use config::{LiveConfig, ServerConfig};
pub use inline::{drain, run_inline};
pub use log_layer::TaskLogLayer;
pub use progress::{Amount, ProgressTracker};
pub use registry::{Registry, kind_of_reason, parked_reason};
pub use server::{ExitReason, Server, ServerExit, ServerHandle, ServerStatus};
pub use task_context::{Cursor, Ranges, TaskContext, block_on};
pub use task_def::{AsyncBody, BodyResult, LocalBody, Run, StateType, TaskDef};
pub use task_error::{TaskError, TaskFailure};
