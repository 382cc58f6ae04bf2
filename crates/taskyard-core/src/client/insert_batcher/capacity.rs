//! The bound on undecided additions: those that wait, those that are being written, and those that are set aside.
//!
//! An addition over the bound waits until others are decided: asynchronous callers in their order; a synchronous call
//! ([`InsertBatcher::push`]) blocks its thread as long as something is decided every [`STALL`]. While the database is
//! unreachable it is refused at once, and so is a synchronous call on the only thread of the runtime that the writer
//! runs on. A group larger than the bound is accepted if nothing else waits.

use tokio::runtime::{Handle, RuntimeFlavor};

use super::*;

/// If nothing was decided for this long, additions that cannot wait are refused.
const STALL: Duration = Duration::from_secs(5);
/// A server does not block on behalf of its children, because it could not receive from them meanwhile. Additions in
/// transit from them are accepted up to this multiple of the bound.
const BEYOND: usize = 4;

impl Waiting {
    /// Returns why nothing is accepted any more, once this is closed.
    pub(super) fn shut_down(&self) -> Error {
        if self.runtime_ended { RUNTIME_ENDED } else { SHUT_DOWN }
    }

    /// Returns how long nothing has been decided.
    fn stalled(&self) -> Duration {
        self.progress.map_or(Duration::ZERO, |progress| progress.elapsed())
    }

    fn is_over(&self, tasks: usize, bytes: usize, config: &ClientConfig, times: usize) -> bool {
        self.tasks + tasks > config.waiting_max.saturating_mul(times)
            || self.bytes + bytes > config.waiting_bytes_max.saturating_mul(times)
    }

    pub(super) fn full(&self) -> Error {
        let cause = match &self.away {
            Some(cause) => cause.clone(),
            None if self.failure.is_some() => self.failure.clone().unwrap_or_default(),
            None if self.deferred > 0 => format!("{} of them wait for locks of other transactions", self.deferred),
            None => "they are not written yet".into(),
        };
        Error::QueueUnavailable { waiting: self.tasks, bytes: self.bytes, cause }
    }

    fn full_on_one_thread(&self) -> Error {
        let cause =
            "this is the only thread of the runtime that writes them, so it cannot block here; await `add` instead"
                .into();
        Error::QueueUnavailable { waiting: self.tasks, bytes: self.bytes, cause }
    }
}

impl Shared {
    /// Subtracts decided tasks and their size from the undecided ones.
    pub(super) fn decided(&self, tasks: usize, bytes: usize) {
        if tasks == 0 {
            return;
        }
        let mut waiting = self.lock();
        waiting.tasks = waiting.tasks.saturating_sub(tasks);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        waiting.progress = Some(Instant::now());
        let blocked = waiting.blocked > 0;
        drop(waiting);
        self.capacity.notify_one();
        if blocked {
            self.room_of_threads.notify_all();
        }
    }

    /// Makes all callers that wait for room check again.
    pub(super) fn tell_room(&self) {
        self.capacity.notify_one();
        self.room_of_threads.notify_all();
    }
}

/// A group that is about to be queued.
struct Entering {
    tasks: Vec<NewTask>,
    bytes: usize,
}

impl InsertBatcher {
    /// Queues one atomic group once there is room.
    pub(in crate::client) async fn push_when_room(&self, tasks: Vec<NewTask>) -> Result<Arc<Ticket>> {
        let mut entering = Entering::new(tasks);
        let _turn = self.shared.turn.lock().await;
        loop {
            match self.enter(entering, 1)? {
                Ok(ticket) => return Ok(ticket),
                Err(outside) => entering = outside,
            }
            // A change since the check left a permit.
            self.shared.capacity.notified().await;
        }
    }

    /// Queues one atomic group; over the bound, the thread blocks as long as something is decided.
    pub(in crate::client) fn push(&self, tasks: Vec<NewTask>) -> Result<Arc<Ticket>> {
        let mut entering = Entering::new(tasks);
        loop {
            match self.enter(entering, 1)? {
                Ok(ticket) => return Ok(ticket),
                Err(outside) => entering = outside,
            }
            self.block(&entering)?;
        }
    }

    /// Queues one atomic group if there is room, otherwise returns it.
    pub(in crate::client) fn push_now(&self, tasks: Vec<NewTask>) -> Result<Result<Arc<Ticket>, Vec<NewTask>>> {
        Ok(self.enter(Entering::new(tasks), 1)?.map_err(|outside| outside.tasks))
    }

    /// Returns once the undecided additions are within the bound, nothing was decided for `stall`, or the database is
    /// unreachable.
    pub(in crate::client) async fn capacity(&self, stall: Duration) {
        let left = || {
            let waiting = self.shared.lock();
            let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
            let waits = waiting.is_over(0, 0, &config, 1) && !waiting.closed && waiting.away.is_none();
            if waits { stall.checked_sub(waiting.stalled()) } else { None }
        };
        let Some(patience) = left() else { return };
        let Ok(_turn) = tokio::time::timeout(patience, self.shared.turn.lock()).await else { return };
        while let Some(patience) = left() {
            let _ = tokio::time::timeout(patience, self.shared.capacity.notified()).await;
        }
    }

    /// Queues one atomic group at once, even somewhat over the bound, as long as something is decided.
    pub(in crate::client) fn push_beyond(&self, tasks: Vec<NewTask>) -> Result<Arc<Ticket>> {
        let entering = Entering::new(tasks);
        let times = {
            let waiting = self.shared.lock();
            if waiting.stalled() < STALL { BEYOND } else { 1 }
        };
        self.enter(entering, times)?.map_err(|_| self.shared.lock().full())
    }

    /// Queues the group, or returns it if there is no room.
    fn enter(&self, Entering { tasks, bytes }: Entering, times: usize) -> Result<Result<Arc<Ticket>, Entering>> {
        let ticket = Arc::new(Ticket {
            outcome: OnceLock::new(),
            written: Notify::new(),
            observed: AtomicBool::new(false),
            first: tasks.first().map_or(TaskId(uuid::Uuid::nil()), |task| task.id),
            tasks: tasks.len(),
            bytes,
        });
        if tasks.is_empty() {
            ticket.settle(Ok(Vec::new()));
            return Ok(Ok(ticket));
        }
        let mut waiting = self.shared.lock();
        if waiting.closed {
            return Err(waiting.shut_down());
        }
        {
            let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_over(tasks.len(), bytes, &config, times) {
                if waiting.away.is_some() {
                    return Err(waiting.full());
                }
                if waiting.tasks > 0 {
                    return Ok(Err(Entering { tasks, bytes }));
                }
            }
        }
        if waiting.tasks == 0 {
            waiting.progress = Some(Instant::now());
        }
        waiting.tasks += tasks.len();
        waiting.bytes += bytes;
        waiting.pushes.push_back(Push::Add { tasks, ticket: Arc::clone(&ticket) });
        drop(waiting);
        self.shared.pushed.notify_one();
        Ok(Ok(ticket))
    }

    /// Blocks this thread until there may be room.
    fn block(&self, entering: &Entering) -> Result<()> {
        let wait = || self.until_room(entering);
        match Handle::try_current() {
            Ok(current) if current.runtime_flavor() == RuntimeFlavor::CurrentThread => {
                if current.id() == self.runtime.id() {
                    // The writer cannot run while this thread is blocked.
                    return Err(self.shared.lock().full_on_one_thread());
                }
                wait()
            }
            Ok(current) => super::worker::wait(&current, wait),
            Err(_) => wait(),
        }
    }

    fn until_room(&self, entering: &Entering) -> Result<()> {
        let mut waiting = self.shared.lock();
        loop {
            let over = {
                let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
                waiting.is_over(entering.tasks.len(), entering.bytes, &config, 1)
            };
            if !over || waiting.tasks == 0 || waiting.closed || waiting.away.is_some() {
                return Ok(());
            }
            let Some(left) = STALL.checked_sub(waiting.stalled()).filter(|left| !left.is_zero()) else {
                return Err(waiting.full());
            };
            waiting.blocked += 1;
            let woken = self.shared.room_of_threads.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            waiting.blocked -= 1;
        }
    }
}

impl Entering {
    fn new(tasks: Vec<NewTask>) -> Self {
        let bytes = tasks.iter().map(NewTask::weight).sum();
        Self { tasks, bytes }
    }
}
