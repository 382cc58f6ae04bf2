//! The threads that own connections.
//!
//! - [`writer`]: one per store; groups all waiting operations into one commit.
//! - [`reader`]: two per store, started on first use; they never wait for the writer.
//! - [`tx`]: the view of a write transaction that operations get.

mod file_lifecycle;
mod job;
pub(crate) mod lock_backoff;
pub(crate) mod reader;
pub(crate) mod tx;
pub(crate) mod writer;
