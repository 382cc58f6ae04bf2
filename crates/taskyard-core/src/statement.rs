//! SQL statements for a transaction that the caller runs with any database library.

use crate::TaskId;

/// An SQL statement that the caller runs in its own transaction, with any library.
///
/// Takes one parameter `$1` of type `text`, and returns one row with one column of type `text`, which may be null.
///
/// ```
/// # fn example(statement: &taskyard_core::Statement) {
/// let (sql, parameter): (&str, &str) = (statement.sql(), statement.parameter());
/// // diesel:  diesel::sql_query(sql).bind::<Text, _>(parameter).execute(&mut connection).await?;
/// // SeaORM:  transaction.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, [parameter.into()])).await?;
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a statement does nothing until it is run"]
pub struct Statement {
    sql: &'static str,
    parameter: String,
    id: TaskId,
}

impl Statement {
    /// Creates a statement about a task. For stores.
    #[doc(hidden)]
    pub fn new(sql: &'static str, parameter: String, id: TaskId) -> Self {
        Self { sql, parameter, id }
    }

    /// Returns the SQL, which is the same for every task.
    #[must_use]
    pub fn sql(&self) -> &'static str {
        self.sql
    }

    /// Returns the value of `$1`.
    #[must_use]
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    /// Returns the id of the task that the statement adds. If the task has a unique key that another task holds, the
    /// row that the statement returns contains that task's id instead.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }
}
