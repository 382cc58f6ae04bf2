//! The versions of the schema: numbered files, applied in order in one transaction, each with its checksum.
//!
//! Many processes may start at once: the write lock selects one, and the others find nothing to do. A process that is
//! killed in the middle leaves no trace. A relation of another application is never touched.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use taskyard_core::store::{MigrationReport, SchemaStatus};
use taskyard_core::{Error, Result};

use crate::connection;
use crate::fault::{Fault, Outcome};
use crate::file;
use crate::sql::sql;
use crate::thread::lock_backoff::LockBackoff;
use crate::thread::writer::Writer;

/// A step of the schema.
pub(crate) struct Migration {
    version: i64,
    name: &'static str,
    pub sql: &'static str,
}

/// All steps, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_initial", sql: include_str!("migrations/0001_initial.sql") },
    Migration { version: 2, name: "0002_schedules", sql: include_str!("migrations/0002_schedules.sql") },
    Migration { version: 3, name: "0003_queues", sql: include_str!("migrations/0003_queues.sql") },
    Migration { version: 4, name: "0004_deaths", sql: include_str!("migrations/0004_deaths.sql") },
    Migration { version: 5, name: "0005_reasons", sql: include_str!("migrations/0005_reasons.sql") },
    Migration { version: 6, name: "0006_rates", sql: include_str!("migrations/0006_rates.sql") },
    Migration { version: 7, name: "0007_refused", sql: include_str!("migrations/0007_refused.sql") },
    Migration { version: 8, name: "0008_expiry", sql: include_str!("migrations/0008_expiry.sql") },
    Migration { version: 9, name: "0009_encodings", sql: include_str!("migrations/0009_encodings.sql") },
    Migration { version: 10, name: "0010_ends", sql: include_str!("migrations/0010_ends.sql") },
    Migration { version: 11, name: "0011_kinds", sql: include_str!("migrations/0011_kinds.sql") },
];

/// Schema version of this program.
pub(crate) const KNOWN: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Read-only views for operators, beside the tables. They carry no data: they are replaced when their text changes.
const VIEWS: [(&str, &str); 3] = [
    ("queued_tasks", sql!("views/queued_tasks")),
    ("queued_task_logs", sql!("views/queued_task_logs")),
    ("queued_task_workers", sql!("views/queued_task_workers")),
];
/// Comment that identifies a view as Taskyard's.
const VIEW_MARK: &str = "/* taskyard */";

/// Files up to this size are checked page by page when they are opened, for at most this time.
const LOOK_OVER_BYTES_MAX: u64 = 16 << 20;
const LOOK_OVER_TIME_MAX: Duration = Duration::from_millis(150);

/// Returns the error for a schema that is missing or too old.
pub(crate) fn missing(found: i64) -> Fault {
    Fault::Answer(Error::SchemaTooOld { found, needed: KNOWN })
}

/// Returns the version in the file; 0 if there is none.
pub(crate) fn version(connection: &Connection) -> Outcome<i64> {
    match connection.query_row(sql!("schema/version"), [], |row| row.get(0)).map_err(Fault::from) {
        Err(fault) if fault.is_no_table() => Ok(0),
        version => version,
    }
}

/// Checks that the schema is this program's.
pub(crate) fn check(connection: &Connection) -> Outcome<()> {
    match version(connection)? {
        KNOWN => Ok(()),
        found if found > KNOWN => Err(Error::SchemaTooNew { found, known: KNOWN }.into()),
        found => Err(missing(found)),
    }
}

/// Checks a file that was just opened for damage, as far as that is quick.
pub(crate) fn look_over(connection: &mut Connection, path: &Path) -> Outcome<()> {
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    let corrupt = |why: String| Err(Error::CorruptFile { path: path.display().to_string(), why }.into());
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let expected = number("pragma page_count")? * number("pragma page_size")?;
    // Pages in the log need not be in the file yet; SQLite itself does not notice the loss of a part of the last page.
    if file::wal_bytes(path) == 0 {
        let bytes = std::fs::metadata(path).map_or(0, |found| i64::try_from(found.len()).unwrap_or(i64::MAX));
        if bytes < expected {
            return corrupt(format!("it was cut off: {bytes} of {expected} bytes are left"));
        }
    }
    if std::fs::metadata(path).map_or(0, |found| found.len()) > LOOK_OVER_BYTES_MAX {
        return Ok(());
    }
    let until = Instant::now() + LOOK_OVER_TIME_MAX;
    connection.progress_handler(10_000, Some(move || Instant::now() >= until))?;
    let found = connection.query_row("pragma quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(why) => corrupt(why),
        // An interruption means that the file was too large for the time limit, which is not a sign of damage.
        Err(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(()),
            _ => Err(error.into()),
        },
    }
}

/// Returns the version in the file and the pending steps.
pub(crate) fn status(writer: &mut Writer) -> Result<SchemaStatus> {
    let found = patiently(writer, |writer| {
        writer.open(false)?;
        writer.check_file()?;
        writer.connection.as_ref().map_or(Ok(0), version)
    })?;
    let pending = MIGRATIONS.iter().filter(|step| step.version > found).map(|step| step.name.to_owned()).collect();
    Ok(SchemaStatus { found, known: KNOWN, pending })
}

/// Migrates the file to this program's version.
pub(crate) fn run(writer: &mut Writer, views: bool) -> Result<MigrationReport> {
    let report = patiently(writer, |writer| {
        writer.open(true)?;
        let connection = writer.connection.as_ref().expect("opened");
        let report = apply(connection, views)?;
        writer.check_file()?;
        Ok(report)
    })?;
    writer.become_ready();
    Ok(report)
}

/// Repeats `work` while another process holds the lock, up to the deadline of [`LockBackoff`].
fn patiently<T>(writer: &mut Writer, mut work: impl FnMut(&mut Writer) -> Outcome<T>) -> Result<T> {
    let mut backoff = LockBackoff::since(Instant::now());
    loop {
        match work(writer) {
            Err(fault) if fault.is_busy() && backoff.pause() => {}
            outcome => return outcome.map_err(|fault| writer.file_context.error(fault)),
        }
    }
}

fn apply(connection: &Connection, views: bool) -> Outcome<MigrationReport> {
    // In one transaction: another process may commit its migration between two reads.
    connection.execute_batch("begin")?;
    let found = look(connection, views);
    connection.execute_batch("rollback")?;
    let found = found?;
    connection::set_wal(connection)?;
    if found == KNOWN && (!views || views_are_current(connection)?) {
        return Ok(MigrationReport { from: found, to: found, applied: Vec::new() });
    }
    connection.execute_batch("begin immediate")?;
    let outcome = apply_locked(connection, views);
    let end = if outcome.is_ok() { "commit" } else { "rollback" };
    if !connection.is_autocommit() {
        connection.execute_batch(end)?;
    }
    outcome
}

/// Reads the current version and refuses foreign relations, before anything is changed.
fn look(connection: &Connection, views: bool) -> Outcome<i64> {
    // The snapshot begins with the first read; a statement that fails to be prepared does not count as one.
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    let found = version(connection)?;
    if found > KNOWN {
        return Err(Error::SchemaTooNew { found, known: KNOWN }.into());
    }
    if views {
        refuse_foreign_views(connection)?;
    }
    if found == 0 {
        refuse_foreign_tables(connection)?;
    }
    Ok(found)
}

/// Applies pending steps with the write lock held: another process may have migrated since the first check.
fn apply_locked(connection: &Connection, views: bool) -> Outcome<MigrationReport> {
    let from = version(connection)?;
    if from > KNOWN {
        return Err(Error::SchemaTooNew { found: from, known: KNOWN }.into());
    }
    if from == 0 {
        refuse_foreign_tables(connection)?;
    }
    connection.execute_batch(sql!("schema/table"))?;
    check_applied(connection)?;
    let mut applied = Vec::new();
    for step in MIGRATIONS.iter().filter(|step| step.version > from) {
        connection.execute_batch(step.sql)?;
        connection.execute(sql!("schema/add"), params![step.version, step.name, checksum(step.sql)])?;
        applied.push(step.name.to_owned());
    }
    if views {
        refuse_foreign_views(connection)?;
        make_views(connection)?;
    }
    Ok(MigrationReport { from, to: KNOWN, applied })
}

/// Checks that the applied steps have the texts that this program knows under their numbers.
fn check_applied(connection: &Connection) -> Outcome<()> {
    let mut statement = connection.prepare(sql!("schema/applied"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (version, found): (i64, String) = (row.get(0)?, row.get(1)?);
        let known = MIGRATIONS.iter().find(|step| step.version == version);
        if known.is_some_and(|step| checksum(step.sql) != found) {
            return Err(Error::Database(format!("migration {version} was applied with another text")).into());
        }
    }
    Ok(())
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses tables with Taskyard's names in a file without its schema: they belong to another application.
fn refuse_foreign_tables(connection: &Connection) -> Outcome<()> {
    let found: Option<String> = connection.query_row(sql!("schema/foreign"), [], |row| row.get(0)).optional()?;
    found.map_or(Ok(()), |name| Err(Error::ForeignRelation(name).into()))
}

fn refuse_foreign_views(connection: &Connection) -> Outcome<()> {
    for (name, _) in VIEWS {
        if let Some(text) = relation(connection, name)?
            && !text.contains(VIEW_MARK)
        {
            return Err(Error::ForeignRelation(name.into()).into());
        }
    }
    Ok(())
}

fn views_are_current(connection: &Connection) -> Outcome<bool> {
    for (name, sql) in VIEWS {
        if relation(connection, name)?.as_deref().map(normal) != Some(normal(sql)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Strips the first words of a view's text, the only part that SQLite does not store as it was given.
fn normal(sql: &str) -> String {
    sql.trim().trim_start_matches(|letter: char| letter.is_alphabetic() || letter == ' ').to_owned()
}

fn make_views(connection: &Connection) -> Outcome<()> {
    for (name, sql) in VIEWS {
        // The name is one of the three above, not input.
        let drop = match name {
            "queued_tasks" => "drop view if exists queued_tasks",
            "queued_task_logs" => "drop view if exists queued_task_logs",
            _ => "drop view if exists queued_task_workers",
        };
        connection.execute_batch(drop)?;
        connection.execute_batch(sql)?;
    }
    Ok(())
}

/// Returns the text of a table or view; empty if it has none, `None` if it does not exist.
fn relation(connection: &Connection, name: &str) -> Outcome<Option<String>> {
    let read = |row: &rusqlite::Row<'_>| row.get::<_, Option<String>>(1).map(Option::unwrap_or_default);
    Ok(connection.query_row(sql!("schema/relation"), [name], read).optional()?)
}
