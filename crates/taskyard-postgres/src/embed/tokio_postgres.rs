//! [`CallerConnection`] for the clients and transactions of tokio-postgres, and for types that dereference to them
//! (deadpool's).

use taskyard_core::{Result, Statement};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::CallerConnection;
use super::sealed::Sealed;
use crate::failure;
use crate::row::get;

macro_rules! callers {
    ($($connection:ty),*) => {
        $(
            impl Sealed for $connection {}

            impl CallerConnection for $connection {
                async fn run(self, statement: &Statement) -> Result<Option<String>> {
                    run(self, statement).await
                }
            }
        )*
    };
}

callers!(&Client, &mut Client, &Transaction<'_>, &mut Transaction<'_>);

async fn run(client: &impl GenericClient, statement: &Statement) -> Result<Option<String>> {
    let row = client
        .query_typed(statement.sql(), &[(&statement.parameter(), Type::TEXT)])
        .await
        .map_err(|error| failure::of_callers(&error, statement.id()))?;
    row.first().map_or(Ok(None), |row| get(row, 0))
}
