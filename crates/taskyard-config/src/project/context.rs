//! Settings and keys of a project for processes other than the command, such as the web process of a Python application.
//!
//! They come from the same files and variables as the command's, in the same order.

use std::sync::Arc;

use taskyard_core::seal::Keys;
use taskyard_core::settings::Settings;
use taskyard_core::{Error, Result};

use crate::project::error::{ConfigError, Untrusted};
use crate::project::root::{Root, make_private};
use crate::project::secret::ProjectKeys;
use crate::project::settings::{Flags, Found, find};

/// Settings and keys of the project that contains the working directory.
#[derive(Clone, Debug)]
pub struct ProjectContext {
    /// The settings in force; `database` is always set.
    pub settings: Settings,
    root: Root,
    /// Keys for serialised values.
    pub keys: Arc<dyn Keys>,
    is_default_database: bool,
}

impl ProjectContext {
    /// Reads the settings from files, environment and arguments. `values` are settings of the caller, by name; they and
    /// `database` take precedence.
    ///
    /// # Errors
    /// [`Error::Setting`] for a file that is not trusted or cannot be read, for an unknown name, a wrong value or a secret that
    /// is too short; the message names the file or variable.
    pub fn find(database: Option<String>, values: Vec<(String, String)>) -> Result<Self> {
        let flags = Flags { database, values, root: None, place: "passed by the program" };
        let Found { settings, root, is_default_database } = find(&flags).map_err(ConfigError::into_setting)?;
        let keys = Arc::new(ProjectKeys::new(&settings, &root)?);
        Ok(Self { settings, root, keys, is_default_database })
    }

    /// Creates the `.taskyard` directory if the database is the project's own file in it.
    ///
    /// # Errors
    /// [`Error::File`] if the directory is not trusted or cannot be created.
    pub fn prepare(&self) -> Result<()> {
        if self.is_default_database {
            let directory = self.root.own_directory().map_err(Untrusted::into_file)?;
            make_private(&directory).map_err(|error| Error::File {
                path: directory.display().to_string(),
                why: error.to_string(),
                lost: false,
            })?;
        }
        Ok(())
    }
}
