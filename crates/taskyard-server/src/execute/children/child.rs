//! State of one child process on the server's side: its process, its condition, and its tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_bytes::ByteBuf;
use taskyard_core::payload::plain;
use taskyard_core::store::Outcome;
use taskyard_core::{Error, Result};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::frame::{FRAME_BYTES_AIM, Refusal, Run, ToChild};
use crate::attempt::Attempt;
use crate::execute::Queued;

/// Treatment of a recalled attempt that has not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// Release it to other servers.
    GiveBack,
    /// Queue it for another child.
    Requeue,
    /// End it as interrupted: its cancel or stop was requested.
    Asked,
}

/// An attempt that was sent to a child.
pub(super) enum Assignment {
    /// Waits in the child for its start.
    Sent { queued: Box<Queued>, recall: Option<Recall> },
    /// Has started: the body runs.
    Started {
        attempt: Arc<Attempt>,
        at: Instant,
        /// The outcome to write if its process is ended because of it.
        outcome: Option<Outcome>,
    },
}

impl Assignment {
    /// Returns true if the task must run alone.
    pub fn is_alone(&self) -> bool {
        match self {
            Self::Sent { queued, .. } => queued.claimed.alone,
            Self::Started { attempt, .. } => attempt.claimed.alone,
        }
    }
}

/// A child process and the tasks assigned to it.
pub(super) struct Child {
    /// `None` if the child is embedded in this process.
    pub pid: Option<Pid>,
    /// Ends the connection.
    pub hang_up: Arc<Notify>,
    outbox: mpsc::UnboundedSender<ToChild>,
    /// Attempts by slot, in the order in which they were sent.
    pub assignments: BTreeMap<u64, Assignment>,
    /// Slots of the attempts that run one at a time, except those waiting for other tasks.
    pub singles: BTreeSet<u64>,
    /// Slots of the attempts that wait for other tasks, each with whether it runs one at a time; their concurrency
    /// slots are free.
    pub released_slots: BTreeMap<u64, bool>,
    pub born: Instant,
    pub ready: bool,
    /// Fingerprint of the child's code, if it reported one.
    pub code: Option<String>,
    /// When it was asked to exit.
    pub leaving: Option<Instant>,
    /// Set while its event loop is blocked.
    pub blocked: bool,
    /// When a `Ping` was last sent to it.
    pub pinged_at: Instant,
    /// Since when one of its bodies has continued although it was told to end. The process takes no new tasks
    /// meanwhile. It is killed when the body's grace period is over and the other bodies have ended or had their time.
    pub condemned: Option<Instant>,
    /// Since when it has no tasks.
    pub idle_since: Instant,
    /// Since when it works on its current tasks, for the throughput estimate.
    pub busy_since: Instant,
    /// Number of tasks assigned to it so far.
    pub taken: u64,
    /// Open requests; each is aborted when the child is gone or withdraws it.
    questions: Questions,
    /// Number of bytes of responses that the child has not read.
    unread: Arc<AtomicUsize>,
}

/// Maximum number of bytes of unread responses before further requests of the child are refused.
const UNREAD_BYTES_MAX: usize = 256 << 20;

/// Open requests by the child's call numbers; aborted when dropped.
#[derive(Default)]
struct Questions(HashMap<u64, AbortHandle>);

impl Drop for Questions {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl Child {
    pub fn new(pid: Option<Pid>, outbox: mpsc::UnboundedSender<ToChild>) -> Self {
        let now = Instant::now();
        Self {
            pid,
            hang_up: Arc::new(Notify::new()),
            outbox,
            assignments: BTreeMap::new(),
            singles: BTreeSet::new(),
            released_slots: BTreeMap::new(),
            born: now,
            ready: false,
            code: None,
            leaving: None,
            blocked: false,
            pinged_at: now,
            condemned: None,
            idle_since: now,
            busy_since: now,
            taken: 0,
            questions: Questions::default(),
            unread: Arc::default(),
        }
    }

    /// Checks that the child may have one more open request.
    pub fn check_questions(&self, questions_max: usize) -> Result<()> {
        let why = if self.questions.0.len() >= questions_max {
            format!("{questions_max} questions of this worker wait for answers already: wait for fewer tasks at once")
        } else if self.unread.load(Ordering::Relaxed) > UNREAD_BYTES_MAX {
            format!("this worker has not read {UNREAD_BYTES_MAX} bytes of answers: its event loop is blocked")
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument { what: "asking", why })
    }

    /// Registers an open request.
    pub fn asks(&mut self, call: u64, answering: AbortHandle) {
        self.questions.0.insert(call, answering);
    }

    /// Sends the response to a request.
    pub fn answer(&mut self, call: u64, answer: Result<ByteBuf, Refusal>) {
        self.questions.0.remove(&call);
        self.send(ToChild::Answers(vec![(call, answer)]));
    }

    /// Aborts requests that the child has withdrawn.
    pub fn withdraw(&mut self, calls: &[u64]) {
        for question in calls.iter().filter_map(|call| self.questions.0.remove(call)) {
            question.abort();
        }
    }

    /// Returns the number of open requests.
    pub fn questions(&self) -> usize {
        self.questions.0.len()
    }

    /// Returns the counter of response bytes that the child has not read.
    pub fn unread(&self) -> &Arc<AtomicUsize> {
        &self.unread
    }

    /// Returns true if the child counts as one of the workers: it takes tasks, or will once it is ready.
    pub fn stays(&self) -> bool {
        self.leaving.is_none() && self.condemned.is_none()
    }

    pub fn takes(&self) -> bool {
        self.ready && self.stays() && !self.blocked
    }

    /// Sends a message. Errors are ignored: a child that is gone needs none.
    pub fn send(&self, message: ToChild) {
        self.unread.fetch_add(message.answer_bytes(), Ordering::Relaxed);
        let _ = self.outbox.send(message);
    }

    /// Kills its process group. An embedded child is disconnected instead.
    pub fn kill(&self) {
        match self.pid {
            Some(pid) => {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            None => self.hang_up.notify_one(),
        }
    }

    /// Returns the number of attempts that run or may have begun: recalled ones without a reply count too.
    pub fn running(&self) -> usize {
        self.assignments
            .values()
            .filter(|assignment| !matches!(assignment, Assignment::Sent { recall: None, .. }))
            .count()
    }

    /// Returns true if a body has begun and not ended.
    pub fn runs(&self) -> bool {
        self.assignments.values().any(|assignment| matches!(assignment, Assignment::Started { .. }))
    }

    /// Notes that a body begins to wait for other tasks, or continues.
    pub fn rests(&mut self, slot: u64, rests: bool) {
        if rests && matches!(self.assignments.get(&slot), Some(Assignment::Started { .. })) {
            let is_single = self.singles.remove(&slot);
            self.released_slots.entry(slot).or_insert(is_single);
        } else if self.released_slots.remove(&slot) == Some(true) {
            self.singles.insert(slot);
        }
    }

    /// Removes and returns the attempt in this slot.
    pub fn take(&mut self, slot: u64) -> Option<Assignment> {
        self.singles.remove(&slot);
        self.released_slots.remove(&slot);
        self.assignments.remove(&slot)
    }

    /// Notes that functions of these kinds run one at a time, and recalls those beyond `most` that have not started.
    pub fn has_singles(&mut self, kinds: &HashSet<String>, most: usize) {
        let mut beyond = Vec::new();
        for (slot, assignment) in &mut self.assignments {
            let (kind, waits) = match assignment {
                Assignment::Started { attempt, .. } => (&attempt.claimed.kind, None),
                Assignment::Sent { queued, recall } => (&queued.claimed.kind, Some(recall)),
            };
            if !kinds.contains(kind) {
                continue;
            }
            if let Some(is_single) = self.released_slots.get_mut(slot) {
                *is_single = true;
                continue;
            }
            self.singles.insert(*slot);
            if self.singles.len() > most
                && let Some(recall) = waits
                && recall.is_none()
            {
                *recall = Some(Recall::Requeue);
                beyond.push(*slot);
            }
        }
        if !beyond.is_empty() {
            self.send(ToChild::Recall(beyond));
        }
    }

    /// Assigns tasks to the child, in the slots after `slot`; each with whether it runs one at a time.
    pub fn assign(&mut self, tasks: impl IntoIterator<Item = (Queued, bool)>, slot: &mut u64) {
        let (mut runs, mut bytes, mut count) = (Vec::new(), 0, 0);
        if self.assignments.is_empty() {
            self.busy_since = Instant::now();
        }
        for (queued, single) in tasks {
            *slot += 1;
            if single {
                self.singles.insert(*slot);
            }
            let run = run(*slot, &queued);
            bytes += run.payload.len() + run.context.as_ref().map_or(0, |context| context.len()) + 1_000;
            runs.push(run);
            count += 1;
            if bytes >= FRAME_BYTES_AIM {
                self.send(ToChild::Run(std::mem::take(&mut runs)));
                bytes = 0;
            }
            self.assignments.insert(*slot, Assignment::Sent { queued: Box::new(queued), recall: None });
        }
        self.taken += count;
        if !runs.is_empty() {
            self.send(ToChild::Run(runs));
        }
    }

    /// Asks the child to exit once it is idle; tasks that have not started return to the queue.
    pub fn tell_to_leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some(now);
            self.recall(Recall::Requeue, |_| true);
            self.send(ToChild::Leave);
        }
    }

    /// Asks the child to exit; one that is not ready is killed.
    pub fn leave_or_end(&mut self, now: Instant) {
        self.tell_to_leave(now);
        if !self.ready && self.pid.is_some() {
            self.kill();
        }
    }

    /// Recalls tasks that have not started. Returns the number of new recalls.
    pub fn recall(&mut self, why: Recall, meant: impl Fn(&Queued) -> bool) -> usize {
        let mut slots = Vec::new();
        for (slot, assignment) in &mut self.assignments {
            if let Assignment::Sent { queued, recall } = assignment
                && meant(queued)
            {
                if recall.is_none() {
                    slots.push(*slot);
                }
                // A requested cancel or stop takes precedence over where the task is to run.
                if *recall != Some(Recall::Asked) {
                    *recall = Some(why);
                }
            }
        }
        let count = slots.len();
        if count > 0 {
            self.send(ToChild::Recall(slots));
        }
        count
    }
}

fn run(slot: u64, queued: &Queued) -> Run {
    let claimed = &queued.claimed;
    Run {
        slot,
        id: claimed.id,
        kind: claimed.kind.clone(),
        name: claimed.name.clone(),
        queue: claimed.queue.clone(),
        payload: ByteBuf::from(if claimed.payload_encoded {
            claimed.payload.clone()
        } else {
            plain::escape_call(&claimed.payload)
        }),
        context: claimed.context.as_deref().map(|context| {
            ByteBuf::from(if claimed.context_encoded {
                context.to_vec()
            } else {
                plain::escape_context(context).into_owned()
            })
        }),
        attempt: claimed.attempt,
        timeout_ms: claimed.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        has_parents: claimed.has_parents,
        restricted: claimed.restricted,
        opened: queued.opened.clone(),
    }
}
