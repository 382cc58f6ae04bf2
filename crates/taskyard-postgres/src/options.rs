//! What a store can be told besides its address.

use std::time::Duration;

use taskyard_core::Limits;

/// Settings of one [`crate::PostgresStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether `migrate` makes the views `queued_tasks` and so on in the first schema of the search path (default yes).
    pub views: bool,
    /// Whether commits are announced with NOTIFY and those of others heard with LISTEN (default yes).
    pub notify: bool,
    /// The channel on which new work is announced: letters, digits, underscores (default `queue_new_task`).
    pub notify_channel: String,
    /// A direct address for LISTEN, if the other one goes through a pooler in transaction mode.
    pub listen_url: Option<String>,
    /// The most connections for work (default 3). One more is for heartbeats and one for LISTEN. Each is opened on first use.
    pub pool_size: usize,
    /// The limits that the functions of SQL keep to once a server has entered through this store.
    pub limits: Limits,
    /// How long one attempt to connect may take (default 5 s).
    pub connect_timeout: Duration,
    /// After this time a statement without an answer counts as lost (default 30 s); some statements have less.
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
