//! The writer's file: opening it, making sure that it is ours and still the one that was opened, keeping its log short.
//!
//! Nothing is written to a file that may be damaged: what is in its log stays there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::writer::Writer;
use crate::connection::{self, Role};
use crate::content::Stamp;
use crate::fault::{Fault, Outcome};
use crate::identity::Gone;
use crate::wake::Wake;
use crate::{file, migrate};

/// How often the size of the file's WAL is looked at, while something is written.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A WAL of this size is cut back as soon as no reader needs it.
const WAL_CUT_BYTES: u64 = 64 << 20;
/// A WAL of this size is worth a warning.
const WAL_WARN_BYTES: u64 = 256 << 20;

impl Writer {
    /// After damage or an I/O error nothing that the connection holds is relied on: the next operation opens the file
    /// anew and looks it over. What is in the log stays there: nothing is written to a file that may be damaged.
    pub(super) fn distrust(&mut self, fault: &Fault) {
        if !fault.is_damage() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection::unsettle(&connection);
        }
        self.ready = false;
        self.memory.forget();
    }

    /// Opens the file if it is there, and makes sure that the schema is this program's.
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

    /// The schema is this program's.
    pub(crate) fn become_ready(&mut self) {
        self.ready = true;
        // The mark that the file has now: the first transaction may be long after. A damaged file is refused by that one.
        if let (Some(connection), Some(stamp)) = (&self.connection, self.file.stamp()) {
            self.content.is_intact(connection, &self.place.path, stamp);
        }
        let mut wake = self.wake.lock().expect("nobody panics while holding it");
        if wake.is_none() {
            *wake = Wake::start(&self.place.path, Arc::clone(&self.bells));
        }
    }

    /// Opens the connection; without `create` only if there is a file.
    pub(crate) fn open(&mut self, create: bool) -> Outcome<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.file.refuse_gone()?;
        let path = &self.place.path;
        let found = file::inspect(path)?;
        // One that was opened before is never made anew.
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

    /// Makes sure that the file is still the one at its path, with its content. Else the connection is gone, and with it every
    /// later call.
    pub(crate) fn check_file(&mut self) -> taskyard_core::Result<()> {
        match self.file.check(self.log) {
            Ok(stamp) => self.check_content(stamp),
            Err(gone) => Err(self.give_up(gone)),
        }
    }

    /// Makes sure of the content before a transaction: its commit may run a checkpoint, which would hide that the file was cut
    /// or overwritten since the last one.
    pub(super) fn check_content_again(&mut self) -> taskyard_core::Result<()> {
        self.check_content(self.file.stamp())
    }

    fn check_content(&mut self, stamp: Option<Stamp>) -> taskyard_core::Result<()> {
        if let (Some(stamp), Some(connection), true) = (stamp, &self.connection, self.ready)
            && !self.content.is_intact(connection, &self.place.path, stamp)
        {
            let gone = self.file.overwritten();
            return Err(self.give_up(gone));
        }
        Ok(())
    }

    /// Closes the connection to a file that is gone.
    fn give_up(&mut self, gone: Gone) -> taskyard_core::Error {
        if let Some(connection) = self.connection.take() {
            if gone.only_the_logs_name {
                // What the log holds was acknowledged, and with the last handle it would be gone: it goes to the database.
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

    /// Once a second: how large is the file's WAL, are the others heard?
    pub(super) fn look(&mut self) {
        if self.looked_at.elapsed() < LOOK_EVERY || self.connection.is_none() {
            return;
        }
        self.looked_at = Instant::now();
        self.watch_wal();
        if self.ready
            && let Ok(mut wake) = self.wake.lock()
            && wake.as_ref().is_none_or(|wake| !wake.hears())
        {
            *wake = None;
            *wake = Wake::start(&self.place.path, Arc::clone(&self.bells));
        }
    }

    fn watch_wal(&mut self) {
        let bytes = file::wal_bytes(&self.place.path);
        self.wal_large = bytes > WAL_CUT_BYTES;
        if bytes > WAL_WARN_BYTES && !self.warned {
            tracing::warn!(
                path = %self.place.path.display(),
                wal_mib = bytes >> 20,
                "the write-ahead log is large: a reader has kept its snapshot open for long, so it cannot be written back"
            );
        }
        self.warned = bytes > WAL_WARN_BYTES;
        if self.wal_large {
            self.cut_wal();
        }
    }

    /// Writes the WAL back and cuts it, unless someone still reads it.
    pub(super) fn cut_wal(&mut self) {
        // A file that was overwritten is left as it is.
        if !self.wal_large || self.check_file().is_err() {
            return;
        }
        if let Some(connection) = &self.connection {
            let _ = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        }
        self.wal_large = file::wal_bytes(&self.place.path) > WAL_CUT_BYTES;
    }
}
