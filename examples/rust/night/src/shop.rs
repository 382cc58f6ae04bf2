//! The state that the shop's tasks share: the addresses of its database and mail server. Also defines the database's tables.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, params};
use taskyard::TaskRecord;

/// Longest time to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The supplier's items, the ranges imported by each attempt, the reports, and the alarms.
const TABLES: &str = "
    create table if not exists item (id integer primary key, cents integer not null);
    create table if not exists import_range (
        task text not null, attempt integer not null, first integer not null, past integer not null,
        inserted integer not null
    );
    create table if not exists report (task text primary key, items integer not null, cents integer not null);
    create table if not exists alarm (task text not null, words text not null);
";

/// The shop's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// The shop's own database, an SQLite file.
    pub database: PathBuf,
    /// The mail server's host.
    pub smtp_host: String,
    /// The mail server's port.
    pub smtp_port: u16,
    /// Pause of the import after each range, for other writers.
    pub rest: Duration,
}

impl Shop {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// A message with the variable that is wrong.
    pub fn from_environment() -> Result<Self, String> {
        let smtp = env::var("NIGHT_SMTP").unwrap_or_else(|_| "127.0.0.1:2525".into());
        let (host, port) = smtp.rsplit_once(':').ok_or_else(|| format!("NIGHT_SMTP={smtp}: expected host:port"))?;
        let rest = env::var("NIGHT_REST").unwrap_or_else(|_| "0".into());
        Ok(Self {
            database: env::var_os("NIGHT_DB").map_or_else(|| "shop.db".into(), PathBuf::from),
            smtp_host: host.to_owned(),
            smtp_port: port.parse().map_err(|error| format!("NIGHT_SMTP={smtp}: {error}"))?,
            rest: Duration::from_millis(rest.parse().map_err(|error| format!("NIGHT_REST={rest}: {error}"))?),
        })
    }

    /// Opens the shop's database. Blocks.
    ///
    /// # Errors
    /// [`rusqlite::Error`] if the file cannot be opened.
    pub fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.database)?;
        connection.busy_timeout(BUSY)?;
        // With WAL, readers and the import do not wait for each other. `synchronous` stays at its default, FULL, because a range
        // may be recorded as done in the queue only when its rows survive a power failure.
        connection.pragma_update(None, "journal_mode", "wal")?;
        Ok(connection)
    }

    /// Records an alarm for a dead letter. Blocks.
    ///
    /// # Errors
    /// [`rusqlite::Error`] if the row cannot be stored.
    pub fn alarm(&self, dead: &TaskRecord) -> rusqlite::Result<()> {
        let words = dead.error.as_ref().map_or("", |error| &error.message);
        self.open()?.execute("insert into alarm values (?1, ?2)", params![dead.id.to_string(), words]).map(drop)
    }

    /// Creates missing tables. Blocks.
    ///
    /// # Errors
    /// [`rusqlite::Error`] if a table cannot be created.
    pub fn prepare(&self) -> rusqlite::Result<()> {
        self.open()?.execute_batch(TABLES)
    }
}
