//! A connection and its named statements.
//!
//! Parsing takes the server 0.13 ms of an addition and 0.08 ms of a claim, so a statement that every task costs ([`Sql::Frequent`]) is
//! prepared once per connection and then run by its name. Named statements belong to the server's session: behind a pooler that
//! shares sessions between clients, a name may mean a statement of another program. A connection therefore prepares only if the
//! session that runs its statements is the one that accepted the connection ([`is_direct`]); every other one runs each statement
//! unnamed.
//!
//! Only calls of functions are prepared. Their plan is the same for all parameters, so that a plan which the server keeps
//! (`plan_cache_mode`) costs nothing; a query with optional conditions would run by a plan that fits none of them.

mod key;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::Params;

/// The text of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sql<'a> {
    /// Runs unnamed.
    Once(&'a str),
    /// The call of a function that every task or nearly every task costs; prepared after [`UNNAMED_RUNS`].
    Frequent(&'static str),
}

/// Number of unnamed runs of a frequent statement before it is prepared, so that a short-lived program never pays for that.
const UNNAMED_RUNS: u32 = 5;

#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    named: Mutex<Named>,
}

#[derive(Debug, Default)]
struct Named {
    /// Whether the connection may prepare; unknown until the first statement is due.
    direct: Option<bool>,
    statements: HashMap<&'static str, Progress>,
}

#[derive(Debug)]
enum Progress {
    /// Number of runs so far.
    Unnamed(u32),
    /// Another call prepares it.
    Preparing,
    Ready(Statement),
    /// The server refused the named statement.
    Refused,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Connection {
    pub fn new(client: Client) -> Self {
        Self { client, named: Mutex::default() }
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a statement, by its name if it has one.
    pub async fn run(
        &self,
        statement: Option<&Statement>,
        sql: Sql<'_>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        if let Some(statement) = statement {
            let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
            return self.client.query(statement, &values).await;
        }
        let (Sql::Once(text) | Sql::Frequent(text)) = sql;
        self.client.query_typed(text, params).await
    }

    /// Returns whether the server refused a named statement before it ran; it runs unnamed from now on. A session that has lost one
    /// statement has lost the others as well, and the outcome of a statement that was sent behind another one is not known: then
    /// all of them run unnamed.
    pub fn refuses(&self, sql: Sql<'_>, error: &tokio_postgres::Error) -> bool {
        let Sql::Frequent(text) = sql else { return false };
        let code = error.code();
        if code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) {
            *self.named() = Named { direct: Some(false), statements: HashMap::new() };
        } else if code == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
            // A new version of the schema changed its result.
            self.named().statements.insert(text, Progress::Refused);
        } else {
            return false;
        }
        true
    }

    /// Returns the named statement, and prepares it if it is due. `None`: run it unnamed.
    pub async fn statement(&self, sql: Sql<'_>, params: Params<'_>) -> Option<Statement> {
        let Sql::Frequent(text) = sql else { return None };
        let direct = {
            let mut named = self.named();
            let direct = named.direct;
            let progress = named.statements.entry(text).or_insert(Progress::Unnamed(0));
            match progress {
                Progress::Ready(statement) => return Some(statement.clone()),
                Progress::Preparing | Progress::Refused => return None,
                Progress::Unnamed(runs) if *runs < UNNAMED_RUNS || direct == Some(false) => {
                    *runs = runs.saturating_add(1);
                    return None;
                }
                Progress::Unnamed(_) => *progress = Progress::Preparing,
            }
            direct
        };
        let mut attempt = Preparation { connection: self, text, result: Progress::Unnamed(0) };
        let direct = match direct {
            Some(direct) => direct,
            None => {
                let direct = is_direct(&self.client).await;
                self.named().direct = Some(direct);
                direct
            }
        };
        if !direct {
            return None;
        }
        let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
        // An error concerns the unnamed statement as well, which reports it.
        let statement = self.client.prepare_typed(text, &types).await.ok()?;
        attempt.result = Progress::Ready(statement.clone());
        Some(statement)
    }
}

/// Stores how a preparation ended, also that of a call that was dropped.
struct Preparation<'a> {
    connection: &'a Connection,
    text: &'static str,
    result: Progress,
}

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Progress::Refused);
        self.connection.named().statements.insert(self.text, result);
    }
}

/// Whether the session that runs this connection's statements is the one that accepted the connection: its process number is the
/// one of the cancel key that came with the connection. A pooler gives its clients keys of its own. `false` if the key
/// cannot be read.
async fn is_direct(client: &Client) -> bool {
    let Some(accepted_by) = key::process(client).await else { return false };
    let answer = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    let run_by = answer.ok().and_then(|rows| rows.first().and_then(|row| row.try_get::<_, i32>(0).ok()));
    run_by == Some(accepted_by)
}

#[cfg(test)]
mod tests;
