//! Taskyard's store in one embedded SQLite file: no server to install, any number of processes of one host.
//!
//! # Structure
//! [`SqliteStore`] checks the file ([`file`]), then passes every operation as a closure to a thread of its own: writes
//! to one writer ([`thread::writer`]), which runs all waiting operations in one transaction and replies after the
//! commit; reads to readers ([`thread::reader`]), which never wait for it. The operations on the rows are in [`ops`],
//! the transitions of a task between states in [`task`]. Processes on the same file wake each other through a small
//! file beside it ([`wake_file`]).
//!
//! # Invariants
//! - WAL, `synchronous=FULL`: what was acknowledged is on disk.
//! - Every write transaction begins IMMEDIATE; no caller sees BUSY before 30 s have passed.
//! - A file that is not a database, is damaged or belongs to another application is left as it is, byte for byte.
//! - Nothing is acknowledged into a file that is no longer at its path ([`identity`]), or whose content was replaced by
//!   another program ([`content`]).
//! - No other code of the process can drop the locks of a connection ([`locks`]).
//! - A row that cannot be decoded (edited by hand) is quarantined and reported; it stops no claim and is never deleted.
//!
//! This crate contains no policy: the server decides whether and when a failure is retried.

mod clock;
mod codec;
mod connection;
mod content;
mod fault;
mod file;
mod identity;
mod locks;
mod migrate;
mod ops;
mod options;
mod rows;
mod sql;
mod store;
mod task;
mod thread;
mod wake_file;

pub use options::Options;
pub use store::SqliteStore;
