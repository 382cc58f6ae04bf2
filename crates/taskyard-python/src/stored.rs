//! Facts that this process reads from a database besides its tasks: its identity and the number of running servers.

use std::os::unix::fs::MetadataExt as _;

use taskyard::Store;
use taskyard_config::{DatabaseKind, database_kind};
use taskyard_core::Result;

/// Query that returns the same text over every connection to one database, whatever pooler or address is used. The
/// server's start time distinguishes two servers; the databases of one server have numbers.
const IDENTITY: &str = include_str!("identity.sql");

/// Returns the identity of the file in an address, as JSON; `None` if the address is that of a server, which must be
/// queried.
pub fn of_file(address: &str) -> Result<Option<Vec<u8>>> {
    let DatabaseKind::File(path) = database_kind(address)? else { return Ok(None) };
    let identity = match std::fs::metadata(&path) {
        Ok(found) => format!("file {}/{}", found.dev(), found.ino()),
        // A missing file is identified by its path: no existing database can be the same.
        Err(_) => format!("missing {}", std::path::absolute(&path).unwrap_or(path).display()),
    };
    Ok(Some(serde_json::Value::from(identity).to_string().into_bytes()))
}

/// Returns the identity of a server's database, as JSON.
pub async fn of_server(store: &dyn Store) -> Result<Vec<u8>> {
    let answer = store.query(IDENTITY, 1).await?;
    let identity = answer.rows.first().and_then(|row| row.first()).map_or("null", |value| value.get());
    Ok(identity.as_bytes().to_vec())
}

/// Returns the number of servers that are running on a database, as JSON.
pub async fn live_servers(store: &dyn Store) -> Result<Vec<u8>> {
    let live = store.servers().await?.iter().filter(|server| server.is_running).count();
    Ok(live.to_string().into_bytes())
}
