//! Statements for a transaction of the caller's, whatever library runs it.

use crate::TaskId;

/// One SQL statement that the caller runs in a transaction of its own, by any library: one parameter `$1` of type `text`, and one row with
/// one column of type `text` (which may be null).
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
    /// A statement about a task. For stores.
    #[doc(hidden)]
    pub fn new(sql: &'static str, parameter: String, id: TaskId) -> Self {
        Self { sql, parameter, id }
    }

    /// The SQL, the same for every task.
    #[must_use]
    pub fn sql(&self) -> &'static str {
        self.sql
    }

    /// The value of `$1`.
    #[must_use]
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    /// The task that it is about. An addition with a unique key that another task holds returns that task's id in its row instead.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }
}
