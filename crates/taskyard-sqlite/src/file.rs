//! The file before SQLite touches it: where it lies, whether it can be a database of ours, and whether it is still the
//! one that was opened.
//!
//! Every check only reads. The one thing ever made here is a directory called `.taskyard`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskyard_core::{Error, Result};

/// The first 16 bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;

/// What was found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or an empty file that nobody used yet.
    Nothing,
    /// A SQLite database, by its header.
    Database,
}

/// Makes the path absolute, follows links, and checks its directory and file system.
pub(crate) fn locate(path: &Path, network: bool) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| file_error(path, &error.to_string()))?;
    let name = absolute.file_name().ok_or_else(|| file_error(path, "this is no file name"))?.to_owned();
    let directory = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
    make_own_directory(&directory)?;
    let real = std::fs::canonicalize(&directory).map_err(|error| match error.kind() {
        ErrorKind::NotFound => file_error(&directory, "the directory does not exist"),
        ErrorKind::NotADirectory => file_error(&directory, "this is no directory"),
        _ => file_error(&directory, &error.to_string()),
    })?;
    if !real.is_dir() {
        return Err(file_error(&directory, "this is no directory"));
    }
    // SQLite puts the WAL beside the file that a link points to; so do we with ours.
    let located = std::fs::canonicalize(real.join(&name)).unwrap_or_else(|_| real.join(&name));
    if !network {
        refuse_network(&located, &real)?;
    }
    Ok(located)
}

/// Looks at the file's header and size.
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
            "this is no regular file"
        };
        return Err(file_error(path, what));
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            file_error(path, &format!("it cannot be written ({error})"))
        }
        _ => file_error(path, &error.to_string()),
    })?;
    check_directory(directory)?;
    if found.len() == 0 {
        return if was_used(path) { Err(corrupt(path, "it is empty, though it was in use before")) } else { Ok(Found::Nothing) };
    }
    let mut why = String::new();
    // Another process may be writing its WAL back at this moment: look again before calling it damaged.
    for _ in 0..4 {
        match check_header(&mut file, path)? {
            None => return Ok(Found::Database),
            Some(found) => why = found,
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Err(corrupt(path, &why))
}

/// What is wrong with the header, if anything.
fn check_header(file: &mut File, path: &Path) -> Result<Option<String>> {
    use std::os::unix::fs::FileExt;
    let mut header = [0_u8; HEADER_BYTES];
    let length = file.metadata().map_err(|error| file_error(path, &error.to_string()))?.len();
    let mut read = 0;
    while read < HEADER_BYTES {
        match file.read_at(&mut header[read..], read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(file_error(path, &error.to_string())),
        }
    }
    if read < HEADER_BYTES || &header[..16] != MAGIC {
        return Ok(Some("it does not begin as a SQLite database does".into()));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536_u64,
        size if size >= 512 && size.is_power_of_two() => u64::from(size),
        size => return Ok(Some(format!("its header gives the page size {size}"))),
    };
    // The page count is valid if the change counter says so. A WAL may hold pages that are not yet in the file.
    let counted = number(24) == number(92);
    let expected = u64::from(number(28)) * page_size;
    if counted && length < expected && !wal_has_content(path) {
        return Ok(Some(format!("it was cut off: {length} of {expected} bytes are left")));
    }
    Ok(None)
}

/// The name of a file beside the database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The size of the WAL in bytes.
pub(crate) fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len())
}

fn wal_has_content(path: &Path) -> bool {
    wal_bytes(path) > 0
}

/// Whether a file that is empty now has held a database: what stands beside it tells.
fn was_used(path: &Path) -> bool {
    wal_has_content(path) || beside(path, "-wake").exists()
}

/// What identifies the file that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// The identity of the file at a path now.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| Identity { device: found.dev(), inode: found.ino() })
}

/// Makes a new, empty file that only its owner can read, unless there is one.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(Error::Full(format!("{}: {error}", path.display())))
        }
        Err(error) => Err(file_error(path, &error.to_string())),
    }
}

/// `.taskyard/` is ours: made if the directory around it is there. No other directory is.
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

/// SQLite makes and removes files beside the database.
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
    // Only the low 32 bits count; the field is signed on some machines.
    let name = match magic as u32 {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x5346_414f => "AFS",
        0x00c3_6400 => "CephFS",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        _ => return Ok(()),
    };
    Err(file_error(
        path,
        &format!(
            "it lies on a network file system ({name}), where processes of several hosts would damage it; use a local \
             disk or PostgreSQL, or set TASKYARD_SQLITE_NETWORK=allow if only this host ever opens it"
        ),
    ))
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_path: &Path, _directory: &Path) -> Result<()> {
    Ok(())
}

/// An error that names a path.
pub(crate) fn file_error(path: &Path, why: &str) -> Error {
    Error::File { path: path.display().to_string(), why: why.into() }
}

fn corrupt(path: &Path, why: &str) -> Error {
    Error::CorruptFile { path: path.display().to_string(), why: why.into() }
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
    fn a_text_is_no_database() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("queue.db");
        std::fs::write(&path, "x".repeat(5_000)).unwrap();
        assert!(matches!(inspect(&path), Err(Error::CorruptFile { .. })));
        std::fs::write(&path, "").unwrap();
        assert_eq!(inspect(&path), Ok(Found::Nothing));
    }
}
