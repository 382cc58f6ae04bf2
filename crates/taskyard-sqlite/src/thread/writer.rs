//! The only thread that writes.
//!
//! Operations arrive through a channel. All that are waiting when the thread wakes run in one transaction, each in a
//! savepoint of its own, so that one that fails is undone alone; then COMMIT; then every caller gets its reply, never
//! before. A single operation waits for nothing. The transaction always begins IMMEDIATE: one that began as a reader
//! could not become a writer while another process writes, whatever the busy timeout.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use taskyard_core::failpoint;
use taskyard_core::notifications::Notifications;
use taskyard_core::{Error, Result};
use tokio::sync::oneshot;

use super::file_lifecycle::LOOK_EVERY;
use super::job::{Job, Operation};
use super::lock_backoff::LockBackoff;
use super::tx::{Memory, PendingNotifications, QueueNo, Tx};
use crate::clock::Clock;
use crate::content::Content;
use crate::fault::{FileContext, Outcome};
use crate::identity::{LogIdentity, OpenedFile};
use crate::sql::sql;
use crate::wake_file::WakeFile;

/// Maximum number of operations in one transaction.
const GROUP_MAX: usize = 1_000;
/// No further operation joins a transaction of this age.
const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// After transactions without a gap for this long, a gap is left for other processes that write.
const HOG_MAX: Duration = Duration::from_millis(50);
/// Length of the gap: longer than the longest pause of a waiting process.
const GAP: Duration = Duration::from_millis(3);
/// Work outside the writer's transactions, with its connection.
type Chore = Box<dyn FnOnce(&mut Writer) + Send>;

enum Message {
    Run(Box<dyn Job>, Instant),
    Chore(Chore),
    Close(oneshot::Sender<()>),
}

/// Handle to the writer thread.
#[derive(Clone)]
pub(crate) struct WriterHandle(Sender<Message>);

impl std::fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriterHandle")
    }
}

const SHUT_DOWN: Error = Error::ShutDown("the database has been shut down");

impl WriterHandle {
    /// Runs an operation in a transaction and returns its result after the commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Operation { work: Some(work), result: None, reply });
        self.0.send(Message::Run(job, Instant::now())).map_err(|_| SHUT_DOWN)?;
        answer.await.map_err(|_| SHUT_DOWN)?
    }

    /// Runs a closure on the writer itself.
    pub(crate) async fn chore<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let chore: Chore = Box::new(move |writer| {
            let _ = reply.send(work(writer));
        });
        self.0.send(Message::Chore(chore)).map_err(|_| SHUT_DOWN)?;
        answer.await.map_err(|_| SHUT_DOWN)?
    }

    /// Runs the waiting operations, writes the WAL back and closes the file.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Message::Close(reply)).is_ok() {
            let _ = answer.await;
        }
    }
}

/// State owned by the writer thread.
pub(crate) struct Writer {
    pub(crate) file_context: FileContext,
    pub(crate) connection: Option<Connection>,
    pub(crate) clock: Clock,
    pub(crate) wake_file: Arc<Mutex<Option<WakeFile>>>,
    pub(super) notifications: Arc<Notifications>,
    pub(super) memory: Memory,
    /// Whether the schema was found to be this program's.
    pub(super) ready: bool,
    pub(crate) file: Arc<OpenedFile>,
    /// The log that the connection uses.
    pub(super) log: Option<LogIdentity>,
    pub(super) content: Content,
    pub(super) looked_at: Instant,
    pub(super) warned: bool,
    pub(super) wal_large: bool,
    busy_since: Instant,
    data_version: i64,
    receiver: Receiver<Message>,
    next: Option<Message>,
}

/// Starts the thread.
pub(crate) fn start(
    file: Arc<OpenedFile>,
    notifications: Arc<Notifications>,
    wake_file: Arc<Mutex<Option<WakeFile>>>,
) -> Result<WriterHandle> {
    let (sender, receiver) = channel();
    let now = Instant::now();
    let mut writer = Writer {
        file_context: FileContext { path: file.path().to_path_buf() },
        connection: None,
        clock: Clock::default(),
        wake_file,
        notifications,
        memory: Memory::default(),
        ready: false,
        file,
        log: None,
        content: Content::default(),
        looked_at: now,
        warned: false,
        wal_large: false,
        busy_since: now,
        data_version: 0,
        receiver,
        next: None,
    };
    std::thread::Builder::new()
        .name("taskyard-writer".into())
        .spawn(move || writer.serve())
        .map_err(|error| Error::Database(format!("no thread for the database: {error}")))?;
    Ok(WriterHandle(sender))
}

impl Writer {
    fn serve(&mut self) {
        while let Some(message) = self.receive() {
            match message {
                Message::Run(job, since) => self.group(job, since),
                Message::Chore(chore) => chore(self),
                Message::Close(reply) => {
                    self.shut();
                    let _ = reply.send(());
                    return;
                }
            }
        }
        self.shut();
    }

    /// Returns the next message; `None` when the store has been dropped. Wakes up in between while a notification is
    /// still to be written or the WAL to be cut.
    fn receive(&mut self) -> Option<Message> {
        if let Some(message) = self.next.take().or_else(|| self.receiver.try_recv().ok()) {
            return Some(message);
        }
        loop {
            self.busy_since = Instant::now();
            let pending =
                self.wake_file.lock().ok().and_then(|mut wake_file| wake_file.as_mut().and_then(WakeFile::flush));
            let wait = match (pending, self.wal_large) {
                (Some(wait), _) => wait,
                (None, true) => LOOK_EVERY,
                (None, false) => return self.receiver.recv().ok(),
            };
            match self.receiver.recv_timeout(wait) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.cut_wal(),
            }
        }
    }

    fn shut(&mut self) {
        if let Some(mut wake_file) = self.wake_file.lock().ok().and_then(|mut wake_file| wake_file.take()) {
            wake_file.flush();
        }
        // Closing the last connection writes the log back and removes it by its name, which must still be its own.
        let _ = self.check_file();
        self.connection = None;
    }

    /// Runs this operation and all others that are waiting in one transaction.
    fn group(&mut self, first: Box<dyn Job>, since: Instant) {
        self.leave_gap();
        if let Err(fault) = self.begin(since) {
            self.invalidate(&fault);
            first.answer(Some(self.file_context.error(fault)));
            return;
        }
        let begun = Instant::now();
        let mut done: Vec<Box<dyn Job>> = Vec::new();
        let mut job = first;
        loop {
            match self.run_one(job.as_mut(), !done.is_empty()) {
                Ok(()) => done.push(job),
                Err(fault) => {
                    let undone = self.is_rolled_back();
                    if undone {
                        self.invalidate(&fault);
                    }
                    let error = self.file_context.error(fault);
                    if undone {
                        // The operation was the first; or the file system failed, and everything before it is undone,
                        // too.
                        self.memory.forget();
                        done.into_iter().for_each(|other| other.answer(Some(error.clone())));
                        job.answer(Some(error));
                        return;
                    }
                    job.answer(Some(error));
                }
            }
            if done.len() >= GROUP_MAX || begun.elapsed() >= GROUP_TIME_MAX {
                break;
            }
            match self.receiver.try_recv() {
                Ok(Message::Run(next, _)) => job = next,
                Ok(other) => {
                    self.next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.commit(done);
    }

    /// Runs one operation; if it fails, all of its changes are undone.
    fn run_one(&mut self, job: &mut dyn Job, beside_others: bool) -> Outcome<()> {
        let connection = self.connection.as_ref().expect("a transaction has begun");
        // The first operation needs no savepoint: until another one has run, the transaction itself serves as one.
        let counts: HashMap<(QueueNo, u8), i64> =
            if beside_others { self.memory.counts.clone() } else { HashMap::new() };
        let pending_notifications = self.memory.pending_notifications;
        if beside_others {
            connection.prepare_cached("savepoint operation")?.execute([])?;
        }
        let mut tx = Tx { connection, now: self.clock.now(), memory: &mut self.memory };
        let outcome = job.run(&mut tx);
        if beside_others {
            if outcome.is_err() && !connection.is_autocommit() {
                connection.prepare_cached("rollback to operation")?.execute([])?;
            }
            if !connection.is_autocommit() {
                connection.prepare_cached("release operation")?.execute([])?;
            }
        } else if outcome.is_err() && !connection.is_autocommit() {
            // Nothing else has run in this transaction: the group ends with it.
            connection.prepare_cached("rollback")?.execute([])?;
        }
        if outcome.is_err() {
            // Groups that were created in the undone operation must not be used.
            if self.memory.forget() && !connection.is_autocommit() {
                self.memory.reload(connection)?;
            }
            self.memory.counts = counts;
            self.memory.pending_notifications = pending_notifications;
        }
        outcome
    }

    fn is_rolled_back(&self) -> bool {
        self.connection.as_ref().is_none_or(Connection::is_autocommit)
    }

    /// Begins a transaction on a file with this program's schema.
    fn begin(&mut self, since: Instant) -> Outcome<()> {
        let mut backoff = LockBackoff::since(since);
        loop {
            match self.try_begin() {
                Err(fault) if fault.is_busy() => {
                    if !backoff.pause() {
                        return Err(fault);
                    }
                }
                other => return other,
            }
        }
    }

    fn try_begin(&mut self) -> Outcome<()> {
        self.check_content_again()?;
        self.look();
        self.prepare()?;
        let connection = self.connection.as_ref().expect("prepared");
        connection.prepare_cached("begin immediate")?.execute([])?;
        let (file, log, content) = (&self.file, &mut self.log, &mut self.content);
        let read = (|| {
            if log.is_none() {
                *log = Some(file.writers_log()?);
            }
            content.mark(connection)?;
            let row = connection
                .prepare_cached(sql!("clock/begin"))?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            let (offset, frozen, queues): (i64, Option<i64>, i64) = match row {
                Err(rusqlite::Error::QueryReturnedNoRows) => (0, None, 0),
                row => row?,
            };
            self.clock.set(offset, frozen);
            self.memory.begin(connection, queues)
        })();
        if read.is_err() && !connection.is_autocommit() {
            connection.prepare_cached("rollback")?.execute([])?;
        }
        read
    }

    /// Commits, notifies other processes, and replies to the callers.
    fn commit(&mut self, done: Vec<Box<dyn Job>>) {
        let connection = self.connection.as_ref().expect("a transaction has begun");
        let mut tx = Tx { connection, now: 0, memory: &mut self.memory };
        failpoint!("commit", Before);
        let committed = tx
            .write_counts()
            .and_then(|()| Ok(connection.prepare_cached("commit").and_then(|mut commit| commit.execute([]))?));
        if let Err(fault) = committed {
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("rollback");
            }
            self.memory.forget();
            self.invalidate(&fault);
            let error = self.file_context.error(fault);
            for job in done {
                job.answer(Some(error.clone()));
            }
            return;
        }
        failpoint!("commit", After);
        // The committed data may be in a file without a name, where no process would find it.
        if let Err(error) = self.check_file() {
            for job in done {
                job.answer(Some(error.clone()));
            }
            return;
        }
        let pending_notifications = std::mem::take(&mut self.memory.pending_notifications);
        self.notify(pending_notifications);
        for job in done {
            job.answer(None);
        }
    }

    pub(crate) fn notify(&mut self, pending_notifications: PendingNotifications) {
        if pending_notifications.work {
            self.notifications.work.notify();
        }
        if pending_notifications.finished {
            self.notifications.finished.notify();
        }
        if pending_notifications.signal {
            self.notifications.signal.notify();
        }
        if pending_notifications.schedules {
            self.notifications.schedules.notify();
        }
        if pending_notifications.any()
            && let Ok(mut wake_file) = self.wake_file.lock()
            && let Some(wake_file) = wake_file.as_mut()
        {
            wake_file.notify(pending_notifications);
        }
    }

    /// Leaves a gap from time to time if other processes write, too: they wait by polling, and only microseconds pass
    /// between two transactions of this process.
    fn leave_gap(&mut self) {
        if self.busy_since.elapsed() < HOG_MAX {
            return;
        }
        self.busy_since = Instant::now();
        let Some(connection) = &self.connection else { return };
        // Changes only with the commits of other connections.
        let version = connection
            .prepare_cached("pragma data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .unwrap_or(0_i64);
        if version != self.data_version {
            self.data_version = version;
            std::thread::sleep(GAP);
        }
    }
}
