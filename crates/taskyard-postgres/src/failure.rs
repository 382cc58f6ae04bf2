//! The driver's errors as ours. The text is the server's, which never holds a password.

use std::error::Error as _;

use taskyard_core::{Error, TaskId};
use tokio_postgres::error::{DbError, SqlState};
use uuid::Uuid;

use crate::migrate;

/// Whether the whole statement or transaction may simply be run again: nothing of it was done.
pub(crate) fn may_rerun(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "40001" | "40P01" | "57014"))
}

/// Whether the connection is of no use any more.
pub(crate) fn is_broken(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(error) => ["08", "57P"].iter().any(|class| error.code().code().starts_with(class)),
        None => !is_parameter(error),
    }
}

/// Whether the next call had better go through another connection: this one is broken, or its server has become a
/// standby and another one writes now.
pub(crate) fn wants_another(error: &tokio_postgres::Error) -> bool {
    is_broken(error) || error.code().is_some_and(|code| code.code() == "25006")
}

/// Whether a value could not even be sent. The driver tells it by its text only.
fn is_parameter(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error serializing parameter")
}

/// An error of a statement.
pub(crate) fn of_statement(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(error) => of_database(error),
        None if is_parameter(error) => Error::InvalidArgument { what: "value", why: cause(error) },
        None => Error::Connection(cause(error)),
    }
}

/// An error while connecting to the address shown.
pub(crate) fn of_connect(error: &tokio_postgres::Error, shown: &str) -> Error {
    match error.as_db_error() {
        Some(database) => match of_database(database) {
            Error::Refused(why) => Error::Refused(format!("{shown}: {why}")),
            Error::Connection(why) | Error::Database(why) => Error::Connection(format!("{shown}: {why}")),
            other => other,
        },
        None if error.to_string() == "invalid configuration" => Error::Refused(format!("{shown}: {}", cause(error))),
        None => Error::Connection(format!("{shown}: {}", cause(error))),
    }
}

fn of_database(error: &DbError) -> Error {
    let code = error.code().code();
    let message = error.message().to_owned();
    match code {
        "28P01" | "28000" | "42501" | "3D000" => Error::Refused(message),
        "53100" => Error::Full(message),
        // An addition that was asked back before it arrived: nobody waits for its answer any more.
        "TY002" => Error::Connection(message),
        "25006" => Error::Connection(format!("the server is a read-only standby ({message})")),
        "55P03" => Error::Locked(message),
        "57014" | "53300" | "40001" | "40P01" => Error::Connection(message),
        "3F000" | "42P01" | "42883" if message.contains("taskyard") => {
            Error::SchemaTooOld { found: 0, needed: migrate::known() }
        }
        "23505" if error.constraint() == Some("task_pkey") => {
            let id = error.detail().and_then(|detail| {
                let value = detail.split_once("=(")?.1.split_once(')')?.0;
                Uuid::parse_str(value).ok()
            });
            id.map_or(Error::Database(message), |id| Error::DuplicateId(TaskId(id)))
        }
        "22021" | "22P05" => Error::InvalidArgument { what: "text", why: message },
        "22023" => Error::InvalidArgument { what: "task", why: message.trim_start_matches("taskyard: ").to_owned() },
        _ if code.starts_with("08") || code.starts_with("57P") => Error::Connection(message),
        _ => Error::Database(format!("{message} ({code})")),
    }
}

/// Whether the fence of `complete_in` refused.
pub(crate) fn is_lease_lost(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::from_code("TY001"))
}

/// The innermost cause: "connection refused" says more than "error connecting to server".
fn cause(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
