//! Opens the store of a database address, and formats an address for messages.
//!
//! [`taskyard_config::database_kind`] decides which database an address names.

use std::path::Path;
use std::sync::Arc;

use taskyard_config::{DatabaseKind, check_place, database_kind};
use taskyard_core::settings::Settings;
use taskyard_core::{Error, Result, Store};

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
use taskyard_postgres::shown_address as shown_server;

#[cfg(not(feature = "postgres"))]
fn shown_server(_: &str) -> Option<String> {
    None
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
    let mut options = taskyard_sqlite::Options::default();
    options.views = settings.views;
    Ok(taskyard_sqlite::SqliteStore::open_with(path, options).await?)
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(_: &Path, _: &Settings) -> Result<Arc<dyn Store>> {
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
    use taskyard_config::check_address;

    use super::*;

    #[test]
    fn passwords_never_show() {
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
}
