//! Settings of a store besides its address.

use std::time::Duration;

use taskyard_core::Limits;

/// Settings of one [`crate::PostgresStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether `migrate` creates the views `queued_tasks` and so on in the first schema of the search path (default:
    /// true).
    pub views: bool,
    /// Whether commits are announced with NOTIFY, and those of other processes received with LISTEN (default: true).
    pub notify: bool,
    /// Channel for announcements: letters, digits and underscores (default: `queue_new_task`).
    pub notify_channel: String,
    /// Direct address for LISTEN, needed if the main address leads through a pooler in transaction mode.
    pub listen_url: Option<String>,
    /// Maximum number of connections for work, 1 to 3 (default 3); other values are clamped. One more is for heartbeats and
    /// one for LISTEN. Each is opened on first use.
    pub pool_size: usize,
    /// Limits that the SQL functions enforce once a server has entered through this store.
    pub limits: Limits,
    /// Maximum time for one attempt to connect (default 5 s).
    pub connect_timeout: Duration,
    /// Time after which a statement without a response counts as lost (default 30 s); some statements have less.
    pub answer_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            views: true,
            notify: true,
            notify_channel: "queue_new_task".into(),
            listen_url: None,
            pool_size: 3,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(5),
            answer_max: Duration::from_secs(30),
        }
    }
}
