//! What the tests of all crates share; never a normal dependency of anything.
//!
//! [`postgres`] gives a throw-away PostgreSQL server, [`conformance!`] runs the one suite that every store must pass,
//! [`factory`] makes the values that tests put in. [`model`] is the protocol itself, walked through state by state, and
//! [`sequences`] compares it with a store step by step. Nothing here knows a particular store: a store's crate brings
//! the ten lines that make a fresh one.

#[macro_use]
mod list;
pub mod conformance;
pub mod factory;
pub mod model;
pub mod postgres;
pub mod proxy;
pub mod sequences;
