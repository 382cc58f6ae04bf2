//! Database addresses: which database one names, and whether it is plausible.
//!
//! Only [`database_kind`] interprets addresses. Text that is meant as a server's address but is invalid is refused,
//! never taken for the name of a file. Messages contain nothing of an address but its scheme and the path of a file.
//! Stores are not opened here; the PostgreSQL store parses its addresses.

mod sqlite;

use std::path::PathBuf;

use taskyard_core::libpq::is_keywords;
use taskyard_core::redact::{credentials_at, password_at, password_line_at};
use taskyard_core::{Error, Result};

use sqlite::SqliteAddress;

/// The kind of database that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// An embedded SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server,
}

/// Returns an application's address if it is PostgreSQL's, or is meant to be. An invalid one is then refused later,
/// instead of silently leading to another database. The application's SQLite file is never used, because a handle of
/// another library on the same file is not supported.
pub(crate) fn of_application(address: &str) -> Option<String> {
    let address = address.trim();
    let is_meant = address.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("postgres"));
    (is_meant || database_kind(address) == Ok(DatabaseKind::Server)).then(|| address.to_owned())
}

/// Checks that an address is valid, without opening it.
///
/// # Errors
/// [`Error::InvalidUrl`] if it is not.
pub fn check_address(address: &str) -> Result<()> {
    database_kind(address).map(drop)
}

/// Checks that the SQLite file of an address exists, or can be created at a plausible location.
///
/// # Errors
/// [`Error::InvalidUrl`] for a new file in `/` or in a missing directory after `sqlite:///`, which other libraries take
/// for the working directory, and for a missing file with `mode=rw`.
pub fn check_place(address: &str) -> Result<()> {
    match sqlite_address(address.trim()) {
        Some(address) => address?.check_place(),
        None => Ok(()),
    }
}

/// Parses an address with the scheme `sqlite`; `None` for any other.
fn sqlite_address(address: &str) -> Option<Result<SqliteAddress>> {
    (scheme(address) == Some("sqlite")).then(|| SqliteAddress::parse(address))
}

/// Returns the kind of database that an address names, without opening it.
///
/// # Errors
/// [`Error::InvalidUrl`] for text that is neither, such as `mysql://…`, or an address that lacks its `postgresql://`.
/// The message contains nothing of the address except its scheme: any other part may be a password.
pub fn database_kind(address: &str) -> Result<DatabaseKind> {
    let invalid = |why: &str| Err(Error::InvalidUrl(why.to_owned()));
    let address = address.trim();
    if address.is_empty() {
        return invalid("it is empty");
    }
    if address.contains(char::is_control) {
        return invalid("it contains a control character");
    }
    if is_keywords(address) {
        return Ok(DatabaseKind::Server);
    }
    if let Some(file) = sqlite_address(address) {
        let rest = &address["sqlite:".len()..];
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.contains("://") {
            return invalid("sqlite: is not followed by a path");
        }
        let is_server = credentials_at(path).is_some() || password_line_at(path).is_some();
        if address.starts_with("sqlite://") && is_server {
            return invalid(
                "sqlite:// is followed by a user and password, as for a server (a file with such a name is written sqlite:PATH)",
            );
        }
        return Ok(DatabaseKind::File(file?.path));
    }
    // SQLite's own notation of a database in memory, before its colons are taken for those of a scheme.
    let plain = SqliteAddress::plain(address)?;
    match scheme(address) {
        Some(scheme) if is_postgres(scheme) && address[scheme.len()..].starts_with("://") => Ok(DatabaseKind::Server),
        Some(scheme) if is_postgres(scheme) => invalid("it does not begin with postgresql://"),
        Some(scheme) if scheme.starts_with("sqlite+") => invalid(
            "its scheme names a driver of another library: write sqlite:PATH, with a file of the queue's own (an application's SQLite \
             file cannot hold the queue)",
        ),
        // The text before `://` is not a password; the text before a single colon may be.
        Some(scheme) if address[scheme.len()..].starts_with("://") => {
            Err(Error::InvalidUrl(format!("`{scheme}` is neither postgresql nor sqlite")))
        }
        Some(_) => invalid("the scheme before its colon is neither postgresql nor sqlite"),
        None if is_no_path(address) => invalid(
            "it looks like a server's address without postgresql:// (a file with such a name is written sqlite:PATH)",
        ),
        None => Ok(DatabaseKind::File(plain.path)),
    }
}

/// Returns whether text without a scheme was probably meant as an address: an address in quotes,
/// `user:password@host/name`, `user@host/name`, a line of a password file, or anything with a password.
fn is_no_path(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let user = text.split_once('/').is_some_and(|(first, _)| first.contains('@'));
    text.contains("://")
        || lower.starts_with("postgres//")
        || lower.starts_with("postgresql//")
        || credentials_at(text).is_some()
        || user
        || password_at(text).is_some()
        || password_line_at(text).is_some()
}

/// Returns the scheme; `None` for a plain path.
fn scheme(address: &str) -> Option<&str> {
    let (scheme, _) = address.split_once(':')?;
    let plain = scheme.len() > 1 && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    plain.then_some(scheme)
}

fn is_postgres(scheme: &str) -> bool {
    let base = scheme.split('+').next().unwrap_or_default();
    ["postgres", "postgresql"].iter().any(|known| base.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    // What is refused, and that no message shows its password, is tested beside `taskyard::redacted`.
    use super::*;

    #[test]
    fn files_may_have_unusual_names() {
        for path in [
            "a b.db",
            "/srv/me@home/queue.db",
            "./u@h/queue.db",
            "a=b.db",
            "/a:b/c.db",
            "/a:1:2:3.db",
            "./a:b:c:d:e.db",
            "C:\\queue.db",
            "me@home.db",
        ] {
            assert_eq!(database_kind(path), Ok(DatabaseKind::File(path.into())), "{path}");
        }
        assert_eq!(database_kind("sqlite:u:p@h/d"), Ok(DatabaseKind::File("u:p@h/d".into())));
    }

    #[test]
    fn schemes_and_paths() {
        assert_eq!(scheme("postgresql+asyncpg://h/d"), Some("postgresql+asyncpg"));
        assert!(is_postgres("postgresql+asyncpg") && is_postgres("postgres") && !is_postgres("mysql"));
        assert_eq!(scheme("/a/b.db"), None);
        assert_eq!(scheme("C:\\queue.db"), None);
    }
}
