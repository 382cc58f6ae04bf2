//! The threads that own connections. [`writer`]: one per store, groups what is waiting into one commit. [`reader`]:
//! two per store, started on first use, never waiting for the writer. [`tx`]: what an operation sees of a transaction.

mod job;
mod keep;
pub(crate) mod patience;
pub(crate) mod reader;
pub(crate) mod tx;
pub(crate) mod writer;
