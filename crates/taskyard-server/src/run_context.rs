//! The context shared by all attempts of one server: the registry, the settings, the store, and the two output queues
//! (records while an attempt runs, its end when it is over).

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Finish, Outcome, Serves, Store, WriteReply};
use taskyard_core::{AdditionId, ClaimId, Client, Error, Limits};
use tokio::sync::{Notify, oneshot, watch};

use crate::attempt::{Attempt, FailureLog, ParkedLog};
use crate::fetcher::DemandMessage;
use crate::layer::HookTasks;
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

/// The end of an attempt that is to be written.
#[derive(Debug)]
pub(crate) struct Ended {
    pub finish: Finish,
    pub claim: ClaimId,
    /// Receives the store's reply.
    pub answer: Option<oneshot::Sender<WriteReply>>,
    /// The error of the database, if this end was refused by itself. Boxed: ends are moved often and refused rarely.
    pub refusal: Option<Box<Refusal>>,
    /// Logged once the end is stored, if it is a failure that is not logged elsewhere.
    pub failure: Option<Box<FailureLog>>,
}

/// An end that the database refuses although nothing else is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// When the end was first refused by itself, and how many ends this server had written by then.
    pub since: (Instant, u64),
    pub error: Error,
}

impl Ended {
    /// Takes the end out and leaves one that writes nothing.
    pub fn take_finish(&mut self) -> Finish {
        let (id, token) = (self.finish.id, self.finish.token);
        let nothing = Finish { id, token, outcome: Outcome::Released, context: None, logs: Vec::new() };
        std::mem::replace(&mut self.finish, nothing)
    }

    /// Logs a failure that was stored as `finish` with this reply.
    pub fn log_failure(&self, finish: &Finish, reply: WriteReply) {
        if let Some(failure) = &self.failure {
            failure.write(finish, reply);
        }
    }

    /// Returns the approximate size in bytes of the end in a statement.
    pub fn weight(&self) -> usize {
        let outcome = match &self.finish.outcome {
            Outcome::Done { result } => result.len(),
            Outcome::Failed(error) | Outcome::Retry { error, .. } | Outcome::Crashed(error) => {
                error.message.len() + error.traceback.as_ref().map_or(0, String::len)
            }
            _ => 0,
        };
        let logs: usize = self.finish.logs.iter().map(crate::attempt::line_bytes).sum();
        64 + outcome + logs + self.finish.context.as_ref().map_or(0, Vec::len)
    }
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

/// A queue that any thread may add to and one loop drains, with one lock and one wake-up for a whole batch.
#[derive(Debug)]
pub(crate) struct BatchQueue<T> {
    items: Mutex<Vec<T>>,
    notify: Notify,
}

impl<T> Default for BatchQueue<T> {
    fn default() -> Self {
        Self { items: Mutex::default(), notify: Notify::new() }
    }
}

impl<T> BatchQueue<T> {
    pub fn push(&self, item: T) {
        lock(&self.items).push(item);
        self.notify.notify_one();
    }

    pub fn append(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        lock(&self.items).append(items);
        self.notify.notify_one();
    }

    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *lock(&self.items))
    }

    /// Wakes the loop although nothing was added.
    pub fn notify(&self) {
        self.notify.notify_one();
    }

    pub fn len(&self) -> usize {
        lock(&self.items).len()
    }

    /// Returns when something was added since the last return.
    pub async fn filled(&self) {
        self.notify.notified().await;
    }
}

/// Locks a mutex and ignores poisoning: none of our locks is held while foreign code runs.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
