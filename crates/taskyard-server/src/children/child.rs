//! What the server knows of one child: its process, how it stands, and what it was given.

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
use crate::executor::Queued;

/// What becomes of an attempt that was asked back and had not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// Other servers get it.
    GiveBack,
    /// Another child gets it.
    Line,
    /// It was to be cancelled or stopped.
    Asked,
}

/// An attempt that was sent to a child.
pub(super) enum Flight {
    /// It waits for its turn there.
    Sent { queued: Box<Queued>, recall: Option<Recall> },
    /// Its body runs.
    Started {
        attempt: Arc<Attempt>,
        at: Instant,
        /// How it is to end when its process is ended because of it.
        verdict: Option<Outcome>,
    },
}

impl Flight {
    /// Whether it must run with nothing beside it.
    pub fn is_alone(&self) -> bool {
        match self {
            Self::Sent { queued, .. } => queued.claimed.alone,
            Self::Started { attempt, .. } => attempt.claimed.alone,
        }
    }
}

pub(super) struct Child {
    /// None if it lives in this process.
    pub pid: Option<Pid>,
    /// Ends the conversation.
    pub hang_up: Arc<Notify>,
    outbox: mpsc::UnboundedSender<ToChild>,
    /// In the order in which they were sent.
    pub flights: BTreeMap<u64, Flight>,
    /// Those of them that run one at a time, but for those that rest.
    pub singles: BTreeSet<u64>,
    /// Those that wait for other tasks, each with whether it runs one at a time: their places are free.
    pub resting: BTreeMap<u64, bool>,
    pub born: Instant,
    pub ready: bool,
    /// The fingerprint of its code, if it said one.
    pub code: Option<String>,
    /// It was told to leave, or is to be ended.
    pub leaving: Option<Instant>,
    /// Its event loop is blocked.
    pub blocked: bool,
    /// When it was last sent a `Ping`.
    pub pinged_at: Instant,
    /// Since when a body of it goes on although it was told to end. The process takes nothing new meanwhile. It is ended when
    /// the body's grace is over and its neighbours have ended, or had their time.
    pub condemned: Option<Instant>,
    /// Since when nothing is in flight.
    pub idle_since: Instant,
    /// Since when it works on what it has, for its pace.
    pub busy_since: Instant,
    /// Tasks it was given.
    pub taken: u64,
    /// Questions that wait for their answers; each ends with the child, or when it is withdrawn.
    questions: Questions,
    /// Bytes of answers that it has not read.
    unread: Arc<AtomicUsize>,
}

/// Answers that a child has not read may take so many bytes before its questions are refused.
const UNREAD_BYTES_MAX: usize = 256 << 20;

/// Questions by the child's numbers; they end with it.
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
            flights: BTreeMap::new(),
            singles: BTreeSet::new(),
            resting: BTreeMap::new(),
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

    /// Whether it may ask one more question, of `questions_max` at once.
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

    /// A question that waits for its answer.
    pub fn asks(&mut self, call: u64, answering: AbortHandle) {
        self.questions.0.insert(call, answering);
    }

    /// The answer to a question is there.
    pub fn answer(&mut self, call: u64, answer: Result<ByteBuf, Refusal>) {
        self.questions.0.remove(&call);
        self.send(ToChild::Answers(vec![(call, answer)]));
    }

    /// The answers to these are not wanted any more.
    pub fn withdraw(&mut self, calls: &[u64]) {
        for question in calls.iter().filter_map(|call| self.questions.0.remove(call)) {
            question.abort();
        }
    }

    /// How many questions wait for their answers.
    pub fn questions(&self) -> usize {
        self.questions.0.len()
    }

    /// Counts the bytes of answers that it has not read.
    pub fn unread(&self) -> &Arc<AtomicUsize> {
        &self.unread
    }

    /// Whether it counts as one of the workers: it takes tasks, or will.
    pub fn stays(&self) -> bool {
        self.leaving.is_none() && self.condemned.is_none()
    }

    pub fn takes(&self) -> bool {
        self.ready && self.stays() && !self.blocked
    }

    /// Sends; to one that is gone nothing needs to be said.
    pub fn send(&self, message: ToChild) {
        self.unread.fetch_add(message.answer_bytes(), Ordering::Relaxed);
        let _ = self.outbox.send(message);
    }

    /// Ends its process and all that it started; one that lives in this process is not listened to any more.
    pub fn kill(&self) {
        match self.pid {
            Some(pid) => {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            None => self.hang_up.notify_one(),
        }
    }

    /// What runs, or was asked back and has not been answered: it may have begun.
    pub fn running(&self) -> usize {
        self.flights.values().filter(|flight| !matches!(flight, Flight::Sent { recall: None, .. })).count()
    }

    /// Whether a body of it has begun and not ended.
    pub fn runs(&self) -> bool {
        self.flights.values().any(|flight| matches!(flight, Flight::Started { .. }))
    }

    /// A body of it waits for other tasks, or goes on.
    pub fn rests(&mut self, slot: u64, rests: bool) {
        if rests && matches!(self.flights.get(&slot), Some(Flight::Started { .. })) {
            let is_single = self.singles.remove(&slot);
            self.resting.entry(slot).or_insert(is_single);
        } else if self.resting.remove(&slot) == Some(true) {
            self.singles.insert(slot);
        }
    }

    /// Takes what it has under this slot.
    pub fn take(&mut self, slot: u64) -> Option<Flight> {
        self.singles.remove(&slot);
        self.resting.remove(&slot);
        self.flights.remove(&slot)
    }

    /// Functions of these kinds run one at a time: what it has not started of them beyond `most` goes elsewhere.
    pub fn has_singles(&mut self, kinds: &HashSet<String>, most: usize) {
        let mut beyond = Vec::new();
        for (slot, flight) in &mut self.flights {
            let (kind, waits) = match flight {
                Flight::Started { attempt, .. } => (&attempt.claimed.kind, None),
                Flight::Sent { queued, recall } => (&queued.claimed.kind, Some(recall)),
            };
            if !kinds.contains(kind) {
                continue;
            }
            if let Some(is_single) = self.resting.get_mut(slot) {
                *is_single = true;
                continue;
            }
            self.singles.insert(*slot);
            if self.singles.len() > most
                && let Some(recall) = waits
                && recall.is_none()
            {
                *recall = Some(Recall::Line);
                beyond.push(*slot);
            }
        }
        if !beyond.is_empty() {
            self.send(ToChild::Recall(beyond));
        }
    }

    /// Gives it these, under the slots from `slot` on; each with whether it runs one at a time.
    pub fn give(&mut self, tasks: impl IntoIterator<Item = (Queued, bool)>, slot: &mut u64) {
        let (mut runs, mut bytes, mut count) = (Vec::new(), 0, 0);
        if self.flights.is_empty() {
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
            self.flights.insert(*slot, Flight::Sent { queued: Box::new(queued), recall: None });
        }
        self.taken += count;
        if !runs.is_empty() {
            self.send(ToChild::Run(runs));
        }
    }

    /// Tells it to leave when it has nothing left to do; what it has not started goes elsewhere.
    pub fn tell_to_leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some(now);
            self.recall(Recall::Line, |_| true);
            self.send(ToChild::Leave);
        }
    }

    /// Tells it to leave; one that has not come up is ended.
    pub fn leave_or_end(&mut self, now: Instant) {
        self.tell_to_leave(now);
        if !self.ready && self.pid.is_some() {
            self.kill();
        }
    }

    /// Asks back what has not started; answers how many were asked for anew.
    pub fn recall(&mut self, why: Recall, meant: impl Fn(&Queued) -> bool) -> usize {
        let mut slots = Vec::new();
        for (slot, flight) in &mut self.flights {
            if let Flight::Sent { queued, recall } = flight
                && meant(queued)
            {
                if recall.is_none() {
                    slots.push(*slot);
                }
                // A request of a person counts more than where it is to run.
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
