//! Maps the driver's errors to `taskyard_core::Error`. Message texts come from the server and never contain a password.

use std::error::Error as _;
use std::sync::atomic::Ordering;

use taskyard_core::{Error, TaskId};
use tokio_postgres::error::DbError;
use uuid::Uuid;

use crate::address::Address;
use crate::migrations;

/// Classification of an SQLSTATE by cause and remedy. Every decision of this crate about an error code goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection or the server behind it failed: another connection helps, now or later.
    Way,
    /// Another transaction was in the way, or a time limit ended the statement: repeating the statement helps.
    Rerun,
    /// The value is invalid: nothing helps.
    Value,
    /// The disk is full.
    Full,
    /// The role, its password or its privileges.
    Right,
    /// A temporary problem of the server itself: waiting helps.
    Server,
    /// Anything else, for example an error raised by a trigger (P0001).
    Other,
}

fn fault(code: &str) -> Fault {
    match code {
        "25006" | "53300" => Fault::Way,
        "40001" | "40P01" | "55P03" | "57014" => Fault::Rerun,
        "53100" => Fault::Full,
        // Data corruption is permanent.
        "XX001" | "XX002" => Fault::Other,
        "28P01" | "28000" | "42501" | "3D000" => Fault::Right,
        _ if code.starts_with("57P") => Fault::Way,
        _ => match code.get(..2) {
            Some("08") => Fault::Way,
            // Classes: cardinality, data, integrity constraint, program limit.
            Some("21" | "22" | "23" | "54") => Fault::Value,
            // Classes: transaction rollback, resources, operator intervention, system and internal errors,
            // configuration file.
            Some("40" | "53" | "57" | "58" | "XX" | "F0") => Fault::Server,
            _ => Fault::Other,
        },
    }
}

/// Returns whether the whole statement or transaction may simply be run again, because nothing of it was applied.
pub(crate) fn may_rerun(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() != "55P03" && fault(code.code()) == Fault::Rerun)
}

/// Returns whether the connection is unusable after this error.
pub(crate) fn is_broken(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        // These two codes of the class leave the connection usable.
        Some(error) => fault(error.code().code()) == Fault::Way && !matches!(error.code().code(), "25006" | "53300"),
        None => !is_parameter(error),
    }
}

/// Returns whether the next call should use another connection: this one is broken, or its server has become a standby
/// and another server is now the primary.
pub(crate) fn wants_another(error: &tokio_postgres::Error) -> bool {
    is_broken(error) || error.code().is_some_and(|code| code.code() == "25006")
}

/// Returns whether a value could not even be sent. The driver reports this in the error's text only.
fn is_parameter(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error serializing parameter")
}

/// Maps an error of a statement.
pub(crate) fn of_statement(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(error) => of_database(error),
        None if is_parameter(error) => Error::InvalidArgument { what: "value", why: cause(error) },
        None => Error::Connection(cause(error)),
    }
}

/// Maps an error of a statement of the store at this address. A database that is read-only by default is
/// `Error::Refused`: waiting would not change it.
pub(crate) fn of_statement_at(error: &tokio_postgres::Error, address: &Address) -> Error {
    match error.as_db_error() {
        Some(database) if database.code().code() == "25006" && address.reads_by_default.load(Ordering::Relaxed) => {
            Error::Refused(format!("{}: {}: {READ_ONLY}", address.shown, database.message()))
        }
        _ => of_statement(error),
    }
}

/// Maps an error while connecting; `shown` is the address without its password.
pub(crate) fn of_connect(error: &tokio_postgres::Error, shown: &str) -> Error {
    match error.as_db_error() {
        Some(database) if database.code().code() == "53300" => Error::Connection(format!(
            "{shown}: {} (53300; see max_connections, and the connection limits of the role and of the database)",
            database.message()
        )),
        Some(database) => match of_database(database) {
            Error::Refused(why) => Error::Refused(format!("{shown}: {why}")),
            Error::Connection(why) | Error::DatabaseFault(why) | Error::Database(why) => {
                Error::Connection(format!("{shown}: {why}"))
            }
            other => other,
        },
        None if error.to_string() == "invalid configuration" => Error::Refused(format!("{shown}: {}", cause(error))),
        None => {
            let cause = cause(error);
            let advice = tls_advice(&cause);
            Error::Connection(format!("{shown}: {cause}{advice}"))
        }
    }
}

/// Returns the hint for a connection that could not be encrypted as the address requires. The driver and the TLS
/// library report the reason in their text only.
fn tls_advice(cause: &str) -> &'static str {
    if cause == "server does not support TLS" {
        ": encrypt connections there (ssl = on), with sslrootcert=FILE in the address if its certificate is of an authority of your own; \
         on a network that you trust, append ?sslmode=disable to the address"
    } else if ["UnknownIssuer", "BadSignature"].iter().any(|reason| cause.contains(reason)) {
        ": its authority is not trusted here; name a file with that authority's certificate by sslrootcert=FILE in the address"
    } else {
        ""
    }
}

const READ_ONLY: &str = "transactions are read-only by default here (default_transaction_read_only is on for this role, this database or \
                         the server; ALTER ROLE ... SET default_transaction_read_only = off)";

/// An error report of PostgreSQL, independent of the driver that received it.
pub(crate) struct Report<'a> {
    pub code: &'a str,
    pub message: &'a str,
    pub detail: Option<&'a str>,
    pub constraint: Option<&'a str>,
}

/// Maps an error of a statement about the task `id` that ran in the caller's own transaction.
pub(crate) fn of_callers(error: &tokio_postgres::Error, id: TaskId) -> Error {
    error.as_db_error().map_or_else(|| of_statement(error), |error| of_callers_report(report(error), id))
}

/// Like [`of_callers`], for a report received by another library.
pub(crate) fn of_callers_report(report: Report<'_>, id: TaskId) -> Error {
    match report.code {
        // Raised by the fencing check of `complete_in`.
        "TY001" => Error::LeaseLost(id),
        "25006" => Error::Refused(format!(
            "{}: the transaction is read-only, or its connection leads to a standby",
            report.message
        )),
        // The store behind the queue has the schema, so the caller's transaction is on another database.
        "3F000" | "42P01" | "42883" if report.message.contains("taskyard") => Error::Refused(format!(
            "{}: the transaction is not on the queue's database, or that database's schema `taskyard` is older than this program",
            report.message
        )),
        _ => of_report(report),
    }
}

fn report(error: &DbError) -> Report<'_> {
    let (detail, constraint) = (error.detail(), error.constraint());
    Report { code: error.code().code(), message: error.message(), detail, constraint }
}

fn of_database(error: &DbError) -> Error {
    of_report(report(error))
}

fn of_report(report: Report<'_>) -> Error {
    let code = report.code;
    let message = report.message.to_owned();
    match code {
        // The addition was revoked before it arrived; its caller no longer waits for a result.
        "TY002" => return Error::Connection(message),
        "25006" => {
            return Error::Connection(format!("{message}: the server has become a standby, or {READ_ONLY}"));
        }
        "3D000" => {
            return Error::Refused(format!(
                "{message}: create it (CREATE DATABASE), or correct the name in the address"
            ));
        }
        "55P03" => return Error::Locked(message),
        "3F000" | "42P01" | "42883" if message.contains("taskyard") => {
            return Error::SchemaTooOld { found: 0, needed: migrations::known() };
        }
        "23505" if report.constraint == Some("task_pkey") => {
            let id = report.detail.and_then(|detail| {
                let value = detail.split_once("=(")?.1.split_once(')')?.0;
                Uuid::parse_str(value).ok()
            });
            if let Some(id) = id {
                return Error::DuplicateId(TaskId(id));
            }
        }
        "22021" | "22P05" => return Error::InvalidArgument { what: "text", why: message },
        "22023" => {
            let why = message.trim_start_matches("taskyard: ").to_owned();
            return Error::InvalidArgument { what: "task", why };
        }
        _ => {}
    }
    match fault(code) {
        Fault::Way => Error::Connection(message),
        Fault::Full => Error::Full(message),
        Fault::Right => Error::Refused(message),
        Fault::Value => Error::NotStorable(format!("{message} ({code})")),
        Fault::Rerun | Fault::Server => Error::DatabaseFault(format!("{message} ({code})")),
        Fault::Other => Error::Database(format!("{message} ({code})")),
    }
}

/// Returns the text of the innermost cause: "connection refused" is more specific than "error connecting to server".
fn cause(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_classes_are_the_values_fault() {
        for code in ["21000", "22003", "22P05", "23502", "23514", "54000"] {
            assert_eq!(fault(code), Fault::Value, "{code}");
        }
        for code in ["53200", "53000", "53400", "58030", "XX000", "57000", "40003", "F0000"] {
            assert_eq!(fault(code), Fault::Server, "{code}");
        }
        for code in ["08006", "57P01", "57P03", "25006", "53300"] {
            assert_eq!(fault(code), Fault::Way, "{code}");
        }
        for code in ["40001", "40P01", "55P03", "57014"] {
            assert_eq!(fault(code), Fault::Rerun, "{code}");
        }
        for (code, expected) in [
            ("42501", Fault::Right),
            ("53100", Fault::Full),
            ("P0001", Fault::Other),
            ("XX001", Fault::Other),
            ("55000", Fault::Other),
        ] {
            assert_eq!(fault(code), expected, "{code}");
        }
    }
}
