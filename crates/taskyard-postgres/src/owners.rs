//! Checks the owners of the schema `taskyard` and of the objects in it.
//!
//! The owner of a schema can replace what is in it, and the owner of a function, a view or a table with a trigger
//! decides what runs when another role uses it, with the rights of that role. A role that may create schemas could
//! prepare one before the first migration, and a superuser that migrates into it would run that role's code. So every
//! object in the schema must belong to the role that migrates, to a role that it is a member of, or to a superuser.
//!
//! Invariants: the check runs before anything in the schema is read, because a prepared view runs code when it is read;
//! and it is repeated in the migration's own transaction. A role that could not have created the schema (it may not
//! create schemas in this database, and is not a superuser) is exempt: the worker's role does not own the objects that
//! it uses.

use taskyard_core::{Error, Result};
use tokio_postgres::Row;

use crate::inner::Inner;
use crate::pool::Role;
use crate::row::get;

/// Returns the first object whose owner is not trusted, the schema itself before its contents. Uses only names of the
/// catalog.
const FOREIGN: &str = include_str!("sql/schema/foreign.sql");
/// Returns whether this role could have created the schema.
const MAY_CREATE: &str = include_str!("sql/schema/may_create.sql");

/// Refuses a schema with an untrusted owner, if this role could be the one that migrates.
///
/// # Errors
/// `Error::Refused`, with the object and its owner.
pub(crate) async fn check(store: &Inner) -> Result<()> {
    let rows = store.pool.query_idempotent(Role::Client, MAY_CREATE, &[]).await?;
    if rows.first().map_or(Ok(false), |row| get(row, 0))? {
        refuse(&store.pool.query_idempotent(Role::Client, FOREIGN, &[]).await?)?;
    }
    Ok(())
}

/// Refuses a schema with an untrusted owner, in the transaction that is about to change it.
///
/// # Errors
/// As [`check`].
pub(crate) async fn check_in(client: &tokio_postgres::Client) -> Result<()> {
    refuse(&client.query_typed(FOREIGN, &[]).await.map_err(|error| crate::failure::of_statement(&error))?)
}

fn refuse(rows: &[Row]) -> Result<()> {
    let Some(row) = rows.first() else { return Ok(()) };
    let (object, owner, role): (String, String, String) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
    Err(Error::Refused(format!(
        "{object} belongs to {owner}, which is neither the role {role}, nor a role that it is a member of, nor a \
         superuser: its owner could run code with the rights of {role}. Drop it, or change its owner"
    )))
}
