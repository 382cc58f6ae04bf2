//! The interface between claiming and running: an executor takes claimed tasks of one runtime and reports the end of
//! each to the [`Outbox`].
//!
//! There are two executors: [`in_process`] for Rust tasks, [`children`] for all others. Beside them: what they share
//! ([`run_context`]), how much to claim (`capacity`), the results of parents in arguments (`references`), and requests of children for
//! tasks (`demand`).
//!
//! Invariants: an accepted task is ended exactly once; a task that has not started can be taken back at any time; no
//! method waits for the database.
//!
//! Imports `registry` and the rooms before it; an executor knows neither the loops nor the other executor.

pub(crate) mod capacity;
pub mod children;
pub(crate) mod demand;
pub(crate) mod in_process;
pub(crate) mod references;
pub(crate) mod run_context;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::seal::Opened;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Claimed, Outcome, Signal};
use taskyard_core::{ClaimId, TaskRecord};
use tokio::sync::Notify;

use crate::TaskDef;
use crate::attempt::body::Function;
use crate::attempt::{Attempt, ConcurrencySlot, Host, Interrupt, Outbox};
use crate::layer::death_hooks::DeliveryResult;

/// A claimed task that waits for its start.
pub(crate) struct Queued {
    pub claimed: Claimed,
    pub claim: ClaimId,
    /// The function, if the task runs in this process.
    pub def: Option<&'static TaskDef>,
    /// When the task was claimed.
    pub since: Instant,
    /// Serialised values of the payload whose signatures were verified.
    pub opened: Vec<Opened>,
}

impl Queued {
    /// Returns the function; only for tasks that run in this process.
    pub fn function(&self) -> &'static TaskDef {
        self.def.expect("the fetcher looked it up")
    }

    /// Creates the attempt of a task whose body begins, may have begun, or was refused by its child.
    pub fn begin(self, host: &Arc<Host>, slot: Option<Arc<dyn ConcurrencySlot>>) -> Arc<Attempt> {
        let function = self.def.map(|def| def as &dyn Function);
        Attempt::new(host.clone(), self.claimed, self.claim, function, slot)
    }

    /// Ends the task, which has not started.
    pub fn end(self, outcome: Outcome, outbox: &Outbox) {
        outbox.ends.push(outbox.ended(&self.claimed, self.claim, outcome));
    }
}

/// Current activity of an executor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExecutorStats {
    pub workers_active: usize,
    pub workers_idle: usize,
    pub running: usize,
    /// Running tasks that wait for other tasks and have released their concurrency slots.
    pub released_slots: usize,
    pub unstarted: usize,
    pub abandoned: usize,
    /// Open requests of its child processes.
    pub questions: usize,
}

/// Runs the tasks of one runtime.
pub(crate) trait Executor: Send + Sync {
    /// Returns the runtime whose tasks it runs.
    fn runtime(&self) -> Runtime;

    /// Returns the number of further tasks that could start soon; 0 = claim nothing.
    fn capacity(&self) -> usize;

    /// Notifies one listener when capacity may have become free or a task has ended.
    fn changed(&self) -> &Notify;

    /// Takes tasks, to be started in this order.
    fn accept(&self, tasks: Vec<Queued>);

    /// Returns the tasks that have not started within `patience`.
    fn take_unstarted(&self, patience: Duration) -> Vec<Queued>;

    /// Passes cancel and stop requests to their attempts; unknown attempts are ignored.
    fn signal(&self, signals: &[Signal]);

    /// Returns those of the parking reasons that are known not to apply here. A reason that must be looked up first is
    /// reported through [`crate::execute::run_context::RunContext::learned`] later.
    fn known(&self, reasons: &[String]) -> Vec<String>;

    /// Returns whether there are dead-letter hooks; `None` while that is unknown.
    fn hears_deaths(&self) -> Option<bool>;

    /// Calls the dead-letter hooks with a dead letter; one at a time.
    fn deliver_death(&self, dead: TaskRecord) -> BoxFuture<'_, DeliveryResult>;

    /// Returns true if a running task must run alone.
    fn runs_alone(&self) -> bool {
        false
    }

    /// Requests the end of all running attempts.
    fn interrupt_all(&self, why: Interrupt);

    /// Ends all running attempts as released; later results of their threads are ignored.
    fn release_running(&self);

    /// Checks for bodies that do not yield; to be called several times a second.
    fn watch(&self, now: Instant);

    /// Returns the number of abandoned threads if it is too large to continue.
    fn worn_out(&self, abandoned_max: usize) -> Option<usize> {
        let abandoned = self.stats().abandoned;
        (abandoned_max > 0 && abandoned >= abandoned_max).then_some(abandoned)
    }

    /// Returns true if the runtime of its bodies was shut down.
    fn has_lost_its_runtime(&self) -> bool {
        false
    }

    /// Returns the current activity.
    fn stats(&self) -> ExecutorStats;

    /// Replaces its child processes by new ones, which load the application's code anew. Tasks in the old processes may
    /// end there.
    fn renew(&self) {}

    /// Asks its child processes to exit; nothing runs, and nothing will. Each stops its application first.
    fn leave(&self) {}

    /// Returns true if none of its child processes is left.
    fn has_left(&self) -> bool {
        true
    }

    /// Ends its threads; bodies that still run are dropped.
    fn close(&self);
}
