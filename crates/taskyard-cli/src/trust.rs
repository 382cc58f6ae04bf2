//! Whether what lies at a path may decide what this process does: settings, secrets, databases, code.
//!
//! It must belong to the user that this process runs as, or to root, and not be writable by everybody. A group may write:
//! that is a team's checkout. Otherwise anyone who may write to a shared directory could make whoever works below it run
//! his code. Of a link, both the link and what it leads to are looked at. `--root DIR` (or `TASKYARD_ROOT`) takes the
//! responsibility: below that directory nothing is asked.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use taskyard_core::Error;

use crate::failure::Failure;

/// Everybody may write.
const BY_ALL: u32 = 0o002;

/// Why a path is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distrust {
    path: PathBuf,
    why: String,
    /// The directory that `--root` would have to name.
    root: PathBuf,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl Distrust {
    /// What to do about it: the line that trusts the directory.
    fn hint(&self) -> String {
        let root = self.root.display().to_string();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
        let quoted = if root.chars().all(plain) { root } else { format!("'{}'", root.replace('\'', "'\\''")) };
        format!("if you trust what is there: --root {quoted} (or TASKYARD_ROOT={quoted} in the environment)")
    }
}

impl From<Distrust> for Failure {
    fn from(distrust: Distrust) -> Self {
        Self::usage(distrust.to_string()).with_hint(distrust.hint())
    }
}

/// For callers whose errors have no hints of their own.
impl From<Distrust> for Error {
    fn from(distrust: Distrust) -> Self {
        Self::File {
            path: distrust.path.display().to_string(),
            why: format!("{}; {}", distrust.why, distrust.hint()),
            lost: false,
        }
    }
}

/// Whether a path may decide anything; what is not there may. `root` is the directory that `--root` would name.
///
/// # Errors
/// Why it may not.
pub(crate) fn check(path: &Path, root: &Path) -> Result<(), Distrust> {
    let distrust = |why: String| Err(Distrust { path: path.to_owned(), why, root: root.to_owned() });
    for (looked, is_link) in [(path.symlink_metadata(), true), (path.metadata(), false)] {
        match looked {
            Ok(found) => {
                if let Some(why) = objection(&found, is_link) {
                    return distrust(why);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return distrust(crate::project::plain(&error)),
        }
    }
    Ok(())
}

/// Whether a directory above one of this user's project may belong to it: it has the same owner, and not everybody may
/// write to it.
pub(crate) fn continues(below: &Path, above: &Path) -> bool {
    match (below.metadata(), above.metadata()) {
        (Ok(below), Ok(above)) => below.uid() == above.uid() && above.mode() & BY_ALL == 0,
        _ => false,
    }
}

fn objection(found: &Metadata, is_link: bool) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        return Some(format!("it belongs to user {}, and this process runs as user {own}", found.uid()));
    }
    // The mode of a link says nothing.
    if found.mode() & BY_ALL != 0 && !(is_link && found.is_symlink()) {
        return Some("everybody may write to it".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn objection_to(path: &Path) -> Option<String> {
        check(path, path).err().map(|distrust| distrust.to_string())
    }

    #[test]
    fn owners_and_modes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert_eq!(objection_to(&file), None, "what is not there decides nothing");
        std::fs::write(&file, "").unwrap();
        for (mode, is_trusted) in [(0o600, true), (0o664, true), (0o666, false), (0o602, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(objection_to(&file).is_none(), is_trusted, "{mode:o}");
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = directory.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(objection_to(&link), None);
        // Another user's needs root to be made.
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(65_534), None).unwrap();
            assert!(objection_to(&file).is_some_and(|why| why.contains("belongs to user 65534")));
            assert!(objection_to(&link).is_some(), "what a link leads to counts");
            chown(&file, Some(0), None).unwrap();
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            assert!(objection_to(&link).is_some(), "and so does the link");
        }
    }

    #[test]
    fn the_hint_is_a_line_to_be_copied() {
        let hint = |root: &str| Distrust { path: root.into(), why: String::new(), root: root.into() }.hint();
        assert!(hint("/srv/app").contains("--root /srv/app "));
        assert!(hint("/srv/it's mine").contains("--root '/srv/it'\\''s mine' "));
    }
}
