//! Reads: two threads with connections of their own, started on first use.
//!
//! Each read is one transaction, so it sees a consistent snapshot of the database, and never waits for the writer
//! (WAL). The connections are `query_only`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use rusqlite::{CachedStatement, Connection};
use taskyard_core::{Error, Result};
use tokio::sync::oneshot;

use super::lock_backoff::LockBackoff;
use crate::clock::Clock;
use crate::connection::{self, Role};
use crate::fault::{Fault, FileContext, Outcome};
use crate::file;
use crate::identity::{LogIdentity, OpenedFile};
use crate::migrate;
use crate::sql::sql;

const THREADS: usize = 2;

/// A read transaction as an operation sees it.
pub(crate) struct Read<'a> {
    /// The connection.
    pub(crate) connection: &'a Connection,
    /// Time of the database, in microseconds.
    pub(crate) now: i64,
}

impl<'a> Read<'a> {
    /// Returns a statement, prepared once per connection.
    pub(crate) fn sql(&self, text: &'static str) -> Outcome<CachedStatement<'a>> {
        Ok(self.connection.prepare_cached(text)?)
    }
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// Handle to the reader threads.
pub(crate) struct Readers {
    file: Arc<OpenedFile>,
    sender: Mutex<Option<Sender<Job>>>,
    receiver: Arc<Mutex<Receiver<Job>>>,
    started: OnceLock<bool>,
    running: Arc<()>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readers")
    }
}

const SHUT_DOWN: Error = Error::ShutDown("the database has been shut down");

impl Readers {
    /// Creates a handle for this file; no thread is started yet.
    pub(crate) fn new(file: Arc<OpenedFile>) -> Self {
        let (sender, receiver) = channel();
        Self {
            file,
            sender: Mutex::new(Some(sender)),
            receiver: Arc::new(Mutex::new(receiver)),
            started: OnceLock::new(),
            running: Arc::default(),
        }
    }

    /// Runs a read in a transaction of its own.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Read<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        if !*self.started.get_or_init(|| self.start()) {
            return Err(Error::Database("no thread for reading the database".into()));
        }
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let job: Job = Box::new(move |reader| {
            let _ = reply.send(reader.run(work, since));
        });
        let sender = self.sender.lock().map_err(|_| SHUT_DOWN)?.clone().ok_or(SHUT_DOWN)?;
        sender.send(job).map_err(|_| SHUT_DOWN)?;
        drop(sender);
        answer.await.map_err(|_| SHUT_DOWN)?
    }

    fn start(&self) -> bool {
        (0..THREADS).all(|_| {
            let receiver = Arc::clone(&self.receiver);
            let running = Arc::clone(&self.running);
            let file = Arc::clone(&self.file);
            let file_context = FileContext { path: file.path().to_path_buf() };
            let reader = Reader { file, file_context, clock: Clock::default(), connection: None, log: None };
            let serve = move || {
                // Dropped in reverse order, so that the connection is closed before `close` sees the thread's end.
                let _running = running;
                let mut reader = reader;
                loop {
                    // One thread waits in the channel, the other for this lock.
                    let job = receiver.lock().ok().and_then(|receiver| receiver.recv().ok());
                    let Some(job) = job else { return };
                    job(&mut reader);
                }
            };
            std::thread::Builder::new().name("taskyard-reader".into()).spawn(serve).is_ok()
        })
    }

    /// Refuses further reads and waits until the connections are closed.
    pub(crate) async fn close(&self) {
        if let Ok(mut sender) = self.sender.lock() {
            sender.take();
        }
        let running = Arc::clone(&self.running);
        // Reads are short; each thread ends as soon as its read does.
        let wait = move || {
            let until = Instant::now() + std::time::Duration::from_secs(10);
            while Arc::strong_count(&running) > 2 && Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        };
        let _ = tokio::task::spawn_blocking(wait).await;
    }
}

struct Reader {
    file: Arc<OpenedFile>,
    file_context: FileContext,
    clock: Clock,
    connection: Option<Connection>,
    /// The log that the connection uses.
    log: Option<LogIdentity>,
}

impl Reader {
    fn run<T>(&mut self, work: impl FnOnce(&Read<'_>) -> Outcome<T>, since: Instant) -> Result<T> {
        let outcome = self.begin(since).and_then(|()| {
            let connection = self.connection.as_ref().expect("begun");
            let read = Read { connection, now: self.clock.now() };
            let panicked = |_| Fault::Answer(Error::Database("a read panicked".into()));
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&read))).map_err(panicked).and_then(|done| done);
            if !connection.is_autocommit() {
                connection.prepare_cached("commit")?.execute([])?;
            }
            outcome
        });
        outcome.map_err(|fault| self.file_context.error(fault))
    }

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
        self.open()?;
        let connection = self.connection.as_ref().expect("opened");
        connection.prepare_cached("begin")?.execute([])?;
        let row = connection.prepare_cached(sql!("clock/begin")).and_then(|mut statement| {
            statement.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
        });
        match row {
            Ok((offset, frozen)) => self.clock.set(offset, frozen),
            Err(rusqlite::Error::QueryReturnedNoRows) => self.clock.set(0, None),
            Err(error) => {
                if !connection.is_autocommit() {
                    connection.prepare_cached("rollback")?.execute([])?;
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Outcome<()> {
        if self.connection.is_some() {
            if self.log.is_none() {
                self.log = self.file.log()?;
            }
            let checked = self.file.check(self.log);
            if checked.is_err()
                && let Some(connection) = self.connection.take()
            {
                let _ = connection::unsettle(&connection);
            }
            return checked.map(drop).map_err(|gone| gone.error.into());
        }
        self.file.refuse_gone()?;
        if !self.file.was_opened() && file::inspect(&self.file_context.path)? == file::Found::Nothing {
            return Err(migrate::missing(0));
        }
        let clock = &self.clock;
        let connection = self.file.open(|path| connection::open(path, Role::Reader, false, clock))?;
        migrate::check(&connection)?;
        // Reading the schema has opened the log.
        self.log = self.file.log()?;
        connection::settle(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }
}
