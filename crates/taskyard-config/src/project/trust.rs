//! Checks whether a file or directory may determine what this process does: settings, secrets, databases, code.
//!
//! A path is trusted if it belongs to the user of this process or to root, and is not writable by everybody. Otherwise a user
//! with write access to a shared directory could run code as every user who works below it. Group write access is allowed
//! (a team's checkout). Of a link, both the link and its target are checked. With `--root DIR` (or `TASKYARD_ROOT`) the user
//! declares a directory trusted, and nothing below it is checked.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::project::error::{Untrusted, plain};

/// Mode bit: writable by everybody.
const BY_ALL: u32 = 0o002;

/// Checks that a path is trusted or does not exist. `root` is the directory that the hint suggests for `--root`.
///
/// # Errors
/// [`Untrusted`] with the reason, also if the path cannot be inspected.
pub(crate) fn check(path: &Path, root: &Path) -> Result<(), Untrusted> {
    let untrusted = |why: String| Err(Untrusted { path: path.to_owned(), why, root: root.to_owned() });
    for (looked, is_link) in [(path.symlink_metadata(), true), (path.metadata(), false)] {
        match looked {
            Ok(found) => {
                if let Some(why) = objection(&found, is_link) {
                    return untrusted(why);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return untrusted(plain(&error)),
        }
    }
    Ok(())
}

/// Returns whether the search for the root may go on from `below` to `above`: both have the same owner, and `above` is not
/// writable by everybody.
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
    // The mode of a link itself has no meaning.
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
        check(path, path).err().map(|untrusted| untrusted.to_string())
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
        // Only root can create a file of another user.
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(65_534), None).unwrap();
            assert!(objection_to(&file).is_some_and(|why| why.contains("belongs to user 65534")));
            assert!(objection_to(&link).is_some(), "what a link leads to counts");
            chown(&file, Some(0), None).unwrap();
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            assert!(objection_to(&link).is_some(), "and so does the link");
        }
    }
}
