//! [`RunContext`]: what the executors and loops of one server share. What its attempts use of that is [`Host`].

use std::sync::Arc;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Serves, Store};
use taskyard_core::{AdditionId, Client};
use tokio::sync::{Notify, watch};

use super::demand::DemandMessage;
use crate::attempt::{HookTasks, Host, Outbox, ParkedLog};
use crate::primitives::batch_queue::BatchQueue;
use crate::{LiveConfig, Registry};

/// Shared by everything that runs tasks.
pub(crate) struct RunContext {
    pub registry: Arc<Registry>,
    pub settings: LiveConfig,
    pub client: Option<Client>,
    pub host: Arc<Host>,
    /// Notified when an executor has determined what it can run.
    pub learned: Notify,
    /// Fingerprint of the functions of this process.
    pub rust_build: String,
    /// Fingerprint of the functions that the children can run; changed whenever there may be more of them.
    pub python_build: watch::Sender<String>,
    /// Requests for tasks, in servers that claim only on request.
    pub demand: BatchQueue<DemandMessage>,
}

impl RunContext {
    pub fn new(
        registry: Arc<Registry>,
        settings: LiveConfig,
        store: Option<Arc<dyn Store>>,
        client: Option<Client>,
    ) -> Arc<Self> {
        let rust_build = Serves::fingerprint_of(registry.kinds());
        let host = Host {
            settings: settings.clone(),
            store,
            client: client.clone(),
            states: registry.states().clone(),
            outbox: Outbox::new(ParkedLog::new(rust_build.clone(), registry.namespace().cloned())),
            hook_tasks: HookTasks::default(),
            stopping: watch::Sender::new(false),
            refused: Notify::new(),
        };
        Arc::new(Self {
            registry,
            settings,
            client,
            host: Arc::new(host),
            learned: Notify::new(),
            rust_build,
            python_build: watch::Sender::new(AdditionId::generate().to_string()),
            demand: BatchQueue::default(),
        })
    }

    /// Returns the builds and queues that a server with this context serves.
    pub fn serves(&self) -> Serves {
        let config = self.settings.get();
        let rust = config.run_rust.then(|| (Runtime::Rust, self.rust_build.clone()));
        let python = config.children.is_some().then(|| (Runtime::Python, self.python_build.borrow().clone()));
        Serves {
            builds: rust.into_iter().chain(python).collect(),
            queues: config.queues.clone().filter(|queues| !queues.is_empty()),
        }
    }

    /// Gives the server a unique Python build: its children can run more kinds than the fingerprint of their code
    /// implies.
    pub fn is_another_python_build(&self) {
        self.python_build.send_modify(|build| {
            let code = build.split('/').next().unwrap_or_default().to_owned();
            *build = format!("{code}/{}", AdditionId::generate());
        });
    }
}
