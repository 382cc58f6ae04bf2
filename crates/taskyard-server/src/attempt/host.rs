//! [`Host`]: what the process that runs attempts provides to all of them: the settings, the database, the values that bodies may take,
//! and the [`Outbox`] for what is to be written.
//!
//! Not here: which functions exist and which layers surround them. An attempt knows neither, so that a registry may know what an attempt
//! is; see `run_context.rs` for what the executors share.

use std::sync::Arc;

use taskyard_core::store::Store;
use taskyard_core::{Client, Limits};
use tokio::sync::{Notify, watch};

use super::hook_tasks::HookTasks;
use super::outbox::Outbox;
use super::states::States;
use crate::LiveConfig;

/// Shared by the attempts of one server, or of one run without a server.
pub(crate) struct Host {
    pub settings: LiveConfig,
    /// Without a store (inline runs) records and ends are not written.
    pub store: Option<Arc<dyn Store>>,
    pub client: Option<Client>,
    /// The application's values, one per type.
    pub states: States,
    pub outbox: Outbox,
    /// Hook calls that run after their attempts have ended.
    pub hook_tasks: HookTasks,
    /// True once the server stops.
    pub stopping: watch::Sender<bool>,
    /// Notified when this server has refused a kind.
    pub refused: Notify,
}

impl Host {
    pub fn limits(&self) -> Limits {
        self.settings.get().limits
    }
}
