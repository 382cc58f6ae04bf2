//! Runs an operator's own query (`taskyard db query`) on a read-only connection: one statement, a limited number of
//! rows.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use serde_json::Value;
use serde_json::value::to_raw_value;
use taskyard_core::store::{Rows, begins_reading};
use taskyard_core::{Error, Result};
use uuid::Uuid;

use crate::SqliteStore;
use crate::fault::Outcome;
use crate::thread::reader::Read;

/// Runs a query and returns at most `limit` rows.
///
/// # Errors
/// - `Error::InvalidArgument` if it is not one statement that only reads, or SQLite rejects it.
/// - Other errors of reading the file, as for every read.
pub(crate) async fn rows(store: &SqliteStore, sql: &str, limit: usize) -> Result<Rows> {
    let sql = sql.to_owned();
    store.readers().read(move |read| run(read, &sql, limit)).await
}

fn refused(why: &str) -> Error {
    Error::InvalidArgument { what: "query", why: why.into() }
}

fn run(read: &Read<'_>, sql: &str, limit: usize) -> Outcome<Rows> {
    if !begins_reading(sql) {
        return Err(refused("only a read-only statement is allowed here").into());
    }
    let mut batch = rusqlite::Batch::new(read.connection, sql);
    // SQLite's message is returned as it is: the error concerns the statement, not the file.
    let wrong = |error: rusqlite::Error| match error {
        rusqlite::Error::SqlInputError { msg, .. } => refused(&msg),
        rusqlite::Error::SqliteFailure(_, Some(message)) => refused(&message),
        other => refused(&other.to_string()),
    };
    let Some(mut statement) = batch.next().map_err(wrong)? else {
        return Err(refused("the text contains no statement").into());
    };
    if !matches!(batch.next(), Ok(None)) {
        return Err(refused("only one statement is allowed").into());
    }
    if !statement.readonly() {
        return Err(refused("only a read-only statement is allowed here").into());
    }
    let names = (0..statement.column_count()).map(|at| statement.column_name(at).map(str::to_owned));
    let columns = names.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut answer = Rows { columns, ..Rows::default() };
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next().map_err(wrong)? {
        if answer.rows.len() == limit {
            answer.more = true;
            break;
        }
        let values: rusqlite::Result<Vec<Value>> =
            (0..answer.columns.len()).map(|at| row.get_ref(at).map(value)).collect();
        let values: serde_json::Result<Vec<_>> = values?.iter().map(to_raw_value).collect();
        answer.rows.push(values.map_err(|error| Error::Database(error.to_string()))?);
    }
    Ok(answer)
}

/// Converts a value to JSON. Ids (16 bytes) become UUIDs; other bytes become text if they are UTF-8, otherwise
/// hexadecimal digits.
fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => match (Uuid::from_slice(bytes), std::str::from_utf8(bytes)) {
            (Ok(id), _) => id.to_string().into(),
            (_, Ok(text)) => text.into(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        },
    }
}
