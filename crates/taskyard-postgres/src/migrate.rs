//! The runner that migrates a database to this program's version of the schema; `migrations.rs` lists the versions.
//!
//! Each migration is one transaction under a lock on the table `migration`: of many processes that start at once, one
//! does the work and the others find it done; a process killed in the middle leaves no trace. Only a role that may
//! change the table can hold this lock, whereas every role that may connect can hold an advisory lock. Of several
//! processes that create the schema and this table at once, one succeeds; the others wait for its end and begin again.
//! Migrations are identified by checksum.
//!
//! Functions and views carry no data and are replaced as a whole: by a migration, and by a newer build of the same
//! version whose text differs. The database stores the build number and the hash of the installed text
//! (`functions::BUILDS`); an older build never replaces the functions of a newer one. Servers of both builds use the
//! installed functions, so a function is extended by new names or trailing defaults, and a view by columns at its end.
//! A role that may not replace them starts all the same if the schema's version fits. Functions are also replaced if
//! some are missing, or if every role may call one: a dump restored without its privileges opens them to all.

use taskyard_core::store::{MigrationReport, SchemaStatus};
use taskyard_core::{Error, Result};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::functions::{self, Build, FUNCTIONS, REVOKE, SHOWN, VIEW_NAMES, VIEWS};
use crate::inner::Inner;
use crate::migrations::{BASE, MIGRATIONS, known};
use crate::options::Options;
use crate::pool::Role;
use crate::row::get;
use crate::{connect, failure, owners};

/// Returns whether all functions exist and none may be called by every role, as a function without recorded privileges
/// may.
const INTACT: &str =
    "SELECT coalesce(pg_catalog.bool_and(p.proacl IS NOT NULL), false) AND pg_catalog.count(*) >= coalesce(
        (SELECT s.value::bigint FROM taskyard.setting s WHERE s.name = 'functions_count'), 0)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'taskyard'";
/// Records the number of functions.
const COUNTED: &str = "INSERT INTO taskyard.setting (name, value) SELECT 'functions_count', pg_catalog.count(*)::text
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'taskyard'
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Other transactions wait for the locks of a migration, so its own wait for locks is limited. Each statement must see
/// what was committed before the lock was granted, whatever isolation level the role or the database sets as default.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// With this path, an object that another role planted in a schema of the session's path is never found in place of a
/// builtin.
const PIN: &str = "SET LOCAL search_path = pg_catalog, pg_temp";

/// Excludes other migrations until the commit; the table stays readable.
const LOCK: &str = "LOCK TABLE taskyard.migration IN SHARE ROW EXCLUSIVE MODE";
/// Maximum number of times a migration begins again because another transaction has created the schema in the meantime.
/// Once the schema exists, it stays.
const BEGINS_MAX: usize = 5;

/// The installed schema, as far as it can be read without the right to change anything.
struct Found {
    version: i64,
    /// Build of the functions and views; `None` if no build has recorded its own yet.
    build: Option<Build>,
    /// Whether all functions exist, with their privileges.
    is_intact: bool,
    /// Whether an earlier migration was run without the views.
    views_are_off: bool,
}

impl Found {
    /// Returns whether the functions should be replaced by this program's.
    fn is_outdated(&self) -> bool {
        self.build.as_ref().is_none_or(|installed| functions::build().replaces(installed))
            || !(self.is_intact || self.is_of_newer_build())
    }

    fn is_of_newer_build(&self) -> bool {
        self.build.as_ref().is_some_and(|installed| installed.number > functions::build().number)
    }
}

/// Returns the installed version and this program's.
pub(crate) async fn status(store: &Inner) -> Result<SchemaStatus> {
    let found = found(store).await?;
    let done = usize::try_from(found.version).unwrap_or(0).min(MIGRATIONS.len());
    let mut pending: Vec<String> = MIGRATIONS[done..].iter().map(|(name, _)| (*name).to_owned()).collect();
    if found.version <= known() && found.is_outdated() {
        pending.push(functions::NAME.into());
    }
    Ok(SchemaStatus { found: found.version, known: known(), pending })
}

async fn found(store: &Inner) -> Result<Found> {
    // The owners are checked before anything in the schema is read.
    owners::check(store).await?;
    let sql = "SELECT coalesce((SELECT pg_catalog.max(version) FROM taskyard.migration), 0),
        (SELECT value FROM taskyard.setting WHERE name = 'functions_build'),
        (SELECT value FROM taskyard.setting WHERE name = 'functions_hash'),
        EXISTS (SELECT FROM taskyard.setting WHERE name = 'views' AND value = 'off')";
    let sql = format!("{sql}, ({INTACT})");
    let rows = match store.pool.query_idempotent(Role::Client, &sql, &[]).await {
        Ok(rows) => rows,
        Err(Error::SchemaTooOld { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let Some(row) = rows.first() else {
        return Ok(Found { version: 0, build: None, is_intact: true, views_are_off: false });
    };
    Ok(Found {
        version: get(row, 0)?,
        build: Build::stored(get(row, 1)?, get(row, 2)?),
        views_are_off: get(row, 3)?,
        is_intact: get(row, 4)?,
    })
}

/// Migrates the schema to this program's version.
pub(crate) async fn run(store: &Inner) -> Result<MigrationReport> {
    // Usually there is nothing to do, and finding that out needs no right to change anything.
    let found = found(store).await?;
    if found.version > known() {
        return Err(Error::SchemaTooNew { found: found.version, known: known() });
    }
    if found.version == known() {
        let nothing = MigrationReport { from: found.version, to: found.version, applied: Vec::new() };
        let wants_views = store.options.views && found.views_are_off && !found.is_of_newer_build();
        if !found.is_outdated() && !wants_views {
            return Ok(nothing);
        }
        if !may_replace(store).await? {
            tracing::warn!(
                "the database's functions are not those of this build, some are missing, or everybody may call them, and this \
                 role may not replace them: run `taskyard db migrate` as the role that owns the schema taskyard"
            );
            return Ok(nothing);
        }
    }
    // A separate connection: a migration may take longer than any other call.
    let client = connect::open(store.pool.address()).await?;
    for _ in 0..BEGINS_MAX {
        client.batch_execute(BEGIN).await.map_err(|error| failure::of_statement(&error))?;
        let report = apply(&client, &store.options).await;
        let end = if matches!(report, Ok(Some(_))) { "COMMIT" } else { "ROLLBACK" };
        let ended = client.batch_execute(end).await;
        let report = report?;
        ended.map_err(|error| failure::of_statement(&error))?;
        if let Some(report) = report {
            return Ok(report);
        }
    }
    Err(Error::Locked("another process keeps recreating the schema taskyard".into()))
}

/// Returns whether this role may replace the functions in the schema; a role that only works on the tables may not.
async fn may_replace(store: &Inner) -> Result<bool> {
    let sql = "SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_proc p
            WHERE p.pronamespace = n.oid AND NOT pg_catalog.pg_has_role(p.proowner, 'USAGE'))
        FROM pg_catalog.pg_namespace n WHERE n.nspname = 'taskyard'";
    let rows = store.pool.query_idempotent(Role::Client, sql, &[]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Creates the schema and the table `migration` if they do not exist, and locks the table. Returns `false` if another
/// transaction created them at the same time, so that this one must begin again.
async fn lock(client: &Client) -> Result<bool> {
    match client.batch_execute(BASE).await {
        Ok(()) => {}
        // Codes for a schema, a relation or its type: the name was taken by a transaction that this one waited for.
        Err(error) if error.code().is_some_and(|code| ["42P06", "42P07", "23505"].contains(&code.code())) => {
            return Ok(false);
        }
        Err(error) => return Err(failure::of_statement(&error)),
    }
    client.batch_execute(LOCK).await.map_err(|error| failure::of_statement(&error))?;
    Ok(true)
}

/// Applies pending migrations; `None` if the transaction must begin again.
async fn apply(client: &Client, options: &Options) -> Result<Option<MigrationReport>> {
    let failed = |error: tokio_postgres::Error| failure::of_statement(&error);
    owners::check_in(client).await?;
    let path = search_path(client).await?;
    client.batch_execute(PIN).await.map_err(failed)?;
    if !lock(client).await? {
        return Ok(None);
    }
    // Another role may have created the schema in between.
    owners::check_in(client).await?;
    let rows = client
        .query_typed("SELECT version, checksum FROM taskyard.migration ORDER BY version", &[])
        .await
        .map_err(failed)?;
    let from = rows.last().map_or(Ok(0), |row| get::<i64>(row, 0))?;
    if from > known() {
        return Err(Error::SchemaTooNew { found: from, known: known() });
    }
    for (row, (name, source)) in rows.iter().zip(MIGRATIONS) {
        if get::<String>(row, 1)? != functions::checksum(source) {
            return Err(Error::Database(format!("migration {name} was applied with another text than this program's")));
        }
    }
    if from == 0 {
        refuse_bare(client).await?;
    }
    let pending = &MIGRATIONS[usize::try_from(from).unwrap_or(0)..];
    let mut applied = Vec::new();
    for (at, (name, source)) in pending.iter().enumerate() {
        client.batch_execute(source).await.map_err(failed)?;
        let version = from + 1 + at as i64;
        client
            .execute_typed(
                "INSERT INTO taskyard.migration (version, name, checksum) VALUES ($1, $2, $3)",
                &[(&version, Type::INT8), (name, Type::TEXT), (&functions::checksum(source), Type::TEXT)],
            )
            .await
            .map_err(failed)?;
        applied.push((*name).to_owned());
    }
    let installed = installed(client).await?;
    if pending.is_empty() && installed.as_ref().is_some_and(|installed| installed.number > functions::build().number) {
        // A newer build was faster: its functions and views stay.
        return Ok(Some(MigrationReport { from, to: known(), applied }));
    }
    let is_current = installed.is_some_and(|installed| !functions::build().replaces(&installed));
    if !pending.is_empty() || !is_current || !is_intact(client).await? {
        for function in FUNCTIONS {
            client.batch_execute(function).await.map_err(failed)?;
        }
        client.batch_execute(REVOKE).await.map_err(failed)?;
        client.batch_execute(SHOWN).await.map_err(failed)?;
        client.batch_execute(COUNTED).await.map_err(failed)?;
        let build = functions::build();
        client
            .execute_typed(
                "INSERT INTO taskyard.setting (name, value) VALUES ('functions_build', $1), ('functions_hash', $2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                &[(&build.number.to_string(), Type::TEXT), (&build.hash, Type::TEXT)],
            )
            .await
            .map_err(failed)?;
        applied.push(functions::NAME.to_owned());
    }
    if from == 0 {
        // The tables are new, so no restore can have left rows out of the runnable range.
        client.batch_execute("SELECT taskyard.ready_compared()").await.map_err(failed)?;
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
        // The session's path determines the schema of the views; their definitions are resolved with the pinned path.
        set_search_path(client, &path).await?;
        owners::check_in(client).await?;
        check_views(client).await?;
        let schema = view_schema(client).await?;
        client.batch_execute(PIN).await.map_err(failed)?;
        client.batch_execute(&views_in(&schema)).await.map_err(failed)?;
    }
    Ok(Some(MigrationReport { from, to: known(), applied }))
}

/// Returns the installed build, read under the lock.
async fn installed(client: &Client) -> Result<Option<Build>> {
    let sql = "SELECT (SELECT value FROM taskyard.setting WHERE name = 'functions_build'),
        (SELECT value FROM taskyard.setting WHERE name = 'functions_hash')";
    let rows = client.query_typed(sql, &[]).await.map_err(|error| failure::of_statement(&error))?;
    rows.first().map_or(Ok(None), |row| Ok(Build::stored(get(row, 0)?, get(row, 1)?)))
}

/// Returns whether [`INTACT`] holds, read under the lock.
async fn is_intact(client: &Client) -> Result<bool> {
    let rows = client.query_typed(INTACT, &[]).await.map_err(|error| failure::of_statement(&error))?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

/// Refuses tables whose version is not recorded.
async fn refuse_bare(client: &Client) -> Result<()> {
    let sql = "SELECT pg_catalog.to_regclass('taskyard.task') IS NOT NULL";
    let rows = client.query_typed(sql, &[]).await.map_err(|error| failure::of_statement(&error))?;
    if !rows.first().map_or(Ok(false), |row| get(row, 0))? {
        return Ok(());
    }
    Err(Error::Refused(
        "the schema taskyard has its tables, but no row in taskyard.migration that says of which version: was a dump restored \
         without its data (pg_dump --schema-only)? Restore it with the data, or drop the schema (DROP SCHEMA taskyard CASCADE), \
         and migrate again"
            .into(),
    ))
}

/// Returns the session's search path.
async fn search_path(client: &Client) -> Result<String> {
    let sql = "SELECT pg_catalog.current_setting('search_path')";
    let rows = client.query_typed(sql, &[]).await.map_err(|error| failure::of_statement(&error))?;
    rows.first().map_or_else(|| Ok(String::new()), |row| get(row, 0))
}

/// Sets the search path for the rest of the transaction.
async fn set_search_path(client: &Client, path: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.set_config('search_path', $1, true)";
    client.query_typed(sql, &[(&path, Type::TEXT)]).await.map_err(|error| failure::of_statement(&error))?;
    Ok(())
}

/// Returns the first existing schema of the search path, quoted.
async fn view_schema(client: &Client) -> Result<String> {
    let sql = "SELECT pg_catalog.quote_ident(pg_catalog.current_schema()::text)";
    let rows = client.query_typed(sql, &[]).await.map_err(|error| failure::of_statement(&error))?;
    rows.first().map_or(Ok(None), |row| get::<Option<String>>(row, 0))?.ok_or_else(|| {
        Error::Refused(
            "the search path is empty or names no schema that exists, so there is none for the views queued_tasks and such: set \
             the path of this role (ALTER ROLE ... SET search_path = public), write schema=public in the address, or do without \
             the views (TASKYARD_VIEWS=false)"
                .into(),
        )
    })
}

/// Returns the statements that create the views in this schema.
fn views_in(schema: &str) -> String {
    VIEWS.replace("VIEW queued_", &format!("VIEW {schema}.queued_"))
}

/// Refuses if a relation of another owner would be replaced or hidden by one of the views.
async fn check_views(client: &Client) -> Result<()> {
    for name in VIEW_NAMES {
        let foreign = client
            .query_typed(
                "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)
                 AND coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') <> 'Taskyard'",
                &[(&name, Type::TEXT)],
            )
            .await
            .map_err(|error| failure::of_statement(&error))?;
        if let Some(row) = foreign.first() {
            return Err(Error::ForeignRelation(get(row, 0)?));
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

    #[test]
    fn every_view_gets_its_schema() {
        let views = views_in("\"My App\"");
        for name in VIEW_NAMES {
            assert!(views.contains(&format!("CREATE OR REPLACE VIEW \"My App\".{name} AS")), "{name}");
            assert!(views.contains(&format!("COMMENT ON VIEW \"My App\".{name} IS")), "{name}");
        }
    }
}
