//! Settings of a store besides its path.

/// Settings of one [`crate::SqliteStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether `migrate` creates the views `queued_tasks`, `queued_task_logs` and `queued_task_workers`. Default: yes,
    /// unless `TASKYARD_VIEWS` is `false`, `0`, `no` or `off`.
    pub views: bool,
    /// Whether a file on a network file system is opened. Default: only if `TASKYARD_SQLITE_NETWORK` is `allow`. WAL
    /// needs memory shared by all processes: two hosts on one file corrupt it.
    pub network: bool,
}

impl Default for Options {
    fn default() -> Self {
        let views = std::env::var("TASKYARD_VIEWS").unwrap_or_default();
        let network = std::env::var("TASKYARD_SQLITE_NETWORK").unwrap_or_default();
        Self {
            views: !matches!(views.trim().to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"),
            network: network.trim().eq_ignore_ascii_case("allow"),
        }
    }
}
