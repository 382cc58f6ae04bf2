//! The bench's own connection to PostgreSQL, which reads WAL and statement counters.

use serde::Serialize;
use taskyard::{Error, Result};
use tokio_postgres::{Client, NoTls};

/// A separate connection for statistics.
pub(super) struct Observer {
    pub(super) client: Client,
}

/// Cost of the work per task.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bill {
    pub wal_bytes_per_task: f64,
    pub statements_per_task: Option<f64>,
}

/// A reading of the counters.
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
        "the connection for statistics",
        error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string),
    )
}

impl Observer {
    /// Connects; `None` for a database that is not PostgreSQL.
    ///
    /// # Errors
    /// [`Error::Database`] if the connection fails.
    pub(super) async fn connect(address: &str) -> Result<Option<Self>> {
        let Some((scheme, rest)) = address.split_once("://") else { return Ok(None) };
        if !scheme.starts_with("postgres") {
            return Ok(None);
        }
        let (client, connection) =
            tokio_postgres::connect(&format!("postgresql://{rest}"), NoTls).await.map_err(failed)?;
        tokio::spawn(connection);
        // Statement counts need this extension. If the role may not create it, the report says that the figure is missing.
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

    /// Runs vacuum and checkpoint now, so that the aftermath of adding rows for `--beside` is not part of the measurement. Errors
    /// are ignored, because the role may lack the rights.
    pub(super) async fn tidy(&self) {
        let _ = self.client.batch_execute("vacuum (analyze)").await;
        let _ = self.client.batch_execute("checkpoint").await;
    }

    /// Returns the number of client connections to this database, without this one.
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
