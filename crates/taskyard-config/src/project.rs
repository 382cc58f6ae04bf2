//! Projects: where their settings and keys are, and whether these can be trusted.
//!
//! [`find`] collects the settings of the project around the working directory; [`ProjectContext`] adds the keys, for processes
//! other than the command. A file decides something only if it is trusted (`trust.rs`), or if the user has named the root.

mod context;
mod error;
mod root;
mod secret;
mod settings;
mod text;
mod trust;

pub use context::ProjectContext;
pub use error::{ConfigError, Untrusted, file_error, plain};
pub use root::{DIRECTORY, Root, make_directory, make_private, working_directory};
pub use secret::{ProjectKeys, WITHHELD};
pub use settings::{Flags, Found, ROOT, find};
