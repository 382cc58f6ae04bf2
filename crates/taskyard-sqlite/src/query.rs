//! Reading by hand: the safe way to look into a file that servers are writing (`taskyard db query`).

use rusqlite::types::ValueRef;
use taskyard_core::{Error, Result};
use uuid::Uuid;

use crate::SqliteStore;
use crate::fault::Outcome;
use crate::thread::reader::Read;

/// What a query returned, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryAnswer {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL. Ids (16 bytes) are shown as UUIDs, other bytes as text if they are text, else in
    /// hexadecimal digits.
    pub rows: Vec<Vec<Option<String>>>,
}

impl SqliteStore {
    /// Runs one statement that only reads.
    ///
    /// # Errors
    /// SQLite's own, `Refused` if the statement would write.
    pub async fn query(&self, sql: &str) -> Result<QueryAnswer> {
        let sql = sql.to_owned();
        self.readers().read(move |read| run(read, &sql)).await
    }
}

fn run(read: &Read<'_>, sql: &str) -> Outcome<QueryAnswer> {
    let mut statement = read.connection.prepare(sql)?;
    if !statement.readonly() {
        return Err(Error::Refused("only statements that read are run here".into()).into());
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut answer = QueryAnswer { rows: Vec::new(), columns };
    while let Some(row) = rows.next()? {
        let shown: rusqlite::Result<Vec<Option<String>>> =
            (0..answer.columns.len()).map(|at| row.get_ref(at).map(show)).collect();
        answer.rows.push(shown?);
    }
    Ok(answer)
}

fn show(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Some(match (Uuid::from_slice(bytes), std::str::from_utf8(bytes)) {
            (Ok(id), _) => id.to_string(),
            (_, Ok(text)) => text.to_owned(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
    }
}
