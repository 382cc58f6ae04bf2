//! `db query SQL`: one reading statement through our own handle on the database, in a transaction that cannot write.

use clap::Args;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::grid::Grid;
use crate::out::remark;
use crate::session::{Access, Session};

/// Run one reading SQL statement
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The statement, for example "select state, count(*) from queued_tasks group by state"
    sql: String,
    /// At most this many rows
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

impl Query {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Existing).await?;
        let answer = store.query(&self.sql, self.limit).await?;
        let out = session.out();
        if out.is_json() {
            let rows: Vec<Value> = answer.rows.into_iter().map(|row| object(&answer.columns, row)).collect();
            out.json(&rows)?;
        } else {
            let mut grid = Grid::with_headings(&answer.columns);
            for row in &answer.rows {
                grid.row(row.iter().map(plain));
            }
            out.grid(grid)?;
        }
        if answer.more {
            remark(format_args!("there are more rows than {} (--limit)", self.limit));
        }
        Ok(0)
    }
}

/// A row as an object; of columns with one name the last stands, as in every JSON of SQL.
fn object(columns: &[String], row: Vec<Value>) -> Value {
    Value::Object(columns.iter().cloned().zip(row).collect::<Map<_, _>>())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
