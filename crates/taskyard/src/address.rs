//! From a database's address to its store.

use std::sync::Arc;

use taskyard_core::settings::Settings;
use taskyard_core::{Error, Result, Store};

/// Opens the store of `settings.database` (required here; the command finds a default) and, unless switched off,
/// brings its schema up to date.
///
/// `postgresql://…`, `postgres://…` and addresses with a driver's suffix (`postgresql+asyncpg://…`) are PostgreSQL;
/// `sqlite:///absolute/path`, `sqlite:relative/path` and plain paths are an embedded SQLite file.
///
/// # Errors
/// [`Error::InvalidUrl`], or why the database cannot be used.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>> {
    let address = settings.database.as_deref().ok_or_else(|| Error::InvalidUrl("no address was given".into()))?;
    let store = match scheme(address) {
        Some("sqlite") => open_sqlite(sqlite_path(address), settings).await?,
        Some(scheme) if is_postgres(scheme) => open_postgres(address, settings).await?,
        Some(scheme) => {
            return Err(unknown(scheme, address));
        }
        None => open_sqlite(address, settings).await?,
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

/// Says whether an address could be opened at all, without opening it.
///
/// # Errors
/// [`Error::InvalidUrl`].
pub fn check_address(address: &str) -> Result<()> {
    match scheme(address) {
        Some(scheme) if scheme != "sqlite" && !is_postgres(scheme) => Err(unknown(scheme, address)),
        _ => Ok(()),
    }
}

fn unknown(scheme: &str, address: &str) -> Error {
    Error::InvalidUrl(format!("`{scheme}` in `{}` is neither postgresql nor sqlite", redacted(address)))
}

/// The scheme; `None` for a plain path.
fn scheme(address: &str) -> Option<&str> {
    let (scheme, _) = address.split_once(':')?;
    let plain = scheme.len() > 1 && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    plain.then_some(scheme)
}

fn is_postgres(scheme: &str) -> bool {
    matches!(scheme.split('+').next(), Some("postgres" | "postgresql"))
}

/// `sqlite:///a/b` is the absolute `/a/b`, `sqlite://a/b` and `sqlite:a/b` the relative `a/b`.
fn sqlite_path(address: &str) -> &str {
    let rest = &address["sqlite:".len()..];
    rest.strip_prefix("//").unwrap_or(rest)
}

/// The address with its password replaced by `***`.
#[must_use]
pub fn redacted(address: &str) -> String {
    let Some((head, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let shown = match authority.rsplit_once('@') {
        Some((user, host)) => {
            format!("{}@{host}", user.split_once(':').map_or(user.to_owned(), |(user, _)| format!("{user}:***")))
        }
        None => authority.to_owned(),
    };
    let tail = match tail.find("password=") {
        Some(at) => format!("{}password=***", &tail[..at]),
        None => tail.to_owned(),
    };
    format!("{head}://{shown}{tail}")
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: &str, settings: &Settings) -> Result<Arc<dyn Store>> {
    let mut options = taskyard_sqlite::Options::default();
    options.views = settings.views;
    Ok(taskyard_sqlite::SqliteStore::open_with(path, options).await?)
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(_: &str, _: &Settings) -> Result<Arc<dyn Store>> {
    Err(Error::InvalidUrl("this program was built without SQLite (feature `sqlite`)".into()))
}

#[cfg(feature = "postgres")]
async fn open_postgres(address: &str, settings: &Settings) -> Result<Arc<dyn Store>> {
    let options = taskyard_postgres::Options {
        views: settings.views,
        notify: settings.use_postgresql_notify,
        notify_channel: settings.notify_channel.clone(),
        listen_url: settings.listen_url.clone(),
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
    fn passwords_never_show() {
        for (address, shown) in [
            ("postgresql://u:p%40@h:5/d?x=1", "postgresql://u:***@h:5/d?x=1"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://h/d?user=u&password=secret", "postgres://h/d?user=u&password=***"),
            ("queue.db", "queue.db"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }

    #[test]
    fn schemes_and_paths() {
        assert_eq!(scheme("postgresql+asyncpg://h/d"), Some("postgresql+asyncpg"));
        assert!(is_postgres("postgresql+asyncpg") && is_postgres("postgres") && !is_postgres("mysql"));
        assert_eq!(scheme("/a/b.db"), None);
        assert_eq!(scheme("C:\\queue.db"), None);
        assert_eq!(sqlite_path("sqlite:///a/b"), "/a/b");
        assert_eq!(sqlite_path("sqlite://a/b"), "a/b");
        assert_eq!(sqlite_path("sqlite:a/b"), "a/b");
    }
}
