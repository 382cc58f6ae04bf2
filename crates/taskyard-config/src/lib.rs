//! Settings of a program or a project: where they are read from, and which database they name.
//!
//! Owns database addresses ([`database_kind`]), the settings of an environment ([`settings_of_environment`]) and, with the
//! feature `project`, those of a project: its root, its files, and the order of precedence ([`find`]), which of its files are
//! trusted, and the keys that sign serialised values ([`ProjectKeys`]). Names, types and defaults of settings are in
//! [`taskyard_core::settings`].
//!
//! Nothing is printed here, no arguments are parsed, and no store is opened. Without the feature, no file is read.

mod address;
mod environment;
#[cfg(feature = "project")]
mod error;
#[cfg(feature = "project")]
pub mod project;
#[cfg(feature = "project")]
pub mod project_context;
#[cfg(feature = "project")]
mod secret;
#[cfg(feature = "project")]
mod settings;
#[cfg(feature = "project")]
mod text;
#[cfg(feature = "project")]
mod trust;

pub use address::{DatabaseKind, check_address, check_place, database_kind};
pub use environment::settings_of_environment;
#[cfg(feature = "project")]
pub use error::{ConfigError, Untrusted, file_error, plain};
#[cfg(feature = "project")]
pub use project::Root;
#[cfg(feature = "project")]
pub use project_context::ProjectContext;
#[cfg(feature = "project")]
pub use secret::{ProjectKeys, WITHHELD};
#[cfg(feature = "project")]
pub use settings::{Flags, Found, ROOT, find};
