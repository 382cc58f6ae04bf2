//! The life cycle of the writer's file: opens it, checks that it belongs to this program and is still the one that was
//! opened, and keeps its log short.
//!
//! Nothing is written to a file that may be damaged: the contents of its log stay there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::writer::Writer;
use crate::connection::{self, Role};
use crate::content::Stamp;
use crate::fault::{Fault, Outcome};
use crate::identity::Gone;
use crate::wake_file::WakeFile;
use crate::{file, migrate};

/// Interval between two checks of the size of the file's WAL, while something is written.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A WAL of this size is cut back as soon as no reader needs it.
const WAL_CUT_BYTES: u64 = 64 << 20;
/// A WAL of this size causes a warning.
const WAL_WARN_BYTES: u64 = 256 << 20;

impl Writer {
    /// Discards the connection after damage or an I/O error: the next operation opens the file again and checks it. The
    /// contents of the log stay there, because nothing is written to a file that may be damaged.
    pub(super) fn invalidate(&mut self, fault: &Fault) {
        if !fault.is_damage() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection::unsettle(&connection);
        }
        self.ready = false;
        self.memory.forget();
    }

    /// Opens the file if it exists, and checks that the schema is this program's.
    pub(crate) fn prepare(&mut self) -> Outcome<()> {
        self.open(false)?;
        if self.ready {
            return Ok(());
        }
        let connection = self.connection.as_ref().ok_or_else(|| migrate::missing(0))?;
        migrate::check(connection)?;
        connection::set_wal(connection)?;
        self.become_ready();
        Ok(())
    }

    /// Records that the schema is this program's, and starts to listen for other processes.
    pub(crate) fn become_ready(&mut self) {
        self.ready = true;
        // Records the mark that the file has now, because the first transaction may be much later. A damaged file is
        // refused by that transaction.
        if let (Some(connection), Some(stamp)) = (&self.connection, self.file.stamp()) {
            self.content.is_intact(connection, &self.file_context.path, stamp);
        }
        let mut wake_file = self.wake_file.lock().expect("no code panics while it holds this");
        if wake_file.is_none() {
            *wake_file = WakeFile::start(&self.file_context.path, Arc::clone(&self.notifications));
        }
    }

    /// Opens the connection; creates the file only if `create` is set.
    pub(crate) fn open(&mut self, create: bool) -> Outcome<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.file.refuse_gone()?;
        let path = &self.file_context.path;
        let found = file::inspect(path)?;
        // A file that was opened before is never created again.
        if !path.exists() && !self.file.was_opened() {
            if !create {
                return Ok(());
            }
            file::make_private(path)?;
        }
        let clock = &self.clock;
        let mut connection = self.file.open(|path| connection::open(path, Role::Writer, false, clock))?;
        if connection.is_readonly("main")? {
            return Err(file::file_error(path, "it can only be read").into());
        }
        if found == file::Found::Content {
            migrate::look_over(&mut connection, path)?;
        }
        connection::settle(&connection)?;
        self.log = None;
        self.connection = Some(connection);
        Ok(())
    }

    /// Checks that the file is still the one at its path, with its content. Otherwise the connection is closed, and
    /// every later call is refused.
    pub(crate) fn check_file(&mut self) -> taskyard_core::Result<()> {
        match self.file.check(self.log) {
            Ok(stamp) => self.check_content(stamp),
            Err(gone) => Err(self.give_up(gone)),
        }
    }

    /// Checks the content before a transaction: its commit may run a checkpoint, which would hide that the file was cut
    /// or overwritten since the last check.
    pub(super) fn check_content_again(&mut self) -> taskyard_core::Result<()> {
        self.check_content(self.file.stamp())
    }

    fn check_content(&mut self, stamp: Option<Stamp>) -> taskyard_core::Result<()> {
        if let (Some(stamp), Some(connection), true) = (stamp, &self.connection, self.ready)
            && !self.content.is_intact(connection, &self.file_context.path, stamp)
        {
            let gone = self.file.overwritten();
            return Err(self.give_up(gone));
        }
        Ok(())
    }

    /// Closes the connection to a lost file.
    fn give_up(&mut self, gone: Gone) -> taskyard_core::Error {
        if let Some(connection) = self.connection.take() {
            if gone.only_the_logs_name {
                // The contents of the log were acknowledged, and closing the last handle would delete them, so they are
                // written to the database.
                if let Err(error) = connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())) {
                    tracing::error!(%error, "the write-ahead log was deleted and could not be written back");
                }
            }
            let _ = connection::unsettle(&connection);
        }
        self.ready = false;
        self.memory.forget();
        gone.error
    }

    /// Once a second: checks the size of the file's WAL, and restarts the watcher of other processes if it failed.
    pub(super) fn look(&mut self) {
        if self.looked_at.elapsed() < LOOK_EVERY || self.connection.is_none() {
            return;
        }
        self.looked_at = Instant::now();
        self.watch_wal();
        if self.ready
            && let Ok(mut wake_file) = self.wake_file.lock()
            && wake_file.as_ref().is_none_or(|wake_file| !wake_file.hears())
        {
            *wake_file = None;
            *wake_file = WakeFile::start(&self.file_context.path, Arc::clone(&self.notifications));
        }
    }

    fn watch_wal(&mut self) {
        let bytes = file::wal_bytes(&self.file_context.path);
        self.wal_large = bytes > WAL_CUT_BYTES;
        if bytes > WAL_WARN_BYTES && !self.warned {
            tracing::warn!(
                path = %self.file_context.path.display(),
                wal_mib = bytes >> 20,
                "the write-ahead log is large: a reader has kept its snapshot open for long, so it cannot be written back"
            );
        }
        self.warned = bytes > WAL_WARN_BYTES;
        if self.wal_large {
            self.cut_wal();
        }
    }

    /// Writes the WAL back and cuts it, unless a reader still uses it.
    pub(super) fn cut_wal(&mut self) {
        // A file that was overwritten is left as it is.
        if !self.wal_large || self.check_file().is_err() {
            return;
        }
        if let Some(connection) = &self.connection {
            let _ = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        }
        self.wal_large = file::wal_bytes(&self.file_context.path) > WAL_CUT_BYTES;
    }
}
