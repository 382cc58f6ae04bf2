//! Shared parts of the tests of all crates; never a normal dependency.
//!
//! [`postgres`] provides a throw-away PostgreSQL server, [`conformance!`] runs the suite that every store must pass,
//! [`on_both_stores!`] runs cases of whole programs on both kinds of database, [`factory`] creates test values,
//! [`generated`] compares generated files with their committed texts. [`model`] is a model of the protocol, explored state by state, and [`sequences`] compares it with a store step by step. Nothing here
//! depends on a particular store: a store's crate adds the ten lines that create a fresh one.

#[macro_use]
mod list;
pub mod backend;
pub mod conformance;
pub mod factory;
pub mod generated;
pub mod model;
pub mod postgres;
pub mod proxy;
pub mod sequences;
