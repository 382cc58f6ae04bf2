//! Finds the project's root and creates its `.taskyard` directory.
//!
//! Files in the root decide which database is used and which code runs, so the root must be trusted (`trust.rs`). In a
//! directory that is not trusted, such as /tmp, a command works if it would use no file there and is refused otherwise.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::project::error::{ConfigError, Untrusted, file_error, plain};
use crate::project::trust;

/// Names of files and directories that mark a project's root.
const MARKS: [&str; 4] = ["taskyard.toml", "pyproject.toml", "Cargo.toml", ".git"];
/// Name of Taskyard's own directory in the root.
pub const DIRECTORY: &str = ".taskyard";

/// A project's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The absolute path.
    pub path: PathBuf,
    /// Whether the user named it with `--root`; then the owners of the files in it are not checked.
    is_named: bool,
}

impl Root {
    /// Returns the root that the user named with `--root` or `TASKYARD_ROOT`.
    ///
    /// # Errors
    /// [`ConfigError::Root`] if the path does not exist, [`ConfigError::RootNotDirectory`] if it is not a directory.
    pub fn named(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |error| ConfigError::Root { path: path.to_owned(), why: plain(&error) };
        let path = path.canonicalize().map_err(wrong)?;
        if path.is_dir() { Ok(Self { path, is_named: true }) } else { Err(ConfigError::RootNotDirectory(path)) }
    }

    /// Returns the nearest directory upwards that contains one of the marks, else `directory` itself. The search stops where
    /// the owner changes, and at a directory that is writable by everybody.
    ///
    /// # Errors
    /// [`ConfigError::Untrusted`] if `directory` is not trusted and contains a file that would be used.
    pub fn above(directory: &Path) -> Result<Self, ConfigError> {
        let root = |path: &Path| Self { path: path.to_owned(), is_named: false };
        let start = root(directory);
        if let Err(untrusted) = start.check(directory) {
            let is_used =
                MARKS.iter().chain(&[".env", DIRECTORY]).any(|name| directory.join(name).symlink_metadata().is_ok());
            return if is_used { Err(untrusted.into()) } else { Ok(start) };
        }
        let mut below = directory;
        loop {
            if MARKS.iter().any(|mark| below.join(mark).exists()) {
                return Ok(root(below));
            }
            match below.parent() {
                Some(above) if trust::continues(below, above) => below = above,
                _ => return Ok(start),
            }
        }
    }

    /// Returns whether the user named this root, and with that declared it trusted.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.is_named
    }

    /// Checks that a path is trusted. Paths below a named root always are; all others are checked by owner and mode.
    ///
    /// # Errors
    /// [`Untrusted`] with the reason.
    pub fn check(&self, path: &Path) -> Result<(), Untrusted> {
        if self.is_named && path.starts_with(&self.path) { Ok(()) } else { trust::check(path, &self.path) }
    }

    /// Returns the path of `.taskyard` in the root, whether or not it exists. The root and the directory must be trusted.
    ///
    /// # Errors
    /// [`Untrusted`] with the reason.
    pub fn own_directory(&self) -> Result<PathBuf, Untrusted> {
        let directory = self.path.join(DIRECTORY);
        self.check(&self.path)?;
        self.check(&directory)?;
        Ok(directory)
    }
}

/// Returns the working directory.
///
/// # Errors
/// [`ConfigError::WorkingDirectory`] if it was removed or may not be read.
pub fn working_directory() -> Result<PathBuf, ConfigError> {
    std::env::current_dir().map_err(|error| ConfigError::WorkingDirectory(error.to_string()))
}

/// Creates `.taskyard` under `root` if it does not exist: accessible by this user only, and ignored by git.
///
/// # Errors
/// [`ConfigError::Core`] with a file error if it cannot be created; [`ConfigError::Untrusted`] if the root or the directory
/// is not trusted.
pub fn make_directory(root: &Root) -> Result<PathBuf, ConfigError> {
    let directory = root.own_directory()?;
    make_private(&directory).map_err(|error| file_error(&directory, &error))?;
    Ok(directory)
}

/// Creates a directory with mode 0700 and a `.gitignore` that covers all of it. An existing directory is not changed.
///
/// # Errors
/// The I/O error of the first step that fails.
pub fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    let ignore = directory.join(OsStr::new(".gitignore"));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(ignore) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_nearest_mark_upwards_wins() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(directory.path().join("a/Cargo.toml"), "").unwrap();
        assert_eq!(Root::above(&deep).unwrap().path, directory.path().join("a"));
        std::fs::create_dir(deep.join(".git")).unwrap();
        assert_eq!(Root::above(&deep).unwrap().path, deep);
    }

    #[test]
    fn nothing_of_strangers_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let shared = directory.path().join("shared");
        let own = shared.join("own");
        std::fs::create_dir_all(&own).unwrap();
        let mode = |mode| std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::create_dir(shared.join(".git")).unwrap();
        mode(0o2775);
        assert_eq!(Root::above(&own).unwrap().path, shared, "a group may write to its checkout");
        mode(0o1777);
        assert_eq!(Root::above(&own).unwrap().path, own, "not above into what everybody may write to");
        assert!(Root::above(&shared).unwrap_err().to_string().contains("everybody may write"));
        let named = Root::named(&shared).unwrap();
        assert!(named.is_named() && named.own_directory().is_ok() && named.check(&shared.join(".git")).is_ok());
        std::fs::remove_dir(shared.join(".git")).unwrap();
        let root = Root::above(&shared).unwrap();
        assert!(root.own_directory().is_err() && make_directory(&root).is_err(), "nothing of ours goes there");
        mode(0o755);
        std::fs::write(shared.join("taskyard.toml"), "").unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&shared, Some(65_534), None).unwrap();
            assert_eq!(Root::above(&own).unwrap().path, own, "not above into another user's");
            let refused = Root::above(&shared).unwrap_err().to_string();
            assert!(refused.contains("belongs to user 65534"), "{refused}");
            assert!(Root::named(&shared).unwrap().check(&shared).is_ok());
            assert!(Root::named(&own).unwrap().check(&shared).is_err(), "what is named covers itself alone");
        }
        assert!(Root::named(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn our_directory_is_private_and_ignored() {
        let root = tempfile::tempdir().unwrap();
        let found = Root::above(root.path()).unwrap();
        let made = make_directory(&found).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(made.join(".gitignore")).unwrap(), "*\n");
        make_directory(&found).unwrap();
    }
}
