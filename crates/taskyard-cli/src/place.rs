//! For a process that is not the command but belongs to the same project (the web process of a Python application):
//! the same settings, from the same places, and the same keys.

use std::sync::Arc;

use taskyard::{Error, Result, Settings};
use taskyard_core::seal::Keys;

use crate::project::{self, Root};
use crate::secret::ProjectKeys;
use crate::settings::{Flags, Found, find};

/// Settings and keys of the project that the working directory lies in.
#[derive(Clone, Debug)]
pub struct Place {
    /// The settings in force; the database is decided.
    pub settings: Settings,
    root: Root,
    /// Keys for serialised values.
    pub keys: Arc<dyn Keys>,
    is_default_database: bool,
}

impl Place {
    /// Reads every place in which settings stand; `values` are those that the caller gives, by their names.
    ///
    /// # Errors
    /// [`Error::Setting`] with its place.
    pub fn find(database: Option<String>, values: Vec<(String, String)>) -> Result<Self> {
        let flags = Flags { database, values, root: None };
        let Found { settings, root, is_default_database } =
            find(&flags).map_err(|failure| Error::Setting { name: "of this project".into(), why: failure.whole() })?;
        let keys = Arc::new(ProjectKeys::new(&settings, &root)?);
        Ok(Self { settings, root, keys, is_default_database })
    }

    /// Makes the project's own directory if the database is to lie in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn prepare(&self) -> Result<()> {
        if self.is_default_database {
            let directory = self.root.own_directory()?;
            project::make_private(&directory).map_err(|error| Error::File {
                path: directory.display().to_string(),
                why: error.to_string(),
                lost: false,
            })?;
        }
        Ok(())
    }
}
