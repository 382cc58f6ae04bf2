//! `db …`: commands on the schema, and queries.

mod check;
mod query;
mod schema;

use clap::Subcommand;
use taskyard_terminal::{Failure, remark};

use crate::session::Session;

/// The database
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Bring the schema to this program's version
    Migrate,
    /// Show the schema's version; exit code 1 if migrations are pending
    Status,
    /// Compare all tasks with the runnable range; exit code 1 if tasks are missing there and were not put back
    Check(check::Check),
    /// Run a read-only SQL statement and print its rows
    Query(query::Query),
    /// Does nothing, because migrations ship with Taskyard; accepted for compatibility with other tools
    Makemigrations {
        /// The migration's title; ignored
        #[arg(short, long, value_name = "TEXT")]
        message: Option<String>,
    },
}

impl Db {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Migrate => schema::migrate(session).await,
            Self::Status => schema::status(session).await,
            Self::Check(check) => check.run(session).await,
            Self::Query(query) => query.run(session).await,
            Self::Makemigrations { message: _ } => {
                remark("nothing to make: migrations ship with Taskyard; `taskyard db migrate` applies them");
                Ok(0)
            }
        }
    }
}
