//! What the shop's tasks share: where its database and its mail server are. The database's tables stand here.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, params};
use taskyard::TaskRecord;

/// Rows wait so long for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The supplier's rows; what each attempt of an import did; the reports; what somebody must look at.
const TABLES: &str = "
    create table if not exists item (id integer primary key, cents integer not null);
    create table if not exists import_range (
        task text not null, attempt integer not null, first integer not null, past integer not null,
        inserted integer not null
    );
    create table if not exists report (task text primary key, items integer not null, cents integer not null);
    create table if not exists alarm (task text not null, words text not null);
";

/// The shop, as its servers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// Its own database, an SQLite file.
    pub database: PathBuf,
    /// The mail server's host.
    pub smtp_host: String,
    /// The mail server's port.
    pub smtp_port: u16,
    /// What the import leaves to others after each range.
    pub rest: Duration,
}

impl Shop {
    /// As the environment says.
    ///
    /// # Errors
    /// Which variable is wrong, and how.
    pub fn from_environment() -> Result<Self, String> {
        let smtp = env::var("NIGHT_SMTP").unwrap_or_else(|_| "127.0.0.1:2525".into());
        let (host, port) = smtp.rsplit_once(':').ok_or_else(|| format!("NIGHT_SMTP={smtp}: write it as host:port"))?;
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
    /// SQLite's.
    pub fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.database)?;
        connection.busy_timeout(BUSY)?;
        // Readers and the import do not wait for each other. `synchronous` stays FULL, its default: the queue may only
        // remember a range as done when the power cannot take the rows away any more.
        connection.pragma_update(None, "journal_mode", "wal")?;
        Ok(connection)
    }

    /// Notes what was given up. Blocks.
    ///
    /// # Errors
    /// SQLite's.
    pub fn alarm(&self, dead: &TaskRecord) -> rusqlite::Result<()> {
        let words = dead.error.as_ref().map_or("", |error| &error.message);
        self.open()?.execute("insert into alarm values (?1, ?2)", params![dead.id.to_string(), words]).map(drop)
    }

    /// Makes the tables that are not there yet. Blocks.
    ///
    /// # Errors
    /// SQLite's.
    pub fn prepare(&self) -> rusqlite::Result<()> {
        self.open()?.execute_batch(TABLES)
    }
}
