//! The directory of the demo's database, report and lock: `.taskyard` in the walked directory or, if that cannot be written or
//! is not trusted, a directory in the user's state directory that is named after it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use taskyard_config::project::{DIRECTORY, Root, file_error, make_private};
use taskyard_terminal::Failure;

/// The demo's own directory, locked by this process until this is dropped.
#[derive(Debug)]
pub(super) struct Home {
    directory: PathBuf,
    /// Identifies the walked directory on this host.
    pub(super) key: String,
    /// Whether the demo's own directory is outside of the walked directory.
    pub(super) is_elsewhere: bool,
    _lock: File,
}

impl Home {
    /// Finds, creates and locks the directory.
    ///
    /// # Errors
    /// A failure with exit code 4 if another demo runs on the same directory; a usage failure or [`taskyard::Error::File`] if
    /// neither directory can be written.
    pub(super) fn find(root: &Path, project: &Root) -> Result<Self, Failure> {
        let key = key(root);
        let own = root.join(DIRECTORY);
        let is_trusted = project.check(root).is_ok() && project.check(&own).is_ok();
        match if is_trusted { open(&own) } else { Err(io::ErrorKind::PermissionDenied.into()) } {
            Ok(lock) => return Self { directory: own, key, is_elsewhere: false, _lock: lock }.locked(root),
            Err(error) if is_readonly(&error) => {}
            Err(error) => return Err(file_error(&own, &error).into()),
        }
        let Some(state) = state_directory() else {
            return Err(Failure::usage(format!(
                "{} cannot be written, and neither XDG_STATE_HOME nor HOME is set",
                root.display()
            ))
            .with_hint("set XDG_STATE_HOME to a directory that this user can write to"));
        };
        let directory = state.join("taskyard").join(format!("demo-{key}"));
        let lock = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.parent().unwrap_or(&state))
            .and_then(|()| open(&directory))
            .map_err(|error| file_error(&directory, &error))?;
        Self { directory, key, is_elsewhere: true, _lock: lock }.locked(root)
    }

    fn locked(self, root: &Path) -> Result<Self, Failure> {
        match self._lock.try_lock() {
            Ok(()) => Ok(self),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::work(format!("another `taskyard demo` is running on {}", root.display()))
                    .with_exit(4)
                    .with_hint("wait for it, or stop it with Ctrl-C"))
            }
            Err(TryLockError::Error(error)) => Err(file_error(&self.directory, &error).into()),
        }
    }

    /// Returns the path of the demo's own database.
    pub(super) fn database_path(&self) -> PathBuf {
        self.directory.join("demo.db")
    }

    /// Returns the path of the report of the last finished run.
    pub(super) fn report_path(&self) -> PathBuf {
        self.directory.join("demo-report.json")
    }
}

/// Opens the lock file in a directory. A directory that is a link is refused, because it may lead anywhere.
fn open(directory: &Path) -> io::Result<File> {
    make_private(directory)?;
    if directory.symlink_metadata()?.is_symlink() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(directory.join("demo.lock"))
}

fn is_readonly(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory
    ) || (error.kind() == io::ErrorKind::AlreadyExists)
}

fn state_directory() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

/// Returns the key of a directory. It includes the host name, because hosts may share a database.
fn key(root: &Path) -> String {
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let digest =
        Sha256::new().chain_update(host).chain_update([0]).chain_update(root.as_os_str().as_bytes()).finalize();
    super::read::hex(&digest[..8])
}
