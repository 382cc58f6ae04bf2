//! Settings of a program or a project: where they are read from, and which database they name.
//!
//! Owns database addresses ([`database_kind`]), the settings of an environment ([`settings_of_environment`]) and, with the
//! feature `project`, those of a [`project`]: its root, its files, their precedence, and the keys that sign serialised values.
//! Names, types and defaults of settings are in [`taskyard_core::settings`].
//!
//! Nothing is printed here, no arguments are parsed, and no store is opened. Without the feature, no file is read.

mod address;
mod environment;
#[cfg(feature = "project")]
pub mod project;

pub use address::{DatabaseKind, check_address, check_place, database_kind};
pub use environment::settings_of_environment;
