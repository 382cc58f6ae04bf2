//! Settings of a program or a project: where they are read from, and which database they name.
//!
//! Owns database addresses ([`database_kind`]) and the settings of an environment ([`settings_of_environment`]). Names,
//! types and defaults of settings are in [`taskyard_core::settings`]. Nothing is printed here, no arguments are parsed,
//! and no store is opened.

mod address;
mod environment;

pub use address::{DatabaseKind, check_address, check_place, database_kind, is_meant_for_postgres};
pub use environment::settings_of_environment;
