//! What this process reads of a database beside its tasks: which one it is, and which servers run on it.

use std::os::unix::fs::MetadataExt as _;

use taskyard::{DatabaseKind, Store, database_kind};
use taskyard_core::Result;

/// The same text over every connection to one database, whatever pooler or address leads there. The server's start tells two
/// servers apart; the databases of one have numbers.
const IDENTITY: &str = include_str!("identity.sql");

/// The identity of the file that an address names, as JSON; `None` if it names a server, which must be asked.
pub fn of_file(address: &str) -> Result<Option<Vec<u8>>> {
    let DatabaseKind::File(path) = database_kind(address)? else { return Ok(None) };
    let identity = match std::fs::metadata(&path) {
        Ok(found) => format!("file {}/{}", found.dev(), found.ino()),
        // No other database is the one that is not there yet.
        Err(_) => format!("missing {}", std::path::absolute(&path).unwrap_or(path).display()),
    };
    Ok(Some(serde_json::Value::from(identity).to_string().into_bytes()))
}

/// The identity of a server's database, as JSON.
pub async fn of_server(store: &dyn Store) -> Result<Vec<u8>> {
    let answer = store.query(IDENTITY, 1).await?;
    let identity = answer.rows.first().and_then(|row| row.first()).map_or("null", |value| value.get());
    Ok(identity.as_bytes().to_vec())
}

/// How many servers run on a database now, as JSON.
pub async fn live_servers(store: &dyn Store) -> Result<Vec<u8>> {
    let live = store.servers().await?.iter().filter(|server| server.is_running).count();
    Ok(live.to_string().into_bytes())
}
