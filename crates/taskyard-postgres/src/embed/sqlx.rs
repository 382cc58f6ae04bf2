//! [`CallerConnection`] for the connections and transactions of sqlx.

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgDatabaseError;
use sqlx::{PgConnection, Postgres, Transaction};
use taskyard_core::{Error, Result, Statement, TaskId};

use super::CallerConnection;
use super::sealed::Sealed;
use crate::failure::{self, Report};

macro_rules! callers {
    ($($connection:ty),*) => {
        $(
            impl Sealed for $connection {}

            impl CallerConnection for $connection {
                async fn run(self, statement: &Statement) -> Result<Option<String>> {
                    run(&mut *self, statement).await
                }
            }
        )*
    };
}

callers!(&mut PgConnection, &mut PoolConnection<Postgres>, &mut Transaction<'_, Postgres>);

async fn run(connection: &mut PgConnection, statement: &Statement) -> Result<Option<String>> {
    sqlx::query_scalar(statement.sql())
        .bind(statement.parameter())
        .fetch_one(connection)
        .await
        .map_err(|error| failure_of(&error, statement.id()))
}

fn failure_of(error: &sqlx::Error, id: TaskId) -> Error {
    let Some(database) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else {
        return Error::Connection(error.to_string());
    };
    failure::of_callers_report(
        Report {
            code: database.code(),
            message: database.message(),
            detail: database.detail(),
            constraint: database.constraint(),
        },
        id,
    )
}
