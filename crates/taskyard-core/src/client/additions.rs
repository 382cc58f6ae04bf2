//! The additions of a task's body, for which the end of its attempt waits.
//!
//! `add_later` returns before its tasks are stored. Called by a body, it notes them in the body's [`Additions`]; so does an `add` that
//! is dropped before it is ready. The body that runs on the calling thread is found by the function that the executor has installed
//! ([`install`]); from other threads and tasks, by the client that was made for the body ([`Client::of_body`]). When the body has ended,
//! the executor closes its additions and waits for those that are left ([`Unsettled`]). Later additions are not noted. The waiting itself
//! is in `taskyard-server`, `attempt/additions.rs`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Client;
use super::insert_batcher::Ticket;
use crate::Error;
use crate::task::NewTask;

/// Finds the additions of the body that runs on the calling thread; `None` if none runs there.
pub type CurrentAdditions = fn() -> Option<Arc<Additions>>;

static CURRENT: OnceLock<CurrentAdditions> = OnceLock::new();

/// Installs the executor's function, for the life of the process. The first one stays.
pub fn install(current: CurrentAdditions) {
    let _ = CURRENT.set(current);
}

/// The additions of one body that may have to be waited for.
#[derive(Debug, Default)]
pub struct Additions(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    additions: Vec<Addition>,
    is_closed: bool,
}

/// One call of a body that adds, of one task or several.
#[derive(Debug)]
struct Addition {
    ticket: Arc<Ticket>,
    /// The kind of its first task; empty if unknown.
    kind: String,
}

impl Addition {
    fn is_open(&self) -> bool {
        is_open(&self.ticket)
    }
}

/// Whether the addition is undecided, or was refused and the body has not received its outcome.
fn is_open(ticket: &Ticket) -> bool {
    match ticket.peek() {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(_)) => !ticket.is_observed(),
    }
}

impl fmt::Display for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, tasks) = self.ticket.tasks();
        write!(f, "task {first}")?;
        if !self.kind.is_empty() {
            write!(f, " ({})", self.kind)?;
        }
        if tasks > 1 { write!(f, " and {} more", tasks - 1) } else { Ok(()) }
    }
}

impl Additions {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, ticket: Arc<Ticket>, kind: String) {
        let mut noted = self.lock();
        if noted.is_closed {
            return;
        }
        let additions = &mut noted.additions;
        if additions.len() == additions.capacity() {
            // Forgets stored additions, so that a body that adds without end does not grow. Amortised constant: the room doubles.
            additions.retain(Addition::is_open);
            additions.reserve(additions.len().max(4));
        }
        additions.push(Addition { ticket, kind });
    }

    /// Stops noting, because the body has ended. Returns the additions that are open; `None` if there are none.
    pub fn close(&self) -> Option<Unsettled> {
        let mut noted = self.lock();
        noted.is_closed = true;
        let mut additions = std::mem::take(&mut noted.additions);
        drop(noted);
        additions.retain(Addition::is_open);
        (!additions.is_empty()).then_some(Unsettled(additions))
    }
}

/// The open additions of a body that has ended.
#[derive(Debug)]
pub struct Unsettled(Vec<Addition>);

impl Unsettled {
    /// Returns once each is stored or refused.
    ///
    /// # Errors
    /// The first refusal whose outcome the body has not received. Further ones are logged when they are dropped.
    pub async fn settled(&self) -> Result<(), RefusedAddition> {
        for addition in &self.0 {
            addition.ticket.settled().await;
        }
        for addition in &self.0 {
            if let Some(Err(error)) = addition.ticket.peek()
                && !addition.ticket.observe()
            {
                return Err(RefusedAddition { name: addition.to_string(), error: error.clone() });
            }
        }
        Ok(())
    }

    /// The names of those that are undecided; `None` if all are decided.
    #[must_use]
    pub fn pending(&self) -> Option<String> {
        let mut pending = self.0.iter().filter(|addition| addition.ticket.peek().is_none());
        let mut names = pending.by_ref().take(NAMES_MAX).map(Addition::to_string).collect::<Vec<_>>().join(", ");
        match pending.count() {
            0 => {}
            more => names.push_str(&format!(", and {more} further additions")),
        }
        (!names.is_empty()).then_some(names)
    }
}

/// Additions that are named in one line of the log.
const NAMES_MAX: usize = 20;

/// An addition that the body of a task made and the database refused.
#[derive(Debug)]
pub struct RefusedAddition {
    name: String,
    /// Why it was refused.
    pub error: Error,
}

impl fmt::Display for RefusedAddition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which this task's body added, was not stored: {}", self.name, self.error)
    }
}

impl Client {
    /// Returns a handle whose additions are noted here unless a body runs on the calling thread.
    #[doc(hidden)]
    #[must_use]
    pub fn of_body(&self, additions: Arc<Additions>) -> Self {
        Self { additions: Some(additions), ..self.clone() }
    }

    /// The additions of the calling body; `None` outside of bodies.
    fn additions_of_caller(&self) -> Option<Arc<Additions>> {
        // The running body takes precedence: a client that was made for one body may be kept and used by others.
        CURRENT.get().and_then(|current| current()).or_else(|| self.additions.clone())
    }

    /// Prepares to note the addition of these tasks, which are about to be pushed.
    pub(super) fn noting(&self, tasks: &[NewTask]) -> Noting {
        let kind = |additions| (additions, tasks.first().map(|task| task.kind.clone()).unwrap_or_default());
        Noting(self.additions_of_caller().map(kind))
    }

    /// Returns a guard that notes this addition if its outcome has not been received when the guard is dropped: the caller has stopped
    /// waiting for it, and it may be refused by then.
    pub(super) fn noting_unless_received<'a>(&'a self, ticket: Option<&'a Arc<Ticket>>) -> NotingUnlessReceived<'a> {
        NotingUnlessReceived { client: self, ticket }
    }
}

pub(super) struct NotingUnlessReceived<'a> {
    client: &'a Client,
    ticket: Option<&'a Arc<Ticket>>,
}

impl Drop for NotingUnlessReceived<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.filter(|ticket| is_open(ticket))
            && let Some(additions) = self.client.additions_of_caller()
        {
            additions.note(Arc::clone(ticket), String::new());
        }
    }
}

/// Notes an addition once it is pushed. Empty outside of bodies.
pub(super) struct Noting(Option<(Arc<Additions>, String)>);

impl Noting {
    pub(super) fn pushed(self, ticket: &Arc<Ticket>) {
        if let Some((additions, kind)) = self.0 {
            additions.note(Arc::clone(ticket), kind);
        }
    }
}
