//! The isolation of the engine's statements.
//!
//! Each statement must see all that was committed before it, also by those whose lock it waited for. A role or a database may
//! set another isolation as its default (`default_transaction_isolation`); transactions of several round trips say theirs when
//! they begin, and single statements have the default of their connection.

use crate::options::Options;
use crate::pool::Role;
use crate::store::Inner;

pub(crate) const READ_COMMITTED: &str = "read committed";

/// The same on connections that ask for read committed in their first message, which leaves no state in a pooler's connection.
/// A pooler that does not take it is used as it is, with a warning.
pub(crate) async fn reading_committed(given: Inner, isolation: &str) -> Inner {
    // A role may be limited to one connection.
    given.pool.close().await;
    let on = |address| Inner::new(address, given.listen_address.clone(), Options::clone(&given.options));
    let asking = on(given.pool.address().reading_committed());
    match asking.pool.ask(Role::Ask, "SELECT 1", &[]).await {
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
