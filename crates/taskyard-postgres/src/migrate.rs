//! The schema's versions, and the runner that brings a database to ours.
//!
//! One transaction under `pg_advisory_xact_lock` (a session lock would stay behind in a pooler): of many that start at
//! once one does the work, the others find it done; killed in the middle, nothing has happened. Migrations are known by
//! checksum. Each run that applies one installs all functions anew; a server of the version before goes on with them,
//! so a function is extended by new names or defaults, never changed in what it takes.

use taskyard_core::store::{MigrationReport, SchemaStatus};
use taskyard_core::{Error, Result};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::functions::{FUNCTIONS, REVOKE, SHOWN, VIEW_NAMES, VIEWS};
use crate::options::Options;
use crate::pool::Role;
use crate::store::Inner;
use crate::{connect, failure};

const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_tables", include_str!("migrations/0001_tables.sql")),
    ("0002_schedules", include_str!("migrations/0002_schedules.sql")),
    ("0003_queues", include_str!("migrations/0003_queues.sql")),
    ("0004_deaths", include_str!("migrations/0004_deaths.sql")),
    ("0005_reasons", include_str!("migrations/0005_reasons.sql")),
    ("0006_rates", include_str!("migrations/0006_rates.sql")),
];
const BASE: &str = include_str!("migrations/base.sql");

/// `taskyard` in ASCII: the key of the lock.
const LOCK: i64 = 0x7461_736b_7961_7264;

/// This program's version of the schema.
pub(crate) fn known() -> i64 {
    MIGRATIONS.len() as i64
}

/// FNV-1a: to notice that a file was changed after it was applied, by mistake and not by an attacker.
fn checksum(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// The version found and ours.
pub(crate) async fn status(store: &Inner) -> Result<SchemaStatus> {
    let found = match found(store).await {
        Ok(found) => found,
        Err(Error::SchemaTooOld { .. }) => 0,
        Err(error) => return Err(error),
    };
    let done = usize::try_from(found).unwrap_or(0).min(MIGRATIONS.len());
    let pending = MIGRATIONS[done..].iter().map(|(name, _)| (*name).to_owned()).collect();
    Ok(SchemaStatus { found, known: known(), pending })
}

async fn found(store: &Inner) -> Result<i64> {
    let rows = store.pool.ask(Role::Ask, "SELECT coalesce(max(version), 0) FROM taskyard.migration", &[]).await?;
    rows.first().map_or(Ok(0), |row| crate::row::get(row, 0))
}

/// Brings the schema to our version.
pub(crate) async fn run(store: &Inner) -> Result<MigrationReport> {
    // Nothing to do is the common case, and needs no right to change anything.
    let status = status(store).await?;
    if status.found > known() {
        return Err(Error::SchemaTooNew { found: status.found, known: known() });
    }
    if status.pending.is_empty() && !(store.options.views && views_are_off(store).await?) {
        return Ok(MigrationReport { from: status.found, to: status.found, applied: Vec::new() });
    }
    // A connection of its own: it may take longer than any other call.
    let client = connect::open(store.pool.address()).await?;
    client.batch_execute("BEGIN").await.map_err(|error| failure::of_statement(&error))?;
    let report = apply(&client, &store.options).await;
    let end = if report.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    let report = report?;
    ended.map_err(|error| failure::of_statement(&error))?;
    Ok(report)
}

async fn apply(client: &Client, options: &Options) -> Result<MigrationReport> {
    let failed = |error: tokio_postgres::Error| failure::of_statement(&error);
    client.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await.map_err(failed)?;
    client.batch_execute(BASE).await.map_err(failed)?;
    let rows = client
        .query_typed("SELECT version, checksum FROM taskyard.migration ORDER BY version", &[])
        .await
        .map_err(failed)?;
    let from = rows.last().map_or(Ok(0), |row| crate::row::get::<i64>(row, 0))?;
    if from > known() {
        return Err(Error::SchemaTooNew { found: from, known: known() });
    }
    for (row, (name, source)) in rows.iter().zip(MIGRATIONS) {
        if crate::row::get::<String>(row, 1)? != checksum(source) {
            return Err(Error::Database(format!("migration {name} was applied in another form than this program's")));
        }
    }
    let pending = &MIGRATIONS[usize::try_from(from).unwrap_or(0)..];
    let mut applied = Vec::new();
    for (at, (name, source)) in pending.iter().enumerate() {
        client.batch_execute(source).await.map_err(failed)?;
        let version = from + 1 + at as i64;
        client
            .execute_typed(
                "INSERT INTO taskyard.migration (version, name, checksum) VALUES ($1, $2, $3)",
                &[(&version, Type::INT8), (name, Type::TEXT), (&checksum(source), Type::TEXT)],
            )
            .await
            .map_err(failed)?;
        applied.push((*name).to_owned());
    }
    if !pending.is_empty() {
        for function in FUNCTIONS {
            client.batch_execute(function).await.map_err(failed)?;
        }
        client.batch_execute(REVOKE).await.map_err(failed)?;
        client.batch_execute(SHOWN).await.map_err(failed)?;
    }
    client
        .execute_typed(
            "INSERT INTO taskyard.setting (name, value) VALUES ('notify_channel', $1), ('views', $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            &[(&options.notify_channel, Type::TEXT), (&if options.views { "on" } else { "off" }, Type::TEXT)],
        )
        .await
        .map_err(failed)?;
    if options.views {
        check_views(client).await?;
        client.batch_execute(VIEWS).await.map_err(failed)?;
    }
    Ok(MigrationReport { from, to: known(), applied })
}

/// Whether an earlier migration was told to do without the views.
async fn views_are_off(store: &Inner) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM taskyard.setting WHERE name = 'views' AND value = 'off')";
    let rows = store.pool.ask(Role::Ask, sql, &[]).await?;
    rows.first().map_or(Ok(false), |row| crate::row::get(row, 0))
}

/// Refuses if a relation that a view of ours would replace or hide is not ours.
async fn check_views(client: &Client) -> Result<()> {
    for name in VIEW_NAMES {
        let foreign = client
            .query_typed(
                "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)
                 AND coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') <> 'Taskyard'",
                &[(&name, Type::TEXT)],
            )
            .await
            .map_err(|error| failure::of_statement(&error))?;
        if let Some(row) = foreign.first() {
            return Err(Error::ForeignRelation(crate::row::get(row, 0)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for (at, (name, _)) in MIGRATIONS.iter().enumerate() {
            assert!(name.starts_with(&format!("{:04}_", at + 1)), "{name}");
        }
    }
}
