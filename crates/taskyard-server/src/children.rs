//! The executor of tasks that run in child processes: one line of unstarted tasks, and children that take from it.
//!
//! A child is joined by a socket, its standard input, and speaks [`frame`]; it never touches the database. Children
//! start when there is more to do than those that run can take, up to `workers`; each runs up to `concurrency` tasks
//! at once and holds some more ready. They leave when idle, after many tasks, or when they have grown.
//!
//! # What must hold
//! - A task is ended exactly once, whatever its child says or does; what has not started goes back to the line.
//! - A body whose end was written does not run any more: what does not yield in time is ended with its process, after
//!   its neighbours had their time. They are released, for they are innocent.
//! - A child that died by itself is to blame: its only started task for a crash; of several, each is to run alone. A
//!   child says that a body begins before it begins.
//! - No child outlives this process: its socket ends, and the system kills it with the thread that started it.

mod asked;
mod child;
mod embedded;
pub mod frame;
mod heard;
mod knowing;
mod process;
mod signed;
mod telling;
mod watch;
mod yard;

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use taskyard_core::seal::Keys;
use taskyard_core::state::Runtime;
use taskyard_core::store::{Outcome, Signal};
use taskyard_core::{TaskId, TaskRecord, Token};
use tokio::sync::Notify;

use crate::ServerConfig;
use crate::attempt::{Attempt, Interrupt};
use crate::engine::{Engine, lock};
use crate::executor::room::{self, Pace};
use crate::executor::{Executor, Figures, Queued};
use crate::hooks::Heard;
use child::{Flight, Recall};
pub use embedded::Embedded;
use frame::Why;
use yard::Yard;

/// How long what was claimed waits for the first child to come up.
const COMING_UP: Duration = Duration::from_secs(15);

/// How child processes are started and when they are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of its environment besides this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of this process that it must not see.
    pub env_hidden: Vec<OsString>,
    /// Runs children within this process instead of the program.
    pub embedded: Option<Embedded>,
    /// A child that has run so many tasks leaves, and another takes its place (default 10,000; 0 = never).
    pub tasks_max: u64,
    /// A child that occupies so many bytes leaves when it can (default `None` = never).
    pub memory_bytes_max: Option<u64>,
    /// Questions of one child that may wait for their answers at once; more are refused (default 100,000).
    pub questions_max: usize,
}

impl ChildCommand {
    /// A program with its arguments.
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            env_hidden: Vec::new(),
            embedded: None,
            tasks_max: 10_000,
            memory_bytes_max: None,
            questions_max: 100_000,
        }
    }
}

/// Runs the tasks of one runtime in children.
pub(crate) struct Children {
    engine: Arc<Engine>,
    command: ChildCommand,
    handle: tokio::runtime::Handle,
    yard: Mutex<Yard>,
    changed: Notify,
    pace: Pace,
    /// No more children are started: the server stops.
    leaving: AtomicBool,
    closing: AtomicBool,
}

impl Children {
    /// Children are attended on `handle`, whose thread must live as long as they do.
    pub fn new(engine: Arc<Engine>, command: ChildCommand, handle: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            engine,
            command,
            handle,
            yard: Mutex::default(),
            changed: Notify::new(),
            pace: Pace::default(),
            leaving: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.engine.settings.get()
    }

    /// Tasks that one child holds ready beyond what it runs.
    fn ahead(&self) -> usize {
        self.pace.prefetch(1).min(self.config().claim_max)
    }

    fn keys(&self) -> Option<&dyn Keys> {
        self.engine.client.as_ref().map(|client| client.keys().as_ref())
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether the server stops: what its children die of does not count then.
    fn is_stopping(&self) -> bool {
        *self.engine.stopping.borrow()
    }

    /// A child came up with this code: the server's build is that one from now on.
    fn is_of(&self, code: Option<&str>) {
        if let Some(code) = code.filter(|code| self.build_of(Some(code)).is_none()) {
            self.engine.python_build.send_replace(code.to_owned());
        }
    }

    /// The server's build, if it is one of this code.
    fn build_of(&self, code: Option<&str>) -> Option<String> {
        let build = self.engine.python_build.borrow().clone();
        let is_same = code.is_some_and(|code| build.split('/').next() == Some(code));
        is_same.then_some(build)
    }

    fn end_unstarted(&self, queued: Queued, outcome: Outcome) {
        Attempt::new(queued.claimed, queued.claim, self.engine.clone()).end(outcome);
    }

    /// Hands out what is in the line, and starts another child if those that run cannot take it all.
    fn feed(self: &Arc<Self>, yard: &mut Yard) {
        let config = self.config();
        yard.telling.hand_out(&yard.children, Instant::now());
        yard.hand_out(config.concurrency.max(1), self.ahead());
        if self.is_closing()
            || self.leaving.load(Ordering::Acquire)
            || !yard.wants_another(config.workers.max(1), config.on_demand, Instant::now())
        {
            return;
        }
        if let Err(error) = process::start(self, yard, &config) {
            tracing::error!(%error, program = ?self.command.program, "cannot start a child process; trying again");
            yard.start_failed(Instant::now());
        }
    }
}

impl Executor for Arc<Children> {
    fn runtime(&self) -> Runtime {
        Runtime::Python
    }

    fn room(&self) -> usize {
        let config = self.config();
        let workers = config.workers.max(1);
        let yard = lock(&self.yard);
        // Nothing is claimed for children that do not come up: another server may have some that do.
        if yard.is_broken() {
            return 0;
        }
        let counts = yard.counts();
        // A blocked child takes nothing.
        let taking = workers.saturating_sub(counts.blocked);
        if taking == 0 {
            return 0;
        }
        let running = (counts.running - counts.resting).saturating_sub(counts.running_blocked);
        let free = (taking * config.concurrency.max(1)).saturating_sub(running);
        let ahead = self.pace.prefetch(workers).min(config.claim_max * 2);
        room::room(free, ahead, counts.unstarted)
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn accept(&self, tasks: Vec<Queued>) {
        let tasks = self.verified(tasks);
        let mut yard = lock(&self.yard);
        yard.line.extend(tasks);
        self.feed(&mut yard);
    }

    fn known(&self, reasons: &[String]) -> Vec<String> {
        self.known_of(reasons)
    }

    fn hears_deaths(&self) -> Option<bool> {
        self.hears()
    }

    fn tell_death(&self, dead: TaskRecord) -> BoxFuture<'_, Heard> {
        self.tell(&dead)
    }

    fn take_unstarted(&self, patience: Duration) -> Vec<Queued> {
        let now = Instant::now();
        let mut yard = lock(&self.yard);
        // The first child is on its way: an application may take a while to load, and giving back what waits for it would
        // claim it again and again.
        let patience =
            if patience > Duration::ZERO && yard.is_coming_up() { patience.max(COMING_UP) } else { patience };
        let late = |queued: &Queued| now.saturating_duration_since(queued.since) >= patience;
        let mut taken = Vec::new();
        while yard.line.front().is_some_and(late) {
            taken.extend(yard.line.pop_front());
        }
        let recalled = yard.recall(Recall::GiveBack, late);
        if !taken.is_empty() || recalled > 0 {
            self.pace.is_slow();
        }
        taken
    }

    fn signal(&self, signals: &[Signal]) {
        let meant: HashSet<(TaskId, Token)> = signals.iter().map(|signal| (signal.id, signal.token)).collect();
        if meant.is_empty() {
            return;
        }
        let is_meant = |queued: &Queued| meant.contains(&(queued.claimed.id, queued.claimed.token));
        let mut yard = lock(&self.yard);
        let (unstarted, line): (Vec<_>, Vec<_>) = std::mem::take(&mut yard.line).into_iter().partition(&is_meant);
        yard.line = line.into();
        yard.recall(Recall::Asked, is_meant);
        yard.interrupt(Interrupt::Asked, |attempt| meant.contains(&(attempt.claimed.id, attempt.claimed.token)));
        drop(yard);
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Interrupted);
        }
    }

    fn runs_alone(&self) -> bool {
        lock(&self.yard).children.values().any(|child| child.flights.values().any(Flight::is_alone))
    }

    fn interrupt_all(&self, why: Interrupt) {
        lock(&self.yard).interrupt(why, |_| true);
    }

    fn release_running(&self) {
        let mut yard = lock(&self.yard);
        let mut unstarted: Vec<Queued> = yard.line.drain(..).collect();
        for child in yard.children.values_mut() {
            // What it has may run elsewhere at once: here it must not go on, or begin.
            if !child.flights.is_empty() {
                child.kill();
            }
            for flight in std::mem::take(&mut child.flights).into_values() {
                match flight {
                    Flight::Sent { queued, .. } => unstarted.push(*queued),
                    Flight::Started { attempt, .. } => {
                        attempt.interrupt(Interrupt::Release);
                        attempt.end(Outcome::CutShort);
                    }
                }
            }
        }
        drop(yard);
        for queued in unstarted {
            self.end_unstarted(queued, Outcome::Released);
        }
    }

    fn watch(&self, now: Instant) {
        watch::watch(self, now);
    }

    fn figures(&self) -> Figures {
        let counts = lock(&self.yard).counts();
        Figures {
            workers_active: counts.active,
            workers_idle: counts.idle,
            running: counts.running,
            resting: counts.resting,
            unstarted: counts.unstarted,
            abandoned: 0,
            questions: counts.questions,
        }
    }

    fn renew(&self) {
        let now = Instant::now();
        let mut yard = lock(&self.yard);
        yard.children.values_mut().for_each(|child| child.leave_or_end(now));
        yard.renew();
        self.feed(&mut yard);
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        let now = Instant::now();
        lock(&self.yard).children.values_mut().for_each(|child| child.leave_or_end(now));
    }

    fn has_left(&self) -> bool {
        // One that lives in this process has no exit that could be waited for.
        lock(&self.yard).children.values().all(|child| child.pid.is_none())
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let mut yard = lock(&self.yard);
        yard.line.clear();
        for child in yard.children.values() {
            child.kill();
        }
    }
}

/// The word for a reason that crosses to a child.
fn why(interrupt: Interrupt) -> Why {
    match interrupt {
        Interrupt::Asked => Why::Asked,
        Interrupt::Release => Why::Release,
        Interrupt::Timeout => Why::Timeout,
    }
}
