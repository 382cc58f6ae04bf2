//! Opens the store of a database address.
//!
//! Only [`database_kind`] interprets addresses. Text that is meant as a server's address but is invalid is refused,
//! never taken for the name of a file. Messages contain only those parts of an address that were understood.

mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use taskyard_core::redact::{credentials_at, password_at, password_line_at};
use taskyard_core::settings::Settings;
use taskyard_core::{Error, Result, Store};

use sqlite::SqliteAddress;

/// The kind of database that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// An embedded SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server,
}

/// Opens the store of `settings.database` (required here; the command determines a default) and, unless disabled,
/// migrates its schema.
///
/// `postgresql://…`, `postgres://…`, addresses with a driver's suffix (`postgresql+asyncpg://…`) and libpq's keyword
/// form (`host=… dbname=…`) are PostgreSQL. `sqlite:///absolute/path`, `sqlite:relative/path`,
/// `sqlite://relative/path?mode=rwc` and plain paths are an embedded SQLite file, which is created if it is missing,
/// unless the address contains `mode=rw`.
///
/// # Errors
/// [`Error::InvalidUrl`] for a missing or invalid address; [`Error::SchemaTooNew`] or [`Error::SchemaTooOld`] if the
/// schema does not match and is not migrated; otherwise the store's error: [`Error::Connection`], [`Error::Refused`],
/// [`Error::File`], [`Error::CorruptFile`] or another database error.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>> {
    let address = settings.database.as_deref().ok_or_else(|| Error::InvalidUrl("no address was given".into()))?;
    let store = match database_kind(address)? {
        DatabaseKind::Server => open_postgres(address, settings).await?,
        DatabaseKind::File(path) => {
            check_place(address)?;
            open_sqlite(&path, settings).await?
        }
    };
    if settings.auto_migrate {
        store.migrate().await?;
    } else {
        let schema = store.schema().await?;
        if schema.found > schema.known {
            return Err(Error::SchemaTooNew { found: schema.found, known: schema.known });
        }
        if schema.found < schema.known {
            return Err(Error::SchemaTooOld { found: schema.found, needed: schema.known });
        }
    }
    Ok(store)
}

/// Returns whether an application's address is PostgreSQL's, or is meant to be. An invalid one is then refused later,
/// instead of silently leading to another database.
#[doc(hidden)]
#[must_use]
pub fn is_meant_for_postgres(address: &str) -> bool {
    let is_meant = address.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("postgres"));
    is_meant || database_kind(address) == Ok(DatabaseKind::Server)
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

/// Formats an address for messages: a file's path, or a server's user, host, port and database, as far as these can be
/// separated from a password.
#[must_use]
pub fn redacted(address: &str) -> String {
    match database_kind(address) {
        Ok(DatabaseKind::File(path)) => path.display().to_string(),
        Ok(DatabaseKind::Server) => shown_server(address).unwrap_or_else(|| "postgresql://***".into()),
        Err(_) => "***".into(),
    }
}

#[cfg(feature = "postgres")]
use taskyard_postgres::{is_keywords, shown_address as shown_server};

/// Without the store, the form is not parsed; a keyword is enough to see that this is not a file.
#[cfg(not(feature = "postgres"))]
fn is_keywords(address: &str) -> bool {
    ["host", "hostaddr", "dbname", "user", "port", "password"]
        .iter()
        .any(|name| address.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('=')))
}

#[cfg(not(feature = "postgres"))]
fn shown_server(_: &str) -> Option<String> {
    None
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: &std::path::Path, settings: &Settings) -> Result<Arc<dyn Store>> {
    let mut options = taskyard_sqlite::Options::default();
    options.views = settings.views;
    Ok(taskyard_sqlite::SqliteStore::open_with(path, options).await?)
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(_: &std::path::Path, _: &Settings) -> Result<Arc<dyn Store>> {
    Err(Error::InvalidUrl("this program was built without SQLite (feature `sqlite`)".into()))
}

#[cfg(feature = "postgres")]
async fn open_postgres(address: &str, settings: &Settings) -> Result<Arc<dyn Store>> {
    let options = taskyard_postgres::Options {
        views: settings.views,
        notify: settings.use_postgresql_notify,
        notify_channel: settings.notify_channel.clone(),
        listen_url: settings.listen_url.clone(),
        limits: settings.limits,
        ..taskyard_postgres::Options::default()
    };
    Ok(taskyard_postgres::PostgresStore::connect(address, options).await?)
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str, _: &Settings) -> Result<Arc<dyn Store>> {
    Err(Error::InvalidUrl("this program was built without PostgreSQL (feature `postgres`)".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_show_and_make_no_file() {
        for (address, shown) in [
            ("postgresql://u:s3cret%40@h:5/d?connect_timeout=1", "postgresql://u@h:5/d"),
            ("postgres://u@h/d", "postgresql://u@h:5432/d"),
            ("postgres://h/d?user=u&password=s3cret", "postgresql://u@h:5432/d"),
            ("postgresql+asyncpg://u:s3/cret@h/d", "postgresql://u@h:5432/d"),
            (" host=h dbname=d user=u password='s3 cret'", "postgresql://u@h:5432/d"),
            // Meant for a server, but its parts cannot be separated.
            ("postgresql://u:s3@cret@h/d", "postgresql://***"),
            ("postgresql://u:s3?cret@h/d", "postgresql://***"),
            ("host=h;password=s3cret x", "postgresql://***"),
            ("Host=h Password=s3cret", "postgresql://***"),
            ("queue.db", "queue.db"),
            ("sqlite:///a/b.db", "/a/b.db"),
        ] {
            assert_eq!(redacted(address), shown, "{address}");
        }
        for address in [
            "",
            "  ",
            "mysql://u:s3cret@h/d",
            "mysql+pymysql://u:s3/cret@h/d",
            "jdbc:postgresql://h/d?password=s3cret",
            "u:s3cret@h/d",
            ":s3cret@h/d",
            "//u:s3cret@h/d",
            "u@h/d",
            "postgresql:/u:s3cret@h/d",
            "postgresql//u:s3cret@h/d",
            "postgresql//h/d",
            "postgres:u:s3cret",
            "\"postgresql://u:s3cret@h/d\"",
            "DATABASE_URL=postgresql://u:s3cret@h/d",
            "Server=h;Uid=u;Pwd=s3cret;",
            "sqlite://postgresql://u:s3cret@h/d",
            "sqlite://*:*:*:u:s3cret",
            "sqlite:",
            ":memory:",
            "file::memory:?cache=shared",
            "*:*:*:u:s3cret",
            "h:5432:d:u:s3cret",
            ":5432:*:u:s3:cret",
            "a\nb",
        ] {
            let error = check_address(address).unwrap_err();
            assert!(
                matches!(&error, Error::InvalidUrl(_)) && !error.to_string().contains("cret"),
                "{address}: {error}"
            );
            assert_eq!(redacted(address), "***", "{address}");
        }
    }

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
