//! The store on PostgreSQL 13 and newer.
//!
//! The protocol is a set of functions in the schema `taskyard`, one per file `sql/<entity>/<verb>.sql`, installed by
//! [`taskyard_core::Store::migrate`]. PostgreSQL caches their plans per session, so that an unnamed statement costs
//! little behind a pooler in transaction mode; direct connections name the few that every task costs (`pool/connection.rs`). This crate encodes batches as arrays, decodes rows and
//! holds the few connections; it contains no policy.
//!
//! Read next: `migrations/0001_tables.sql` (the tables), `sql/task/claim.sql`, `sql/task/finish.sql`,
//! `sql/cascade/run.sql` (the protocol), `pool.rs` (how its functions are called).

mod add;
mod address;
mod ageing;
mod background;
mod claim;
mod connect;
mod control;
mod embed;
mod ends;
mod failure;
mod finish;
mod functions;
mod inner;
mod isolation;
mod listen;
mod locks;
mod migrate;
mod migrations;
mod notify;
mod options;
mod owners;
mod pool;
mod reads;
mod row;
mod rows;
mod schedules;
mod servers;
mod snapshots;
mod store;
mod text;
mod tls;
mod upkeep;

pub use address::shown_address;
pub use embed::{CallerConnection, complete_in, complete_statement, enqueue_in, enqueue_with};
pub use options::Options;
pub use store::PostgresStore;
