//! Where the project is, and the `.taskyard` directory that holds what belongs to it alone.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use taskyard_core::Error;

use crate::failure::Failure;

/// Any of these marks a project's root.
const MARKS: [&str; 4] = ["taskyard.toml", "pyproject.toml", "Cargo.toml", ".git"];
/// The directory of what is ours.
pub(crate) const DIRECTORY: &str = ".taskyard";

/// The nearest directory upwards with one of the marks, else the directory itself.
pub(crate) fn root_of(directory: &Path) -> PathBuf {
    directory
        .ancestors()
        .find(|candidate| MARKS.iter().any(|mark| candidate.join(mark).exists()))
        .unwrap_or(directory)
        .to_owned()
}

/// The working directory.
///
/// # Errors
/// It was removed, or may not be read.
pub(crate) fn working_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::usage(format!("the working directory cannot be used: {error}")).with_hint("change to another one")
    })
}

/// Makes `.taskyard` under `root` if it is not there: for this user only, and kept out of git.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn make_directory(root: &Path) -> Result<PathBuf, Failure> {
    let directory = root.join(DIRECTORY);
    make_private(&directory).map_err(|error| file_error(&directory, &error))?;
    Ok(directory)
}

/// Makes a directory that only this user may enter, with a `.gitignore` that covers all of it. One that exists is left
/// as it is.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
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

/// What the system says about a path, as the error that carries the right exit code and hint.
pub(crate) fn file_error(path: &Path, error: &io::Error) -> Failure {
    Error::File { path: path.display().to_string(), why: plain(error) }.into()
}

/// The system's words without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
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
        assert_eq!(root_of(&deep), directory.path().join("a"));
        std::fs::create_dir(deep.join(".git")).unwrap();
        assert_eq!(root_of(&deep), deep);
    }

    #[test]
    fn our_directory_is_private_and_ignored() {
        let root = tempfile::tempdir().unwrap();
        let made = make_directory(root.path()).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(made.join(".gitignore")).unwrap(), "*\n");
        make_directory(root.path()).unwrap();
    }
}
