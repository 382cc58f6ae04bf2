//! The isolation level of the engine's statements.
//!
//! Each statement must see all that was committed before it, also by a transaction whose lock it waited for. A role or
//! a database may set another level as its default (`default_transaction_isolation`): transactions of several round
//! trips name their level when they begin, and single statements use the default of their connection.

use crate::inner::Inner;
use crate::options::Options;
use crate::pool::Role;

pub(crate) const READ_COMMITTED: &str = "read committed";

/// Returns the same store on connections that request read committed in their startup message, which leaves no state in
/// a pooler's connection. A pooler that rejects this is used unchanged, with a warning.
pub(crate) async fn reading_committed(given: Inner, isolation: &str) -> Inner {
    // Closed first: the role may be limited to one connection.
    given.pool.close().await;
    let on = |address| Inner::new(address, given.listen_address.clone(), Options::clone(&given.options));
    let asking = on(given.pool.address().reading_committed());
    match asking.pool.query_idempotent(Role::Client, "SELECT 1", &[]).await {
        Ok(_) => asking,
        Err(error) => {
            tracing::warn!(
                %error,
                "default_transaction_isolation is `{isolation}`, and it cannot be changed through this connection: set it \
                 to `{READ_COMMITTED}` for this role (ALTER ROLE ... SET default_transaction_isolation = '{READ_COMMITTED}')"
            );
            on(given.pool.address().clone())
        }
    }
}
