//! The process of a child: its start, its connection, and the handling of its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use taskyard_core::Failure;
use taskyard_core::client::ClientRequest;
use taskyard_core::store::Outcome;
use taskyard_core::time::limit_millis;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child as Process, Command};
use tokio::sync::{Notify, mpsc};

use super::child::{Assignment, Child, Recall};
use super::child_pool::ChildPool;
use super::frame::{self, ChildRequest, FromChild, ToChild};
use super::{Children, receive};
use crate::ServerConfig;
use crate::attempt::{Attempt, Interrupt};
use crate::primitives::lock::lock;

/// Maximum time for which a child's socket is not read while too many additions wait to be written.
const ROOM_MAX: Duration = Duration::from_secs(1);

/// Maximum time in which the last messages of a dead child may still arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Maximum time that a child has for exiting after it has closed its socket.
const EXIT_MAX: Duration = Duration::from_secs(1);

/// Maximum time that the server has for receiving a signal that ended a child, which may have been sent to the whole
/// group.
const STOP_HEARD: Duration = Duration::from_millis(500);

/// Exit codes of Python workers (`taskyard._worker`): the application cannot be loaded, or one of its start hooks
/// failed.
const EXIT_APP: i32 = 3;
const EXIT_START: i32 = 4;

/// Starts one more child.
pub(super) fn start(children: &Arc<Children>, pool: &mut ChildPool, config: &ServerConfig) -> io::Result<()> {
    let (ours, theirs) = Socket::pair()?;
    ours.set_nonblocking(true)?;
    let _entered = children.handle.enter();
    let stream = UnixStream::from_std(ours)?;
    let process = match &children.command.embedded {
        Some(embedded) => {
            embedded.begin(OwnedFd::from(theirs))?;
            None
        }
        None => Some(spawn(children, theirs)?),
    };
    let pid = process.as_ref().map(|(_, pid)| *pid);
    let (outbox, inbox) = mpsc::unbounded_channel();
    let child = Child::new(pid, outbox);
    let defaults = children.run_context.client.as_ref().map(taskyard_core::Client::config).unwrap_or_default();
    child.send(ToChild::Begin {
        concurrency: config.concurrency.max(1),
        limits: config.limits,
        max_retries: defaults.max_retries,
        timeout_ms: defaults.timeout.map(limit_millis),
        only_declared: config.only_declared,
        namespace: children.run_context.registry.namespace().map(ToString::to_string),
    });
    pool.last_child += 1;
    let number = pool.last_child;
    let unread = child.unread().clone();
    let life = Life { process: process.map(|(process, _)| process), hang_up: child.hang_up.clone() };
    pool.children.insert(number, child);
    children.handle.spawn(attend(children.clone(), number, life, stream, (inbox, unread)));
    Ok(())
}

fn spawn(children: &Children, theirs: Socket) -> io::Result<(Process, Pid)> {
    let mut command = Command::new(&children.command.program);
    command
        .args(&children.command.args)
        .envs(children.command.env.iter().map(|(name, value)| (name, value)))
        .stdin(OwnedFd::from(theirs))
        // A process group of its own: the server passes on a Ctrl-C of the terminal, and processes started by the child
        // are killed with it.
        .process_group(0)
        .kill_on_drop(true);
    for name in &children.command.env_hidden {
        command.env_remove(name);
    }
    let process = command.spawn()?;
    let pid = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok((process, pid))
}

/// The process or connection whose end is the end of a child.
struct Life {
    /// `None` if the child is embedded in this process.
    process: Option<Process>,
    hang_up: Arc<Notify>,
}

impl Life {
    /// Returns when the process has ended or the connection is to be closed.
    async fn ended(&mut self) {
        match &mut self.process {
            Some(process) => {
                let _ = process.wait().await;
            }
            None => self.hang_up.notified().await,
        }
    }

    /// Returns the exit status of the process; `None` if there is none.
    async fn status(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        if let Ok(status) = tokio::time::timeout(EXIT_MAX, process.wait()).await {
            return status.ok();
        }
        let _ = process.start_kill();
        process.wait().await.ok()
    }
}

fn adds(message: &FromChild) -> bool {
    let FromChild::Asks(asks) = message else { return false };
    asks.iter().any(|(_, asked)| matches!(asked, ChildRequest::Client(ClientRequest::Add(_))))
}

/// Reads the messages of a child until its end.
async fn attend(
    children: Arc<Children>,
    number: u64,
    mut life: Life,
    stream: UnixStream,
    said: (mpsc::UnboundedReceiver<ToChild>, Arc<AtomicUsize>),
) {
    let (mut input, output) = stream.into_split();
    let writing = children.handle.spawn(write_all(output, said.0, said.1));
    let mut complaint = None;
    {
        let reading = async {
            loop {
                match frame::read::<FromChild>(&mut input).await {
                    Ok(Some(message)) => {
                        let adds = adds(&message);
                        receive::receive(&children, number, message);
                        if adds && let Some(client) = &children.run_context.client {
                            // A child that adds faster than the database can write is slowed down by its socket.
                            client.until_room(ROOM_MAX).await;
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        };
        tokio::pin!(reading);
        tokio::select! {
            end = &mut reading => complaint = end,
            // A process started by the child may hold its socket open.
            () = life.ended() => {
                let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
            }
        }
    }
    let status = life.status().await;
    writing.abort();
    if status.is_some_and(is_told_to_stop) {
        let mut stopping = children.run_context.host.stopping.subscribe();
        let _ = tokio::time::timeout(STOP_HEARD, stopping.wait_for(|stopping| *stopping)).await;
    }
    if let Some(error) = complaint {
        tracing::error!(%error, child = number, "a child process sent a message that cannot be decoded");
    }
    gone(&children, number, status);
}

/// Returns true if the process died of a signal by which supervisors and terminals end a process group. Workers ignore
/// these signals, but one that is just starting, or whose application or body has changed the handlers, dies of them.
fn is_told_to_stop(status: ExitStatus) -> bool {
    let stops = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    status.signal().is_some_and(|number| stops.iter().any(|stop| stop.as_raw() == number))
}

async fn write_all(mut output: OwnedWriteHalf, mut inbox: mpsc::UnboundedReceiver<ToChild>, unread: Arc<AtomicUsize>) {
    let mut bytes = Vec::new();
    while let Some(message) = inbox.recv().await {
        bytes.clear();
        // The buffer of one large message must not be retained forever.
        bytes.shrink_to(4 << 20);
        let mut answers = 0;
        let mut next = Some(message);
        while let Some(message) = next {
            answers += message.answer_bytes();
            if let Err(error) = frame::write(&message, &mut bytes) {
                tracing::error!(%error, "a message to a child process cannot be sent");
            }
            next = if bytes.len() < 1 << 20 { inbox.try_recv().ok() } else { None };
        }
        if output.write_all(&bytes).await.is_err() {
            // The reading side detects the end too.
            return;
        }
        unread.fetch_sub(answers, Ordering::Relaxed);
    }
}

/// Handles the end of a child: decides the tasks that it ran, and takes back those that had not started.
fn gone(children: &Arc<Children>, number: u64, status: Option<ExitStatus>) {
    let mut pool = lock(&children.pool);
    let Some(child) = pool.children.remove(&number) else { return };
    let hook_delivery = pool.hook_delivery.is_of(number);
    pool.hook_delivery.gone(number, child.runs());
    // Processes that the child started may be left.
    child.kill();
    let died =
        status.map_or_else(|| "its process has ended".to_owned(), |status| format!("its process ended: {status}"));
    let stopping = children.is_stopping();
    let expected = child.condemned.is_some() || child.leaving.is_some() || stopping || children.is_closing();
    if !child.ready && !expected {
        let why = match status.and_then(|status| status.code()) {
            Some(EXIT_APP) => "it cannot load the application (see above)",
            Some(EXIT_START) => "the application's start failed in it (see above)",
            _ => &died,
        };
        tracing::error!(child = number, "a child process did not start: {why}");
        pool.start_failed(Instant::now());
    }
    let (mut started, mut unstarted, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    for assignment in child.assignments.into_values() {
        match assignment {
            Assignment::Started { attempt, outcome, .. } => started.push((attempt, outcome)),
            Assignment::Sent { queued, recall: Some(Recall::Asked) } => decided.push((*queued, Outcome::Interrupted)),
            Assignment::Sent { queued, recall: Some(Recall::GiveBack) } => decided.push((*queued, Outcome::Released)),
            Assignment::Sent { queued, .. } => unstarted.push(*queued),
        }
    }
    if started.is_empty() && child.ready && !expected && !hook_delivery {
        // The child died before it could report a start: the tasks that were next are suspects.
        let suspects = children.config().concurrency.max(1).min(unstarted.len());
        for queued in unstarted.drain(..suspects) {
            started.push((queued.begin(&children.run_context.host, None), None));
        }
    }
    // At the front and in order: they were queued first.
    for queued in unstarted.into_iter().rev() {
        pool.run_queue.push_front(queued);
    }
    if children.is_closing() {
        return;
    }
    children.feed(&mut pool);
    drop(pool);
    for (queued, outcome) in decided {
        children.end_unstarted(queued, outcome);
    }
    // A hook that ran beside the task may be to blame.
    let alone = started.len() == 1 && !hook_delivery;
    let innocent = child.condemned.is_some() || stopping;
    for (attempt, outcome) in started {
        let outcome = outcome.unwrap_or_else(|| blame(&attempt, innocent, alone, &died));
        attempt.end(outcome);
    }
    children.changed.notify_one();
}

/// Returns the outcome of an attempt whose child is gone.
fn blame(attempt: &Attempt, innocent: bool, alone: bool, died: &str) -> Outcome {
    if innocent || attempt.interrupted() == Some(Interrupt::Release) {
        // Caused by another body, or by the server's shutdown.
        Outcome::CutShort
    } else if alone {
        Outcome::Crashed(Failure::new("WorkerDied", format!("the worker died while it ran this task: {died}")))
    } else {
        Outcome::Beside
    }
}
