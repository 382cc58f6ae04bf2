//! `db query SQL`: runs one statement in a read-only transaction and prints its rows.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::value::RawValue;
use taskyard_terminal::{Failure, Table, remark};

use crate::session::{Access, Session};

/// Run a read-only SQL statement
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The statement, for example "select state, count(*) from queued_tasks group by state"
    #[arg(allow_hyphen_values = true)]
    sql: String,
    /// At most this many rows
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

impl Query {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Read).await?;
        let answer = store.query(&self.sql, self.limit).await?;
        let out = session.out();
        if out.is_json() {
            let rows: Vec<_> = answer.rows.iter().map(|row| object(&answer.columns, row)).collect();
            out.json(&rows)?;
        } else {
            let mut table = Table::with_headings(&answer.columns);
            for row in &answer.rows {
                table.row(row.iter().map(|value| plain(value)));
            }
            out.table(table)?;
        }
        if answer.more {
            remark(format_args!("only the first {} rows are shown; use --limit to show more", self.limit));
        }
        Ok(0)
    }
}

/// Returns a row as an object; of several columns with the same name, the last one counts.
fn object<'a>(columns: &'a [String], row: &'a [Box<RawValue>]) -> BTreeMap<&'a str, &'a RawValue> {
    columns.iter().map(String::as_str).zip(row.iter().map(AsRef::as_ref)).collect()
}

fn plain(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        text => serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()),
    }
}
