//! Checks the file before SQLite opens it: its location, and whether it can be a database of this program.
//!
//! The database file itself is never opened here, only examined by its name: closing any handle of it would drop the
//! record locks that SQLite holds on it in this process, and another process would take the file for unused (`locks.rs`
//! describes where the locks are of another kind). The contents of the file are checked through SQLite. The only
//! directory ever created here is named `.taskyard`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use taskyard_core::{Error, Result};

/// Size of the smallest page, and so of the smallest database.
const PAGE_BYTES_MIN: u64 = 512;

/// Result of examining a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or an empty file that was never used.
    Nothing,
    /// A file with content.
    Content,
}

/// Location of a database.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// Absolute path, links resolved.
    pub(crate) path: PathBuf,
    /// Absolute path as it was given; `None` if it is the same.
    pub(crate) given: Option<PathBuf>,
}

/// Makes the path absolute, follows links, and checks its directory and file system.
pub(crate) fn locate(path: &Path, network: bool) -> Result<Located> {
    let absolute = std::path::absolute(path).map_err(|error| file_error(path, &error.to_string()))?;
    let name = absolute.file_name().ok_or_else(|| file_error(path, "this is not a file name"))?.to_owned();
    let directory = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
    make_own_directory(&directory)?;
    let real = std::fs::canonicalize(&directory).map_err(|error| match error.kind() {
        ErrorKind::NotFound => file_error(&directory, "the directory does not exist"),
        ErrorKind::NotADirectory => file_error(&directory, "this is not a directory"),
        _ => file_error(&directory, &error.to_string()),
    })?;
    if !real.is_dir() {
        return Err(file_error(&directory, "this is not a directory"));
    }
    // SQLite creates the WAL beside the file that a link points to; the wake file goes there as well.
    let located = std::fs::canonicalize(real.join(&name)).unwrap_or_else(|_| real.join(&name));
    if !network {
        refuse_network(&located, &real)?;
    }
    refuse_mounted_file(&located)?;
    Ok(Located { given: (absolute != located).then_some(absolute), path: located })
}

/// Examines the file without opening it: its type, its permissions, whether it is empty.
pub(crate) fn inspect(path: &Path) -> Result<Found> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            check_directory(directory)?;
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(file_error(path, &error.to_string())),
    };
    if !found.is_file() {
        let kind = found.file_type();
        let what = if kind.is_dir() {
            "this is a directory"
        } else if kind.is_socket() || kind.is_fifo() {
            "this is a socket or pipe"
        } else {
            "this is not a regular file"
        };
        return Err(file_error(path, what));
    }
    let rights = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    rustix::fs::access(path, rights).map_err(|error| {
        let why = std::io::Error::from(error);
        file_error(path, &format!("it cannot be written ({why})"))
    })?;
    check_directory(directory)?;
    let corrupt = |why: &str| Error::CorruptFile { path: path.display().to_string(), why: why.into() };
    match found.len() {
        0 if was_used(path) => Err(corrupt("it is empty, though it was in use before")),
        0 => Ok(Found::Nothing),
        // SQLite itself treats a file of one byte as an empty one.
        bytes if bytes < PAGE_BYTES_MIN => Err(corrupt("it is smaller than any SQLite database")),
        _ => Ok(Found::Content),
    }
}

/// Returns the path of a file beside the database: its name with a suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the size of the WAL in bytes.
pub(crate) fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len())
}

fn wal_has_content(path: &Path) -> bool {
    wal_bytes(path) > 0
}

/// Returns whether an empty file has held a database before, which the files beside it show.
fn was_used(path: &Path) -> bool {
    wal_has_content(path) || beside(path, "-wake").exists()
}

/// Creates a new, empty file that only its owner can read, unless the path exists.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(format!("{}: {error}", path.display())),
        _ => file_error(path, &error.to_string()),
    };
    let made = |error: std::io::Error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) };
    let make = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop);
    // Created under another name first: closing a handle at the final path would drop the locks of a SQLite that has
    // opened it meanwhile.
    let draft = beside(path, &format!("-new-{:016x}", rand::random::<u64>()));
    make(&draft).map_err(failed)?;
    // A rename never gives the file two names, which a process that opens it would refuse.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE).is_ok() {
            return Ok(());
        }
    }
    let linked = std::fs::hard_link(&draft, path).or_else(made);
    let removed = std::fs::remove_file(&draft);
    // Some file systems do not support links.
    linked.or_else(|_| make(path).or_else(made)).and(removed).map_err(failed)
}

/// Creates `.taskyard/` if its parent directory exists. No other directory is created.
fn make_own_directory(directory: &Path) -> Result<()> {
    let ours = directory.file_name().is_some_and(|name| name == ".taskyard");
    if !ours || directory.exists() || !directory.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(file_error(directory, &error.to_string())),
    }
}

/// Checks that the directory is writable: SQLite creates and removes files beside the database.
fn check_directory(directory: &Path) -> Result<()> {
    let rights = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(directory, rights).map_err(|error| {
        let why = std::io::Error::from(error);
        file_error(directory, &format!("the database's directory must be writable ({why})"))
    })
}

#[cfg(target_os = "linux")]
fn refuse_network(path: &Path, directory: &Path) -> Result<()> {
    let magic = rustix::fs::statfs(path).or_else(|_| rustix::fs::statfs(directory)).map(|found| found.f_type);
    let Ok(magic) = magic else {
        return Ok(());
    };
    // Only the low 32 bits count; the field is signed on some architectures.
    let Some(name) = network_name(magic as u32) else {
        return Ok(());
    };
    Err(file_error(
        path,
        &format!(
            "it lies on a network file system ({name}), where processes of several hosts would damage it; use a local \
             disk or PostgreSQL, or set TASKYARD_SQLITE_NETWORK=allow if only this host ever opens it"
        ),
    ))
}

/// Maps the magic numbers of network file systems, from Linux's `magic.h`.
#[cfg(target_os = "linux")]
fn network_name(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x0102_1997 => Some("9p"),
        0x6573_5546 => Some("FUSE"),
        0x5346_414f => Some("AFS"),
        0x00c3_6400 => Some("CephFS"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_path: &Path, _directory: &Path) -> Result<()> {
    Ok(())
}

/// Refuses a file that is mounted alone: its log would be created beside the mount, where processes that open the file
/// by its other names do not look for it, and where it may be deleted with a container.
#[cfg(target_os = "linux")]
fn refuse_mounted_file(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !path.is_file() || !is_mounted(path, directory) {
        return Ok(());
    }
    Err(file_error(
        path,
        "the file is mounted alone, so that its write-ahead log is in another place than for processes that open it by another path: tasks \
         that one side adds are lost on the other; mount the directory, not the file",
    ))
}

/// Returns whether a file is on another mount than its directory. Device numbers do not show this: an overlay reports
/// those of its layers, and a mount of a file may be on the same device.
#[cfg(target_os = "linux")]
fn is_mounted(path: &Path, directory: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let mount = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    if let (Some(of_file), Some(of_directory)) = (mount(path), mount(directory)) {
        return of_file != of_directory;
    }
    // Fallback for Linux before 5.8.
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_mount_point(&mounts, path))
}

/// Returns whether a path is a mount point according to the lines of `mountinfo`.
#[cfg(target_os = "linux")]
fn is_mount_point(mounts: &str, path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    let escaped = path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(&escaped))
}

#[cfg(not(target_os = "linux"))]
fn refuse_mounted_file(_path: &Path) -> Result<()> {
    Ok(())
}

/// Returns an error that names a path.
pub(crate) fn file_error(path: &Path, why: &str) -> Error {
    Error::File { path: path.display().to_string(), why: why.into(), lost: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_directory_is_made() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(locate(&root.path().join("missing/queue.db"), false), Err(Error::File { .. })));
        assert!(!root.path().join("missing").exists());
        assert!(locate(&root.path().join("missing/.taskyard/queue.db"), false).is_err());
        locate(&root.path().join(".taskyard/queue.db"), false).unwrap();
        assert!(root.path().join(".taskyard").is_dir());
    }

    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        // ext4, tmpfs, xfs, btrfs, overlay.
        for local in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630] {
            assert_eq!(network_name(local), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn mounts_of_a_file_are_told_from_others() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("queue.db");
        std::fs::write(&path, "").unwrap();
        assert!(!is_mounted(&path, root.path()));
        assert!(is_mounted(Path::new("/proc/version"), Path::new("/")));
        let mounts =
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:1 /src.db /srv/my\\040data/q.db rw - ext4 /dev/sda1 rw\n";
        assert!(is_mount_point(mounts, Path::new("/srv/my data/q.db")));
        assert!(!is_mount_point(mounts, Path::new("/srv/my data")));
        assert!(!is_mount_point(mounts, Path::new("/src.db")));
    }

    #[test]
    fn an_empty_file_is_new_unless_it_was_used() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("queue.db");
        assert_eq!(inspect(&path), Ok(Found::Nothing));
        std::fs::write(&path, "").unwrap();
        assert_eq!(inspect(&path), Ok(Found::Nothing));
        std::fs::write(beside(&path, "-wake"), "").unwrap();
        assert!(matches!(inspect(&path), Err(Error::CorruptFile { .. })));
    }
}
