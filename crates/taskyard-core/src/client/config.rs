//! The configuration of a client and its defaults. The settings of the same names are in [`crate::settings`].

use std::time::Duration;

use crate::{Limits, Namespace, Unlisted};

/// Configuration of a client; can be changed at run time with [`Client::configure`](super::Client::configure).
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Size limits, checked at the call.
    pub limits: Limits,
    /// Namespace of the kinds that are added (default: none).
    pub namespace: Option<Namespace>,
    /// Retries of tasks that set none (default 3).
    pub max_retries: u32,
    /// Maximum duration of an attempt of tasks that set none (default 300 s; `None` = no limit).
    pub timeout: Option<Duration>,
    /// Maximum number of additions in memory that are neither stored nor refused (default 10,000). A larger group is
    /// accepted if there is no other addition.
    pub waiting_max: usize,
    /// Maximum size of these additions in bytes (default 64 MiB).
    pub waiting_bytes_max: usize,
    /// Polling interval of waiting references while no notifications of other processes arrive (default 2 s).
    pub polling_interval: Duration,
    /// Polling interval of waiting references otherwise (default 30 s).
    pub fallback_polling_interval: Duration,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    pub unlisted: Unlisted,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            namespace: None,
            max_retries: 3,
            timeout: Some(Duration::from_secs(300)),
            waiting_max: 10_000,
            waiting_bytes_max: 64 << 20,
            polling_interval: Duration::from_secs(2),
            fallback_polling_interval: Duration::from_secs(30),
            unlisted: Unlisted::default(),
        }
    }
}
