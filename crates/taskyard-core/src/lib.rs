//! The data model and the protocol of Taskyard: tasks, attempts, queues, servers, independent of where they are stored.
//!
//! Owns the model (`state`, `task`), the rules (`retry`, `limits`, `payload`, `context`), the [`Store`] trait that
//! every database implements, the [`Client`] that applications add tasks with, and the table of errors ([`Error`]).
//! Performs no I/O of its own: no SQL, no HTTP, no Python. Start with [`store`], which documents the protocol.

pub mod backoff;
pub mod client;
pub mod concurrency_slot;
pub mod context;
pub mod duration;
pub mod error;
pub mod failpoint;
mod from_text;
pub mod graph;
pub mod id;
pub mod libpq;
pub mod limits;
pub mod namespace;
pub mod notifications;
pub mod payload;
pub mod queue_order;
pub mod rate;
pub mod redact;
pub mod retry;
pub mod schedule;
pub mod seal;
pub mod settings;
pub mod state;
mod statement;
pub mod store;
pub mod task;
pub mod time;
mod unlisted;
mod words;

pub use client::{Client, TaskRef};
pub use error::{Error, Result};
pub use id::{AdditionId, ClaimId, ServerId, TaskId, Token};
pub use limits::Limits;
pub use namespace::Namespace;
pub use queue_order::QueueOrder;
pub use rate::Rate;
pub use retry::RetryPolicy;
pub use state::{TaskState, WaitReason};
pub use statement::Statement;
pub use store::Store;
pub use task::{Failure, NewTask, TaskRecord};
pub use time::Timestamp;
#[doc(hidden)]
pub use unlisted::Unlisted;
