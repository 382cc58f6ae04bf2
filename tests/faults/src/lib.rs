//! Shared parts of the fault tests: the tasks whose bodies write ledgers, and the checker that compares ledgers and
//! rows.
//!
//! A ledger is a file outside the database, appended and synced line by line, so that it is complete even when its
//! process is killed in the next instant. Producers record acknowledged additions, bodies their starts and ends,
//! observers the ends that they saw.

pub mod checker;
pub mod ledger;
pub mod rng;
pub mod tasks;
