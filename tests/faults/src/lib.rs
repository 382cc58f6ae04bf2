//! What the fault tests share: the tasks whose bodies write ledgers, and the checker that compares ledgers and rows.
//!
//! A ledger is a file outside the database, appended and synced line by line, so that it tells what happened even
//! when its process is killed in the next instant. Producers write what was acknowledged, bodies what started and
//! ended, observers which ends they saw.

pub mod checker;
pub mod dice;
pub mod ledger;
pub mod tasks;
