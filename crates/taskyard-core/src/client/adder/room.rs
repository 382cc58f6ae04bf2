//! The bound on additions that are not decided: those that wait, those that are being written, those that are set aside.
//!
//! An addition over the bound waits until others are decided: a caller that awaits it, in the order of such callers; one
//! that does not ([`Adder::push`]), in its thread, for as long as something is decided every [`STALL`]. While the database
//! is away it is refused at once, as it is on the one thread of a runtime that the writer runs on, too. A group that is
//! larger than the bound is taken when nothing else waits.

use tokio::runtime::{Handle, RuntimeFlavor};

use super::*;

/// If nothing was decided for so long, nothing more is taken that cannot wait.
const STALL: Duration = Duration::from_secs(5);
/// A server does not wait in the place of its children, which it does not hear meanwhile: what is on its way from them is
/// taken up to so many times the bound.
const BEYOND: usize = 4;

impl Waiting {
    /// Why nothing is taken any more, once it is closed.
    pub(super) fn shut_down(&self) -> Error {
        if self.runtime_ended { RUNTIME_ENDED } else { SHUT_DOWN }
    }

    /// How long nothing was decided.
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
            None if self.aside > 0 => format!("{} of them wait for locks of other transactions", self.aside),
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
    /// So much of what waited is decided.
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
        self.room.notify_one();
        if blocked {
            self.room_of_threads.notify_all();
        }
    }

    /// Those that wait for room look again.
    pub(super) fn tell_room(&self) {
        self.room.notify_one();
        self.room_of_threads.notify_all();
    }
}

/// A group on its way in.
struct Entering {
    tasks: Vec<NewTask>,
    bytes: usize,
}

impl Adder {
    /// Queues one atomic group, once there is room.
    pub(in crate::client) async fn push_when_room(&self, tasks: Vec<NewTask>) -> Result<Arc<Ticket>> {
        let mut entering = Entering::new(tasks);
        let _turn = self.shared.turn.lock().await;
        loop {
            match self.enter(entering, 1)? {
                Ok(ticket) => return Ok(ticket),
                Err(outside) => entering = outside,
            }
            // A change since the look left a permit.
            self.shared.room.notified().await;
        }
    }

    /// Queues one atomic group; over the bound, the thread waits for as long as something is decided.
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

    /// Queues one atomic group if there is room, or gives it back.
    pub(in crate::client) fn push_now(&self, tasks: Vec<NewTask>) -> Result<Result<Arc<Ticket>, Vec<NewTask>>> {
        Ok(self.enter(Entering::new(tasks), 1)?.map_err(|outside| outside.tasks))
    }

    /// Returns once what waits is within the bound, or nothing was decided for `stall`, or the database is away.
    pub(in crate::client) async fn room(&self, stall: Duration) {
        let left = || {
            let waiting = self.shared.lock();
            let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
            let waits = waiting.is_over(0, 0, &config, 1) && !waiting.closed && waiting.away.is_none();
            if waits { stall.checked_sub(waiting.stalled()) } else { None }
        };
        let Some(patience) = left() else { return };
        let Ok(_turn) = tokio::time::timeout(patience, self.shared.turn.lock()).await else { return };
        while let Some(patience) = left() {
            let _ = tokio::time::timeout(patience, self.shared.room.notified()).await;
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

    /// Takes the group in, or gives it back if there is no room.
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
                    // Nothing is written while this thread waits.
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
