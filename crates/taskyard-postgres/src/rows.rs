//! Runs an operator's own query (`taskyard db query`): one statement in a read-only transaction on a connection of its
//! own.
//!
//! The statement is first prepared, which the server accepts for a single statement only and which returns the types of
//! the columns, and then run with the simple protocol, which returns every type as text. The connection is closed
//! afterwards, whatever the statement did to its session.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::value::{RawValue, to_raw_value};
use taskyard_core::store::{Rows, begins_reading};
use taskyard_core::{Error, Result};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::inner::Inner;
use crate::{connect, failure};

/// Time limit: an operator waits for the result, and a longer statement is better run with `psql`.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a query and returns at most `limit` rows.
///
/// # Errors
/// - `Error::InvalidArgument` if the statement does not only read, takes parameters, or is rejected by the server.
/// - `Error::Database` if the query takes longer than 60 s.
/// - `Error::Connection` and the like if the connection cannot be opened or is lost.
pub(crate) async fn rows(store: &Inner, sql: &str, limit: usize) -> Result<Rows> {
    if !begins_reading(sql) {
        return Err(refused("only a read-only statement is allowed here".into()));
    }
    let client = connect::open(store.pool.address()).await?;
    match tokio::time::timeout(DEADLINE, run(&client, sql, limit)).await {
        Ok(rows) => rows,
        Err(_) => Err(Error::Database(format!("the query took longer than {} s", DEADLINE.as_secs()))),
    }
}

fn refused(why: String) -> Error {
    Error::InvalidArgument { what: "query", why }
}

/// An error that the server reports about the operator's statement is an invalid argument.
fn wrong(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(database) if !failure::is_broken(error) => refused(database.message().to_owned()),
        _ => failure::of_statement(error),
    }
}

async fn run(client: &Client, sql: &str, limit: usize) -> Result<Rows> {
    let begin = "begin transaction read only; set local statement_timeout = '60s'; set local lock_timeout = '30s'; \
                 set local idle_in_transaction_session_timeout = '60s'";
    client.batch_execute(begin).await.map_err(|error| failure::of_statement(&error))?;
    let statement = client.prepare(sql).await.map_err(|error| wrong(&error))?;
    if !statement.params().is_empty() {
        return Err(refused("it has parameters ($1), which cannot be given here".into()));
    }
    let types: Vec<Type> = statement.columns().iter().map(|column| column.type_().clone()).collect();
    let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let mut answer = Rows { columns, ..Rows::default() };
    let mut messages = pin!(client.simple_query_raw(sql).await.map_err(|error| wrong(&error))?);
    while let Some(message) = messages.next().await {
        let SimpleQueryMessage::Row(row) = message.map_err(|error| wrong(&error))? else { continue };
        if answer.rows.len() == limit {
            answer.more = true;
            break;
        }
        answer.rows.push(types.iter().enumerate().map(|(at, kind)| value(kind, row.get(at))).collect::<Result<_>>()?);
    }
    Ok(answer)
}

/// Converts a value to JSON. Numbers and JSON are copied digit by digit.
fn value(kind: &Type, text: Option<&str>) -> Result<Box<RawValue>> {
    let Some(text) = text else { return Ok(RawValue::NULL.to_owned()) };
    let as_it_stands = match *kind {
        Type::BOOL => Some(RawValue::from_string((text == "t").to_string())),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::FLOAT4 | Type::FLOAT8 | Type::JSON | Type::JSONB => {
            Some(RawValue::from_string(text.to_owned()))
        }
        _ => None,
    };
    // Some numbers are not valid JSON: `NaN`, `Infinity`.
    if let Some(Ok(value)) = as_it_stands {
        return Ok(value);
    }
    to_raw_value(text).map_err(|error| Error::Database(error.to_string()))
}
