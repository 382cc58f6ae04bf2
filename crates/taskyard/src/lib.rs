//! Background tasks for web applications, in the database the application already has.
//!
//! ```no_run
//! use taskyard::{Taskyard, task};
//!
//! #[task(queue = "mail", max_retries = 5)]
//! async fn send_welcome(to: String) -> Result<usize, std::io::Error> {
//!     Ok(to.len())
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = Taskyard::connect("postgresql://localhost/shop").await?;
//! let server = queue.serve().await?; // or `taskyard queue start` elsewhere
//! let task = queue.add(send_welcome("ada@example.org".into())).await?; // stored
//! println!("{} is {} long", task.id(), task.wait().await?); // done
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! This crate contains no logic of its own: it opens stores by their address, combines client and server, and
//! re-exports the items that applications use. It is the only crate under semantic versioning.

#[doc(hidden)]
pub mod __private;
mod open;
mod task_set;
mod taskyard;

pub use taskyard::{State, Taskyard};
pub use taskyard_core::client::{
    Call, Client, ClientConfig, Control, DeadEdit, Event, EventKind, Group, PendingTask, Progress, Schedule,
    ScheduleAdded, TaskRef, Watch, id_ranges,
};
pub use taskyard_core::queue_order::OrderWord;
pub use taskyard_core::schedule::{CatchUp, NewSchedule, OnConflict, Overlap, RunOutcome, ScheduleRecord, ScheduleRun};
pub use taskyard_core::settings::Settings;
pub use taskyard_core::state::{OnParentFailure, Runtime, TaskState, WaitReason};
pub use taskyard_core::store::{ControlReply, Final, ParentResult, QueueStatus, Retention, SchedulePut, TaskFilter};
pub use taskyard_core::task::{
    Attempt, AttemptOutcome, ExtraOptions, Failure, LogLine, NewTask, Start, StoredLogLine, TaskRecord, Unique,
    UniqueHold,
};
pub use taskyard_core::{
    Error, Limits, Namespace, QueueOrder, Rate, Result, RetryPolicy, ServerId, Statement, TaskId, Timestamp, Token,
};
pub use taskyard_macros::{local, task};
#[cfg(feature = "postgres")]
pub use taskyard_postgres::CallerConnection;
pub use taskyard_server::layer;
pub use taskyard_server::{
    Amount, Cursor, ExitReason, LiveConfig, ProgressTracker, Ranges, Registry, ServerConfig, ServerExit, ServerHandle,
    ServerStatus, TaskContext, TaskDef, TaskError, TaskFailure, TaskLogLayer,
};

// For the `taskyard` command, the Python package and tests: the stores' trait and the parts that servers consist of.
// Not public; may change with any version.
#[doc(hidden)]
pub use open::{open, redacted};
#[doc(hidden)]
pub use taskyard_core::Store;
#[doc(hidden)]
pub use taskyard_core::payload::shown;
#[doc(hidden)]
pub use taskyard_core::redact::redact;
#[doc(hidden)]
pub use taskyard_core::settings::{self, SETTINGS, Setting};
#[doc(hidden)]
pub use taskyard_core::store;
#[doc(hidden)]
pub use taskyard_server::Server;

// Compiles the samples of that page. The page is not part of the published crate and is read only by the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct PageOnRust;

/// Operations in the caller's PostgreSQL transaction: the attempt ends if and only if the transaction commits.
#[cfg(feature = "postgres")]
pub mod postgres {
    pub use taskyard_postgres::{complete_in, complete_statement};
}
