//! Runs everything runnable until the queue is empty, then returns; used by tests in place of a server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use taskyard_core::state::Runtime;
use taskyard_core::store::{Beat, ClaimRequest, Claimed, DeadTake, Outcome, StepReport, Store, WriteReply};
use taskyard_core::{ClaimId, Client, Error, Failure, Result, ServerId, TaskId};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::drive::{drive, passed};
use crate::attempt::Ended;
use crate::attempt::{Attempt, End, Interrupt, current, resolve_outcome};
use crate::execute::references;
use crate::execute::run_context::RunContext;
use crate::loops::heartbeat::newcomer;
use crate::loops::recorder;
use crate::{LiveConfig, Registry, Run, ServerConfig, parked_reason};

/// Long enough for any test.
const LEASE: Duration = Duration::from_secs(3_600);
/// Pause before ends of locked tasks are retried.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of tasks that run at once; more than one, because some may wait for others.
const AT_ONCE: usize = 100;
/// Maximum time for a body to be dropped after its time limit.
const DROP_MAX: Duration = Duration::from_secs(2);
/// Interval between two claims while a task runs.
const LOOK: Duration = Duration::from_millis(20);

/// Runs every task that is runnable or due, and those which become runnable by that, and returns the number of
/// attempts. Tasks that wait for a later time, and those whose kind is not registered, are left.
///
/// Async bodies run on the calling runtime, if there is one, the others on threads of their own. Time limits follow the
/// machine's clock, even if the caller's runtime has paused its own.
///
/// # Errors
/// - [`Error::InvalidArgument`] if two functions have the same kind, if the system refuses a thread, or if a runnable
///   task takes a state value that the registry does not have ([`Registry::state`]). Such a task is left, and the tasks
///   that run beside it are completed first.
/// - [`Error::Locked`] if the only runnable tasks are locked by other sessions.
/// - The store's other errors, such as [`Error::Connection`].
pub async fn drain(store: Arc<dyn Store>, client: Client, registry: impl Into<Arc<Registry>>) -> Result<usize> {
    let registry: Arc<Registry> = registry.into();
    registry.check_kinds()?;
    let registry = registry.without_skipped();
    crate::primitives::panics::record_locations(current::is_current);
    current::install();
    let caller = Handle::try_current().ok();
    let (send, receive) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("taskyard-drain".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let drained = runtime.map_err(|error| refused(&error)).and_then(|runtime| {
            let local = tokio::task::LocalSet::new();
            let drained = local.block_on(&runtime, run(store, client, registry, caller));
            drop(local);
            runtime.shutdown_background();
            drained
        });
        let _ = send.send(drained);
    });
    thread.map_err(|error| refused(&error))?;
    receive.await.unwrap_or(Err(Error::ShutDown("the drain's thread has been shut down")))
}

fn refused(error: &std::io::Error) -> Error {
    Error::InvalidArgument { what: "drain", why: format!("the system refuses a thread: {error}") }
}

struct Drain {
    run_context: Arc<RunContext>,
    store: Arc<dyn Store>,
    server: ServerId,
    client: Client,
    caller: Option<Handle>,
    running: HashMap<TaskId, Arc<Attempt>>,
    ran: usize,
    /// Set when a task lacked its state value: nothing more is claimed.
    refused: Option<Error>,
}

async fn run(store: Arc<dyn Store>, client: Client, registry: Arc<Registry>, caller: Option<Handle>) -> Result<usize> {
    let config = ServerConfig { name: "drain".into(), lease: LEASE, ..ServerConfig::default() };
    let server = ServerId::generate();
    let run_context = RunContext::new(registry, LiveConfig::new(config), Some(store.clone()), Some(client.clone()));
    store.server_enter(&newcomer(server, &run_context.settings.get(), run_context.serves())).await?;
    run_context.host.hook_tasks.run_on(caller.clone());
    let records = tokio::task::spawn_local(recorder::run(run_context.host.clone(), store.clone()));
    let mut drain =
        Drain { run_context, store, server, client, caller, running: HashMap::new(), ran: 0, refused: None };
    let ran = drain.run_all().await;
    drain.run_context.host.hook_tasks.until_none().await;
    records.abort();
    drain.store.server_leave(server).await?;
    ran
}

impl Drain {
    async fn run_out(&mut self) -> Result<usize> {
        let mut signal = self.store.notifications().signal.listen();
        loop {
            // Tasks added by tasks are part of the queue.
            self.client.flush().await?;
            self.upkeep().await?;
            let capacity = if self.refused.is_some() { 0 } else { AT_ONCE - self.running.len().min(AT_ONCE) };
            let (claim, mut tasks, alone_waiting) = self.claim(capacity, false).await?;
            if tasks.is_empty() && self.running.is_empty() && alone_waiting {
                let (claim, alone, _) = self.claim(1, true).await?;
                self.start(claim, alone);
            } else if tasks.is_empty() && self.running.is_empty() && self.run_context.host.outbox.ends.len() == 0 {
                return self.refused.take().map_or(Ok(self.ran), Err);
            }
            self.start(claim, std::mem::take(&mut tasks));
            if !self.running.is_empty() {
                tokio::select! {
                    () = self.run_context.host.outbox.ends.filled() => {}
                    () = signal.notified() => self.pass_signals_on().await?,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            self.write().await?;
        }
    }

    /// Repeats until neither tasks nor hooks are left, since each may add the other.
    async fn run_all(&mut self) -> Result<usize> {
        loop {
            let ran = self.run_out().await?;
            if self.deliver_deaths().await? == 0 {
                return Ok(ran);
            }
        }
    }

    /// Calls the dead-letter hooks and returns the number of dead letters.
    async fn deliver_deaths(&self) -> Result<usize> {
        let mut told = 0;
        let hooks = self.run_context.registry.death_hooks();
        let namespace = self.run_context.registry.namespace().cloned();
        let request = DeadTake { server: self.server, runtime: Runtime::Rust, queues: None, namespace, limit: AT_ONCE };
        while !hooks.is_empty() {
            let ids = self.store.dead_take(&request).await?;
            if ids.is_empty() {
                break;
            }
            for dead in self.store.get(&ids).await?.iter().flatten() {
                hooks.call(dead).await;
            }
            self.store.dead_told(self.server, &ids, true).await?;
            told += ids.len();
        }
        Ok(told)
    }

    async fn upkeep(&self) -> Result<()> {
        while self.store.promote().await?.more {}
        while more(self.store.cascade().await?) {}
        while more(self.store.settle().await?) {}
        while self.store.regroup().await?.more {}
        Ok(())
    }

    async fn claim(&self, limit: usize, alone: bool) -> Result<(ClaimId, Vec<Claimed>, bool)> {
        let claim = ClaimId::generate();
        if limit == 0 {
            return Ok((claim, Vec::new(), false));
        }
        let request = ClaimRequest {
            server: self.server,
            claim,
            runtime: Runtime::Rust,
            queues: None,
            limit,
            alone,
            cursor: None,
        };
        let reply = self.store.claim(&request).await?;
        if reply.passed_over && reply.tasks.is_empty() && self.running.is_empty() {
            return Err(Error::Locked("a task that could run".into()));
        }
        let max = self.run_context.host.limits().arguments_filled_bytes_max;
        let mut tasks = Vec::with_capacity(reply.tasks.len());
        for mut claimed in reply.tasks {
            if references::has_references(&claimed) {
                match references::fill(self.store.as_ref(), &mut claimed, max).await {
                    Err(error @ Error::OverLimit { .. }) => {
                        let failure = Failure::new("OverLimit", error.to_string());
                        self.end(&claimed, claim, Outcome::Failed(failure));
                        continue;
                    }
                    filled => filled?,
                }
            }
            tasks.push(claimed);
        }
        Ok((claim, tasks, reply.alone_waiting))
    }

    fn start(&mut self, claim: ClaimId, tasks: Vec<Claimed>) {
        for claimed in tasks {
            if claimed.expired {
                self.end(&claimed, claim, Outcome::Expired);
            } else if let Some(def) = self.run_context.registry.get(&claimed.kind) {
                if let Err(error) = self.run_context.registry.check_state(def) {
                    self.refused = Some(error);
                    self.end(&claimed, claim, Outcome::Released);
                    continue;
                }
                let attempt = Attempt::new(self.run_context.host.clone(), claimed, claim, Some(def), None);
                self.running.insert(attempt.id(), attempt.clone());
                self.ran += 1;
                let registry = self.run_context.registry.clone();
                tokio::task::spawn_local(one(registry, attempt, def.run, self.caller.clone()));
            } else {
                let (reason, build) = (parked_reason(&claimed.kind), self.run_context.rust_build.clone());
                self.end(&claimed, claim, Outcome::Refused { reason, build });
            }
        }
    }

    /// Ends a task that has not started.
    fn end(&self, claimed: &Claimed, claim: ClaimId, outcome: Outcome) {
        let outbox = &self.run_context.host.outbox;
        outbox.ends.push(outbox.ended(claimed, claim, outcome));
    }

    async fn pass_signals_on(&self) -> Result<()> {
        let beat = Beat {
            server: self.server,
            lease: LEASE,
            workers_max: 1,
            workers_active: 1,
            workers_idle: 0,
            tasks_running: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
        };
        for signal in self.store.server_beat(&beat).await?.signals {
            if let Some(attempt) = self.running.get(&signal.id).filter(|it| it.claimed.token == signal.token) {
                attempt.interrupt(Interrupt::Asked);
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let mut ends: Vec<Ended> = self.run_context.host.outbox.ends.take();
        ends.sort_unstable_by_key(|ended| ended.finish.id);
        if ends.is_empty() {
            return Ok(());
        }
        for ended in &ends {
            self.running.remove(&ended.finish.id);
        }
        loop {
            let finishes: Vec<_> = ends.iter().map(|ended| ended.finish.clone()).collect();
            let mut replies = self.store.finish(&finishes, &[]).await?.into_iter();
            ends.retain(|ended| {
                let reply = replies.next();
                reply.inspect(|reply| ended.log_failure(&ended.finish, *reply));
                reply == Some(WriteReply::Locked)
            });
            if ends.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOCKED_PAUSE).await;
        }
    }
}

fn more(step: StepReport) -> bool {
    step.more
}

/// A body on another runtime; aborted when it is dropped.
struct Body(JoinHandle<End>);

impl Drop for Body {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn one(registry: Arc<Registry>, attempt: Arc<Attempt>, run: Run, caller: Option<Handle>) {
    let limit = attempt.claimed.timeout;
    let end = match (run, caller) {
        (Run::Async(_), Some(caller)) => {
            let (inner, registry) = (attempt.clone(), registry.clone());
            let mut body = Body(caller.spawn(async move { drive(&registry, &inner, run, None).await }));
            tokio::select! {
                ended = &mut body.0 => {
                    ended.unwrap_or_else(|_| End::Returned(Err("the runtime of the body has ended".into())))
                }
                () = passed(limit) => {
                    // Dropped before its end is written, if the body can be dropped.
                    body.0.abort();
                    let _ = tokio::time::timeout(DROP_MAX, &mut body.0).await;
                    End::TimedOut
                }
            }
        }
        _ => drive(&registry, &attempt, run, limit).await,
    };
    attempt.end(resolve_outcome(&attempt, end));
}
