//! Opens connections: flags, pragmas, the clock function.
//!
//! Nothing here writes to the file: WAL is switched on by `migrate`, or once the schema was found to be this program's.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::clock::Clock;
use crate::fault::{Fault, Outcome};
use crate::locks;

/// Oldest SQLite version that may write here: older ones have the WAL-reset race.
const SQLITE_MIN: i32 = 3_051_003;
/// Number of pages in the WAL after which a commit writes them back: 16 MiB. At 4 MiB (the default) a drain spends a
/// fifth of its time writing the same pages back over and over.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Size to which a checkpoint cuts a WAL that has grown beyond it.
const WAL_KEPT_BYTES: i64 = 64 << 20;
/// Capacity of the statement cache, enough for the statements of all operations.
const STATEMENTS_MAX: usize = 192;

/// Purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The only connection that writes.
    Writer,
    /// A connection that only reads.
    Reader,
}

/// Opens the file, which must exist unless `create` is set.
pub(crate) fn open(path: &Path, role: Role, create: bool, clock: &Clock) -> Outcome<Connection> {
    assert_version()?;
    locks::install();
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    // Closing must leave a damaged file as it is; `settle` reverts this after the file has been checked.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The threads wait for locks themselves, with jitter and a deadline.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let cache_kib: i64 = if role == Role::Writer { 12 << 10 } else { 2 << 10 };
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))?;
    if role == Role::Reader {
        connection.pragma_update(None, "query_only", true)?;
    }
    clock.register(&connection)?;
    Ok(connection)
}

/// Allows closing the last connection to write the WAL back: the file is sound and belongs to Taskyard.
pub(crate) fn settle(connection: &Connection) -> Outcome<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Reverts [`settle`]: the file may be damaged.
pub(crate) fn unsettle(connection: &Connection) -> Outcome<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Switches WAL on, which is stored in the file's header.
pub(crate) fn set_wal(connection: &Connection) -> Outcome<()> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Fault::Answer(taskyard_core::Error::Database(format!(
        "the file system does not allow the journal mode WAL (it stays `{mode}`)"
    ))))
}

fn assert_version() -> Outcome<()> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(Fault::Answer(taskyard_core::Error::Database(format!(
            "this program was linked with SQLite {}; 3.51.3 or newer is needed (older ones may corrupt a file that \
             several processes write)",
            rusqlite::version()
        ))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_is_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        for role in [Role::Writer, Role::Reader] {
            let connection = open(&directory.path().join("queue.db"), role, true, &Clock::default()).unwrap();
            if role == Role::Writer {
                set_wal(&connection).unwrap();
            }
            let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!(number("pragma synchronous"), 2, "FULL");
            assert_eq!(number("pragma foreign_keys"), 0);
            assert_eq!(number("pragma query_only"), i64::from(role == Role::Reader));
            let mode: String = connection.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }
}
