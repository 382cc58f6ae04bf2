//! A connection of the bench's own to PostgreSQL: what the work cost the database.

use serde::Serialize;
use taskyard::{Error, Result};
use tokio_postgres::{Client, NoTls};

/// Looks at the database beside the work.
pub(super) struct Observer {
    pub(super) client: Client,
}

/// What the database has spent so far, or per task.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bill {
    pub wal_bytes_per_task: f64,
    pub statements_per_task: Option<f64>,
}

/// A reading of the meters.
pub(super) struct Reading {
    wal: i64,
    statements: Option<i64>,
}

impl Reading {
    pub(super) fn since(&self, before: &Self, tasks: usize) -> Bill {
        Bill {
            wal_bytes_per_task: (self.wal - before.wal) as f64 / tasks as f64,
            statements_per_task: match (self.statements, before.statements) {
                (Some(now), Some(before)) => Some((now - before) as f64 / tasks as f64),
                _ => None,
            },
        }
    }
}

pub(super) fn failed(error: tokio_postgres::Error) -> Error {
    super::failed(
        "the observing connection",
        error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string),
    )
}

impl Observer {
    /// `None` for a database that is not PostgreSQL.
    pub(super) async fn connect(address: &str) -> Result<Option<Self>> {
        let Some((scheme, rest)) = address.split_once("://") else { return Ok(None) };
        if !scheme.starts_with("postgres") {
            return Ok(None);
        }
        let (client, connection) =
            tokio_postgres::connect(&format!("postgresql://{rest}"), NoTls).await.map_err(failed)?;
        tokio::spawn(connection);
        // Counting statements needs the extension; without the right to make it that figure is left out, and said so.
        let _ = client.batch_execute("create extension if not exists pg_stat_statements").await;
        Ok(Some(Self { client }))
    }

    pub(super) async fn version(&self) -> Result<String> {
        Ok(self.client.query_one("show server_version", &[]).await.map_err(failed)?.get(0))
    }

    pub(super) async fn bill(&self) -> Result<Reading> {
        let row = self
            .client
            .query_one("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint", &[])
            .await
            .map_err(failed)?;
        let statements = self
            .client
            .query_one(
                "select sum(calls)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid \
                 where d.datname = current_database()",
                &[],
            )
            .await
            .ok()
            .and_then(|row| row.get(0));
        Ok(Reading { wal: row.get(0), statements })
    }

    /// Does at once what the database would do by and by about the rows just written, so that what lies beside is measured
    /// and not what became of adding it. Left to the database where the role may not.
    pub(super) async fn tidy(&self) {
        let _ = self.client.batch_execute("vacuum (analyze)").await;
        let _ = self.client.batch_execute("checkpoint").await;
    }

    /// Connections of this database but our own.
    pub(super) async fn connections(&self) -> Result<i64> {
        let row = self
            .client
            .query_one(
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
                 and backend_type = 'client backend'",
                &[],
            )
            .await
            .map_err(failed)?;
        Ok(row.get(0))
    }
}
