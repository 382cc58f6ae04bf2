//! The context shared by all attempts of one server: the registry, the settings, the store, and the two output queues
//! (records while an attempt runs, its end when it is over).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Serves, Store};
use taskyard_core::{AdditionId, Client, Limits};
use tokio::sync::{Notify, watch};

use crate::attempt::{Attempt, Ended, ParkedLog};
use crate::execute::demand::DemandMessage;
use crate::layer::HookTasks;
use crate::primitives::batch_queue::BatchQueue;
use crate::{LiveConfig, Registry};

/// Shared by everything that runs tasks. Without a store (inline runs) records and ends are not written.
pub(crate) struct RunContext {
    pub registry: Arc<Registry>,
    pub settings: LiveConfig,
    pub store: Option<Arc<dyn Store>>,
    pub client: Option<Client>,
    /// Attempts with data to record.
    pub records: BatchQueue<Arc<Attempt>>,
    /// Ends of attempts.
    pub ends: BatchQueue<Ended>,
    /// Number of ends that wait for a record in flight.
    pub parting: AtomicUsize,
    /// True once the server stops.
    pub stopping: watch::Sender<bool>,
    /// Notified when an executor has determined what it can run.
    pub learned: Notify,
    /// Notified when this server has refused a kind.
    pub refused: Notify,
    /// Fingerprint of the functions of this process.
    pub rust_build: String,
    /// Fingerprint of the functions that the children can run; changed whenever there may be more of them.
    pub python_build: watch::Sender<String>,
    /// Requests for tasks, in servers that claim only on request.
    pub demand: BatchQueue<DemandMessage>,
    /// The reasons for parking that were logged.
    pub parked: ParkedLog,
    /// Hook calls that run after their attempts have ended.
    pub hook_tasks: HookTasks,
}

impl RunContext {
    pub fn new(
        registry: Arc<Registry>,
        settings: LiveConfig,
        store: Option<Arc<dyn Store>>,
        client: Option<Client>,
    ) -> Arc<Self> {
        let rust_build = Serves::fingerprint_of(registry.kinds());
        Arc::new(Self {
            rust_build,
            python_build: watch::Sender::new(AdditionId::generate().to_string()),
            refused: Notify::new(),
            hook_tasks: HookTasks::default(),
            registry,
            settings,
            store,
            client,
            records: BatchQueue::default(),
            ends: BatchQueue::default(),
            parting: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            learned: Notify::new(),
            demand: BatchQueue::default(),
            parked: ParkedLog::default(),
        })
    }

    /// Returns the builds and queues that a server with this engine serves.
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

    pub fn limits(&self) -> Limits {
        self.settings.get().limits
    }
}
