//! Taskyard's store in one embedded SQLite file: no server to install, any number of processes of one host.
//!
//! # Who does what here
//! [`SqliteStore`] checks the file ([`file`]), then hands every operation as a closure to a thread of its own:
//! writes to one writer ([`thread::writer`]) that runs whatever is waiting in one transaction and answers after the
//! commit, reads to readers ([`thread::reader`]) that never wait for it. What the operations do to the rows is in
//! [`ops`]; how a task moves from one state to another is in [`task`]. Processes on the same file wake each other
//! through a small file beside it ([`wake`]).
//!
//! # What must hold
//! - WAL, `synchronous=FULL`: what was acknowledged is on disk.
//! - Every write transaction begins IMMEDIATE; no caller sees BUSY before 30 s have passed.
//! - A file that is no database, is damaged or is not ours is left as it is, byte for byte.
//! - Nothing is acknowledged into a file that no longer stands at its path ([`identity`]), or whose content others
//!   replaced ([`content`]).
//! - No other code of the process can drop the locks of a connection ([`locks`]).
//! - A row that makes no sense (edited by hand) is set aside and shown; it stops no claim and is never deleted.
//!
//! Not here: policy. Whether a failure is retried, and when, is decided by the server.

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
mod wake;

pub use options::Options;
pub use store::SqliteStore;
