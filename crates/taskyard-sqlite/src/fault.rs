//! Maps SQLite's errors to `taskyard_core::Error`.
//!
//! Operations work with [`Fault`], so that `?` accepts both SQLite's errors and those of this crate; [`FileContext::error`]
//! converts it to an [`Error`] that names the file. No message contains SQL or values.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use taskyard_core::Error;

/// Reason why an operation failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// An error of SQLite.
    Sqlite(rusqlite::Error),
    /// An error of this crate, for example an unknown parent.
    Answer(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Answer(error)
    }
}

/// Result of an operation.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// Returns whether another connection holds the lock: trying again later may succeed.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(error)
                if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
        )
    }

    /// Returns whether the file, or access to it, is damaged.
    pub(crate) fn is_damage(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
            )
        )
    }

    /// Returns whether the schema does not exist.
    pub(crate) fn is_no_table(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.to_string().contains("no such table"))
    }
}

/// The database file that errors name.
#[derive(Clone, Debug)]
pub(crate) struct FileContext {
    /// Absolute path of the file.
    pub(crate) path: PathBuf,
}

impl FileContext {
    /// Returns the error for the caller.
    pub(crate) fn error(&self, fault: Fault) -> Error {
        let error = match fault {
            Fault::Answer(error) => return error,
            Fault::Sqlite(error) => error,
        };
        let path = self.path.display().to_string();
        let why = sentence(&error);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full(format!("{path}: {why}")),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Error::CorruptFile { path, why },
            Some(ErrorCode::SystemIoFailure) if self.is_full() => Error::Full(format!("{path}: {why}")),
            Some(
                ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure,
            ) => Error::File { path, why, lost: false },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Connection(format!("{path} is locked by another program for longer than 30 s"))
            }
            // An error raised by a trigger is not caused by the value (like PostgreSQL's P0001).
            Some(ErrorCode::ConstraintViolation)
                if matches!(&error, rusqlite::Error::SqliteFailure(failure, _)
                    if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER) =>
            {
                Error::Database(format!("{path}: {why}"))
            }
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Error::NotStorable(format!("{path}: {why}"))
            }
            Some(
                ErrorCode::OutOfMemory
                | ErrorCode::InternalMalfunction
                | ErrorCode::OperationAborted
                | ErrorCode::OperationInterrupted
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged,
            ) => Error::DatabaseFault(format!("{path}: {why}")),
            _ => Error::Database(format!("{path}: {why}")),
        }
    }

    /// Checks that the file system has at least 256 KiB left.
    ///
    /// # Errors
    /// `Error::Full` if it has not.
    pub(crate) fn check_space(&self) -> Result<(), Error> {
        if self.is_full() {
            return Err(Error::Full(format!("{}: its file system has less than 256 KiB left", self.path.display())));
        }
        Ok(())
    }

    /// Returns whether the file system is almost full, which SQLite partly reports as an I/O error.
    fn is_full(&self) -> bool {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        rustix::fs::statvfs(directory).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < 256 << 10)
    }
}

/// Returns SQLite's message with its extended code.
fn sentence(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            let text = message.clone().unwrap_or_else(|| code.to_string());
            format!("{text} (SQLite {})", code.extended_code)
        }
        // This variant's own text contains the whole statement.
        rusqlite::Error::SqlInputError { error, msg, .. } => format!("{msg} (SQLite {})", error.extended_code),
        other => other.to_string(),
    }
}
