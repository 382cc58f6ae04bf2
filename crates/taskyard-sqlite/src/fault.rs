//! From what SQLite says to the errors that callers see.
//!
//! Operations work with [`Fault`], so that `?` takes both SQLite's errors and answers of ours; [`Place::error`] turns
//! it into an [`Error`] that names the file. No message carries SQL or values.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use taskyard_core::Error;

/// Why an operation did not go through.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite's error.
    Sqlite(rusqlite::Error),
    /// An answer of ours, for example that a parent is unknown.
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

/// What operations return.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// Whether another connection holds the lock: trying again later may succeed.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(error)
                if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
        )
    }

    /// Whether the file, or the way to it, is damaged.
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

    /// Whether the schema is not there.
    pub(crate) fn is_no_table(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.to_string().contains("no such table"))
    }
}

/// Where the database lies: what its errors name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The file, absolute.
    pub(crate) path: PathBuf,
}

impl Place {
    /// The error that the caller sees.
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
            // A trigger's own error is not the value's fault (as PostgreSQL's P0001 is not).
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

    /// Refuses if nothing can be stored any more.
    ///
    /// # Errors
    /// `Full`.
    pub(crate) fn check_space(&self) -> Result<(), Error> {
        if self.is_full() {
            return Err(Error::Full(format!("{}: its file system has less than 256 KiB left", self.path.display())));
        }
        Ok(())
    }

    /// Whether hardly anything fits on the file system any more: SQLite reports some of that as an I/O error.
    fn is_full(&self) -> bool {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        rustix::fs::statvfs(directory).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < 256 << 10)
    }
}

/// SQLite's message and its extended code.
fn sentence(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            let text = message.clone().unwrap_or_else(|| code.to_string());
            format!("{text} (SQLite {})", code.extended_code)
        }
        // The variant that carries the whole statement.
        rusqlite::Error::SqlInputError { error, msg, .. } => format!("{msg} (SQLite {})", error.extended_code),
        other => other.to_string(),
    }
}
