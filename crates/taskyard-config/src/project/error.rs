//! The errors of finding a project: a sentence, an exit code, and for most a hint.

use std::io;
use std::path::{Path, PathBuf};

use taskyard_core::Error;

/// Names the project as a whole in [`Error::Setting`].
const PROJECT: &str = "of this project";

/// Why a project cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The root that the user named does not exist or cannot be inspected.
    #[error("--root {}: {why}", path.display())]
    Root {
        /// The path as it was named.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The root that the user named is not a directory.
    #[error("--root {}: not a directory", .0.display())]
    RootNotDirectory(PathBuf),
    /// The working directory was removed or may not be read.
    #[error("the working directory cannot be used: {0}")]
    WorkingDirectory(String),
    /// The name of a setting in `.env` is not followed by `=`.
    #[error("{}, line {line}: {name} is not followed by `=`", path.display())]
    Dotenv {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The name of the setting.
        name: String,
    },
    /// A file or directory is not trusted.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A wrong setting, or a file that cannot be read or written.
    #[error(transparent)]
    Core(#[from] Error),
}

impl ConfigError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Root { .. } => Some("name a directory".to_owned()),
            Self::WorkingDirectory(_) => Some("change to another one".to_owned()),
            Self::Untrusted(untrusted) => Some(untrusted.hint()),
            Self::Core(error) => error.hint().map(str::to_owned),
            Self::RootNotDirectory(_) | Self::Dotenv { .. } => None,
        }
    }

    /// Returns the exit code of a command that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => error.exit_code(),
            _ => 2,
        }
    }

    /// Returns the [`Error::Setting`] that this is, or a new one with the sentence and the hint.
    pub(crate) fn into_setting(self) -> Error {
        match self {
            Self::Core(error @ Error::Setting { .. }) => error,
            other => {
                let hint = other.hint().map_or_else(String::new, |hint| format!("; {hint}"));
                Error::Setting { name: PROJECT.into(), why: format!("{other}{hint}") }
            }
        }
    }
}

/// A path that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Untrusted {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
    /// The directory to name with `--root`.
    pub(crate) root: PathBuf,
}

impl Untrusted {
    /// Returns the hint with the flag that declares the directory trusted.
    fn hint(&self) -> String {
        let root = self.root.display().to_string();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
        let quoted = if root.chars().all(plain) { root } else { format!("'{}'", root.replace('\'', "'\\''")) };
        format!("if you trust the files there, add --root {quoted} (or set TASKYARD_ROOT={quoted} in the environment)")
    }

    /// Returns the error with the hint appended to the reason, because [`Error`] has no hint per value.
    pub(crate) fn into_file(self) -> Error {
        let (path, why) = (self.path.display().to_string(), format!("{}; {}", self.why, self.hint()));
        Error::File { path, why, lost: false }
    }
}

/// Maps an I/O error of a path to [`Error::File`], which carries the exit code and the hint.
#[must_use]
pub fn file_error(path: &Path, error: &io::Error) -> Error {
    Error::File { path: path.display().to_string(), why: plain(error), lost: false }
}

/// Returns the text of an I/O error without ` (os error N)`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_sentence_and_hint_as_a_wrong_setting() {
        let setting = Error::Setting { name: "lease (.env)".into(), why: "why".into() };
        assert_eq!(ConfigError::from(setting.clone()).into_setting(), setting);
        let untrusted =
            Untrusted { path: "/a/.env".into(), why: "everybody may write to it".into(), root: "/a".into() };
        let Error::Setting { name, why } = ConfigError::from(untrusted).into_setting() else { panic!("another error") };
        assert_eq!(name, PROJECT);
        assert!(
            why.starts_with("/a/.env: everybody may write to it; if you trust") && why.contains("--root /a "),
            "{why}"
        );
        let Error::Setting { why, .. } = ConfigError::RootNotDirectory("/a".into()).into_setting() else {
            panic!("another error")
        };
        assert_eq!(why, "--root /a: not a directory");
    }

    #[test]
    fn the_hint_is_a_line_to_be_copied() {
        let hint = |root: &str| Untrusted { path: root.into(), why: String::new(), root: root.into() }.hint();
        assert!(hint("/srv/app").contains("--root /srv/app "));
        assert!(hint("/srv/it's mine").contains("--root '/srv/it'\\''s mine' "));
    }
}
