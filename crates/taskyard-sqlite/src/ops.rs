//! The operations of the store's methods inside a transaction, one file per subject.
//!
//! Writes take a [`Tx`](crate::thread::tx::Tx), reads a [`Read`](crate::thread::reader::Read). None of them deals with
//! threads, commits or locks.

pub(crate) mod add;
pub(crate) mod ageing;
pub(crate) mod cascade;
pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod dead;
pub(crate) mod edit;
pub(crate) mod ends;
pub(crate) mod finish;
pub(crate) mod get;
pub(crate) mod held;
pub(crate) mod history;
pub(crate) mod kind;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod lookup;
pub(crate) mod parked;
pub(crate) mod pick;
pub(crate) mod promote;
pub(crate) mod prune;
pub(crate) mod queue;
pub(crate) mod ranges;
pub(crate) mod record;
pub(crate) mod rescue;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod schedule;
pub(crate) mod server;
pub(crate) mod set_aside;
pub(crate) mod snapshots;
pub(crate) mod status;
