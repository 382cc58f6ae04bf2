//! The seam between claiming and running: an executor takes claimed tasks of one runtime and reports each one's end
//! through [`crate::attempt::Attempt::end`].
//!
//! What must hold: a task that was accepted is ended exactly once; one that has not started can be taken back at any
//! time; nothing here waits for the database.

mod blocking;
mod crew;
mod line;
mod local;
mod pending;
mod poll_watch;
mod pool;
pub(crate) mod room;
mod running;
mod shared;
mod watchdog;
mod worker;

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::seal::Opened;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Claimed, Signal};
use taskyard_core::{ClaimId, TaskRecord};
use tokio::sync::Notify;

pub(crate) use pool::Pool;
pub(crate) use shared::SharedRuntime;

use crate::TaskDef;
use crate::attempt::Interrupt;
use crate::hooks::Heard;

/// A claimed task that waits for its turn.
pub(crate) struct Queued {
    pub claimed: Claimed,
    pub claim: ClaimId,
    /// Its function, if it is one of this process.
    pub def: Option<&'static TaskDef>,
    /// When it was claimed.
    pub since: Instant,
    /// Serialised values of its payload whose signatures were verified.
    pub opened: Vec<Opened>,
}

impl Queued {
    /// Its function, where only tasks of this process come.
    pub fn function(&self) -> &'static TaskDef {
        self.def.expect("the fetcher looked it up")
    }
}

/// What an executor does now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub workers_active: usize,
    pub workers_idle: usize,
    pub running: usize,
    /// Of those that run, those that wait for other tasks and have left their places to others.
    pub resting: usize,
    pub unstarted: usize,
    pub abandoned: usize,
    /// What its processes ask and wait for.
    pub questions: usize,
}

/// Runs the tasks of one runtime.
pub(crate) trait Executor: Send + Sync {
    /// Which tasks.
    fn runtime(&self) -> Runtime;

    /// How many more could start soon; 0 = claim nothing.
    fn room(&self) -> usize;

    /// Rings (for one listener) when room may have come up or something ended.
    fn changed(&self) -> &Notify;

    /// Takes tasks, to be started in this order.
    fn accept(&self, tasks: Vec<Queued>);

    /// Gives back what has not started within `patience`.
    fn take_unstarted(&self, patience: Duration) -> Vec<Queued>;

    /// Passes requests to cancel or stop on to the attempts meant; unknown ones are of no concern.
    fn signal(&self, signals: &[Signal]);

    /// Which of these reasons, for which tasks are parked, do not hold here, as far as is known by now. What must be
    /// found out first rings [`crate::engine::Engine::learned`].
    fn known(&self, reasons: &[String]) -> Vec<String>;

    /// Whether there are hooks on death; `None` while nobody knows.
    fn hears_deaths(&self) -> Option<bool>;

    /// Calls the hooks on death with a dead letter; one at a time.
    fn tell_death(&self, dead: TaskRecord) -> BoxFuture<'_, Heard>;

    /// Whether something runs here that must have nothing beside it.
    fn runs_alone(&self) -> bool {
        false
    }

    /// Asks everything that runs to end.
    fn interrupt_all(&self, why: Interrupt);

    /// Ends, as released, whatever is still running; its thread's later word does not count.
    fn release_running(&self);

    /// Looks for bodies that do not yield; to be called several times a second.
    fn watch(&self, now: Instant);

    /// How many threads were given up, if that is too many to go on.
    fn worn_out(&self, abandoned_max: usize) -> Option<usize> {
        let abandoned = self.figures().abandoned;
        (abandoned_max > 0 && abandoned >= abandoned_max).then_some(abandoned)
    }

    /// Whether the runtime that its bodies run on was shut down.
    fn has_lost_its_runtime(&self) -> bool {
        false
    }

    /// What it does now.
    fn figures(&self) -> Figures;

    /// Replaces its processes by new ones, which load the application's code anew. What runs in the old ones may end.
    fn renew(&self) {}

    /// Tells its processes to leave; nothing runs, and nothing more will. Each runs its application's own stop first.
    fn leave(&self) {}

    /// Whether no process of its own is left.
    fn has_left(&self) -> bool {
        true
    }

    /// Ends its threads; bodies that still run are dropped.
    fn close(&self);
}
