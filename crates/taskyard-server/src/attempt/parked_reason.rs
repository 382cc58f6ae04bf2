//! The reason with which a task is parked whose kind a server does not have, and the kind in such a reason.

/// Returns the reason with which a task of an unknown kind is parked. The text is part of the protocol between servers.
#[must_use]
pub fn parked_reason(kind: &str) -> String {
    format!("kind `{kind}`")
}

/// Returns the kind in such a reason.
#[must_use]
pub fn kind_of_reason(reason: &str) -> Option<&str> {
    reason.strip_prefix("kind `")?.strip_suffix('`')
}
