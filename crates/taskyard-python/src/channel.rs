//! A worker's side of the socket to its server.
//!
//! The worker's event loop reads (`receive`, which never waits); any of its threads may write. A write waits until the
//! system has accepted the data, so messages sent before a body begins arrive whatever the body does. While the loop is
//! blocked, a thread reads in its place ([`crate::blocked`]).

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyEOFError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde_bytes::ByteBuf;
use taskyard_core::client::ClientRequest;
use taskyard_core::task::LogLine;
use taskyard_server::children::frame::{self, ChildRequest, End, FromChild, Note, RetryDirective, ToChild};

use crate::blocked::{Signs, Unbegun, Unread};
use crate::client_request::Request;
use crate::draft::draft;
use crate::message::message;
use crate::reply::{Addition, Cell, Question, Reply};

/// Messages to be sent at the end of this turn of the loop.
#[derive(Default)]
struct Outbox {
    notes: Vec<Note>,
    ends: Vec<(u64, End)>,
}

/// A worker's side of the socket to its server.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Channel {
    outbox: Mutex<Outbox>,
    calls: AtomicU64,
    wire: Arc<Wire>,
}

/// The shared state of reading, writing and requests.
pub struct Wire {
    pub socket: OwnedFd,
    pub unread: Mutex<Unread>,
    /// Attempts that were sent to this worker and have not begun.
    pub unbegun: Mutex<Unbegun>,
    pub signs: Signs,
    /// Held while a frame is written.
    writing: Mutex<()>,
    asked: Mutex<HashMap<u64, Arc<Cell>>>,
    /// Withdrawn requests that the server has not been notified of.
    withdrawn: Mutex<Vec<u64>>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Sends a message without using Python.
    pub fn tell(&self, said: &FromChild) -> Result<(), Errno> {
        let mut bytes = Vec::with_capacity(256);
        frame::write(said, &mut bytes).map_err(|_| Errno::TOOBIG)?;
        let writing = lock(&self.writing);
        self.write_all(&writing, &bytes)
    }

    fn write(&self, bytes: &[u8]) -> PyResult<()> {
        let writing = lock(&self.writing);
        self.write_withdrawn(&writing, SendFlags::NOSIGNAL)
            .and_then(|()| self.write_all(&writing, bytes))
            .map_err(|error| PyOSError::new_err(format!("the server has ended: {error}")))
    }

    fn write_all(&self, _writing: &MutexGuard<'_, ()>, bytes: &[u8]) -> Result<(), Errno> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_withdrawn(&self, writing: &MutexGuard<'_, ()>, flags: SendFlags) -> Result<(), Errno> {
        let calls = std::mem::take(&mut *lock(&self.withdrawn));
        if calls.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let said = FromChild::Withdrawn(calls);
        frame::write(&said, &mut bytes).map_err(|_| Errno::TOOBIG)?;
        match rustix::net::send(&self.socket, &bytes, flags) {
            Ok(sent) => self.write_all(writing, &bytes[sent..]),
            Err(Errno::AGAIN | Errno::INTR) => {
                if let FromChild::Withdrawn(calls) = said {
                    lock(&self.withdrawn).extend(calls);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Withdraws a request. Never waits, because it is called where an object is dropped: the server is notified now,
    /// or before the next frame.
    fn withdraw(&self, call: u64) {
        if lock(&self.asked).remove(&call).is_none() {
            return;
        }
        lock(&self.withdrawn).push(call);
        if let Ok(writing) = self.writing.try_lock() {
            // A closed connection is reported by the next write.
            let _ = self.write_withdrawn(&writing, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

impl Channel {
    fn say(&self, py: Python<'_>, said: &FromChild) -> PyResult<()> {
        let mut bytes = Vec::with_capacity(256);
        frame::write(said, &mut bytes)?;
        py.detach(|| self.wire.write(&bytes))
    }

    fn call(&self, py: Python<'_>, what: &str, asked: ChildRequest) -> PyResult<(u64, Arc<Cell>)> {
        let cell = Cell::new(what);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        lock(&self.wire.asked).insert(call, cell.clone());
        if let Err(error) = self.say(py, &FromChild::Asks(vec![(call, asked)])) {
            lock(&self.wire.asked).remove(&call);
            return Err(error);
        }
        Ok((call, cell))
    }

    /// Sends all notes and ends since the last call; may be called on any thread.
    fn say_all(&self, py: Python<'_>) -> PyResult<()> {
        let Outbox { notes, ends } = std::mem::take(&mut *lock(&self.outbox));
        // Notes that cannot be sent must not prevent ends from being sent.
        let noted = in_parts(notes, note_bytes).try_for_each(|notes| self.say(py, &FromChild::Noted(notes)));
        for ends in in_parts(ends.into_iter().map(fitting).collect(), end_bytes) {
            self.say(py, &FromChild::Ended(ends))?;
        }
        noted?;
        Ok(())
    }

    fn question(&self, py: Python<'_>, what: &str, asked: ChildRequest) -> PyResult<Arc<Cell>> {
        Ok(self.call(py, what, asked)?.1)
    }
}

/// Groups items into messages of about [`frame::FRAME_BYTES_AIM`] bytes.
fn in_parts<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let (mut parts, mut size) = (Vec::<Vec<T>>::new(), 0);
    for item in items {
        let more = bytes(&item) + 100;
        match parts.last_mut() {
            Some(part) if size + more <= frame::FRAME_BYTES_AIM => part.push(item),
            _ => {
                parts.push(vec![item]);
                size = 0;
            }
        }
        size += more;
    }
    parts.into_iter()
}

fn note_bytes(note: &Note) -> usize {
    note.context.as_ref().map_or(0, |context| context.len()) + note.lines.iter().map(line_bytes).sum::<usize>()
}

fn line_bytes(line: &LogLine) -> usize {
    let further = line.fields.as_ref().map_or(0, Vec::len) + line.traceback.as_ref().map_or(0, String::len);
    100 + line.logger.len() + line.message.len() + further
}

fn end_bytes((_, end): &(u64, End)) -> usize {
    match end {
        End::Returned(result) => result.len(),
        End::Raised { message, traceback, .. } => message.len() + traceback.as_ref().map_or(0, String::len),
        _ => 0,
    }
}

/// Replaces a result that is too large for a message by a failure.
fn fitting((slot, end): (u64, End)) -> (u64, End) {
    let place = (slot, end);
    let size = end_bytes(&place);
    let (slot, end) = place;
    if size <= frame::FRAME_BYTES_MAX - (1 << 20) {
        return (slot, end);
    }
    let message = format!("the result takes {size} bytes, more than a worker can send to its server in one message");
    let (error_type, directive) = ("ResultTooLarge".to_owned(), RetryDirective::Never);
    (slot, End::Raised { error_type, also: Vec::new(), message, traceback: None, directive })
}

#[pymethods]
impl Channel {
    /// Creates a channel that takes ownership of the descriptor.
    #[new]
    fn new(descriptor: i32) -> PyResult<Self> {
        if descriptor < 0 {
            return Err(PyValueError::new_err("no descriptor"));
        }
        // SAFETY: the caller passes ownership of the descriptor; it is closed here and nowhere else.
        #[allow(unsafe_code)]
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let wire = Wire {
            socket,
            unread: Mutex::default(),
            unbegun: Mutex::default(),
            signs: Signs::default(),
            writing: Mutex::default(),
            asked: Mutex::default(),
            withdrawn: Mutex::default(),
        };
        Ok(Self { outbox: Mutex::default(), calls: AtomicU64::new(1), wire: Arc::new(wire) })
    }

    /// Returns the descriptor that the event loop watches.
    fn fileno(&self) -> i32 {
        self.wire.socket.as_raw_fd()
    }

    /// Returns the messages of the server without waiting, as tuples that begin with their name. Raises `EOFError` once
    /// the server is gone.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.wire.signs.of_life();
        let mut unread = lock(&self.wire.unread);
        let alive = unread.read(&self.wire.socket).map_err(|error| PyOSError::new_err(error.to_string()))?;
        let said = PyList::empty(py);
        let kept = unread.take_kept().into_iter().map(|one| (one, true));
        let new = unread.take().map_err(|error| PyValueError::new_err(error.to_string()))?;
        for (one, is_known) in kept.chain(new.into_iter().map(|one| (one, false))) {
            match one {
                ToChild::Answers(answers) => {
                    let mut asked = lock(&self.wire.asked);
                    for (call, answer) in answers {
                        if let Some(cell) = asked.remove(&call) {
                            cell.settle(answer.map(ByteBuf::into_vec));
                        }
                    }
                }
                one => {
                    if !is_known {
                        // The lock must not be held while Python creates objects: that may run the garbage collector,
                        // which may use the channel.
                        lock(&self.wire.unbegun).sent(&one);
                    }
                    if let Some(tuple) = message(py, one)? {
                        said.append(tuple)?;
                    }
                }
            }
        }
        if !alive && said.is_empty() {
            return Err(PyEOFError::new_err("the server is gone"));
        }
        Ok(said)
    }

    /// Reports that the worker is ready to run tasks, whether it has dead-letter hooks, and the fingerprint of its
    /// code.
    fn ready(&self, py: Python<'_>, hears_deaths: bool, code: String) -> PyResult<()> {
        self.say(py, &FromChild::Ready { hears_deaths, code: Some(code) })
    }

    /// Reports that the dead-letter hooks are about to be called.
    fn tells(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        self.say(py, &FromChild::Tells(number))
    }

    /// Reports that the dead-letter hooks were called.
    fn told(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        self.say(py, &FromChild::Told(number))
    }

    /// Reports which of the parking reasons do not apply here.
    fn known(&self, py: Python<'_>, reasons: Vec<String>) -> PyResult<()> {
        self.say(py, &FromChild::Known(reasons))
    }

    /// Reports that an attempt waits for another task, or continues.
    fn rests(&self, py: Python<'_>, slot: u64, rests: bool) -> PyResult<()> {
        self.say(py, &FromChild::Rests(vec![(slot, rests)]))
    }

    /// Reports that functions of these kinds run one at a time here.
    fn singles(&self, py: Python<'_>, kinds: Vec<String>) -> PyResult<()> {
        self.say(py, &FromChild::Singles(kinds))
    }

    /// Reports that these attempts are about to begin. Returns, once that is sent, those which may begin; the others
    /// were given back while the loop was blocked.
    fn started(&self, py: Python<'_>, mut slots: Vec<u64>) -> PyResult<Vec<u64>> {
        self.wire.signs.of_life();
        lock(&self.wire.unbegun).keep(&mut slots);
        let said = FromChild::Started(slots);
        self.say(py, &said)?;
        let FromChild::Started(slots) = said else { unreachable!("it was made above") };
        Ok(slots)
    }

    /// Notes that the body of an attempt begins now; returns false if the attempt was given back.
    fn begins(&self, slot: u64) -> bool {
        lock(&self.wire.unbegun).take(slot)
    }

    /// Starts watching for a blocked loop.
    fn watch(&self) -> PyResult<()> {
        crate::blocked::start(&self.wire).map_err(|error| PyOSError::new_err(error.to_string()))
    }

    /// Waits until the loop is blocked and returns true, once each time. Returns false after `unwatch`.
    fn blocked(&self, py: Python<'_>) -> bool {
        py.detach(|| self.wire.signs.until_blocked())
    }

    /// Stops watching.
    fn unwatch(&self) {
        self.wire.signs.end();
    }

    /// Records a context (JSON) and log lines `(level, logger, message, fields as JSON, traceback)` for the next
    /// `flush`.
    fn note(&self, slot: u64, context: Option<&[u8]>, lines: &Bound<'_, PyList>) -> PyResult<()> {
        let lines = lines
            .iter()
            .map(|line| {
                let line = line.cast_into::<PyTuple>()?;
                let (level, logger, message, fields, traceback): (i16, String, String, Option<String>, Option<String>) =
                    line.extract()?;
                let fields = fields.map(String::into_bytes);
                Ok(LogLine { level, logger, message, fields, traceback })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let context = context.map(|context| ByteBuf::from(context.to_vec()));
        let mut parts = in_parts(lines, line_bytes);
        let mut outbox = lock(&self.outbox);
        outbox.notes.push(Note { slot, context, lines: parts.next().unwrap_or_default() });
        outbox.notes.extend(parts.map(|lines| Note { slot, context: None, lines }));
        Ok(())
    }

    /// Records that the body returned this result (JSON), for the next `flush`.
    fn returned(&self, slot: u64, result: &[u8]) {
        lock(&self.outbox).ends.push((slot, End::Returned(ByteBuf::from(result.to_vec()))));
    }

    /// Records that the body raised an error. `directive` is `policy`, `never`, `cancelled`, `after` or `snooze`; the last
    /// two use `seconds`.
    #[pyo3(signature = (slot, error_type, also, message, traceback, directive, seconds))]
    #[allow(clippy::too_many_arguments, reason = "one place for each part of an error")]
    fn raised(
        &self,
        slot: u64,
        error_type: String,
        also: Vec<String>,
        message: String,
        traceback: Option<String>,
        directive: &str,
        seconds: f64,
    ) -> PyResult<()> {
        let pause = Duration::from_millis((seconds.clamp(0.0, 4e9) * 1_000.0).ceil() as u64);
        let directive = match directive {
            "policy" => RetryDirective::Policy,
            "never" => RetryDirective::Never,
            "cancelled" => RetryDirective::Cancelled,
            "after" => RetryDirective::After(pause),
            "snooze" => RetryDirective::Snooze(pause),
            other => return Err(PyValueError::new_err(format!("there is no directive `{other}`"))),
        };
        lock(&self.outbox).ends.push((slot, End::Raised { error_type, also, message, traceback, directive }));
        Ok(())
    }

    /// Records that the attempt ended because it was interrupted.
    fn interrupted(&self, slot: u64) {
        lock(&self.outbox).ends.push((slot, End::Interrupted));
    }

    /// Records that the task cannot run here.
    fn parked(&self, slot: u64, reason: String) {
        lock(&self.wire.unbegun).take(slot);
        lock(&self.outbox).ends.push((slot, End::Parked(reason)));
    }

    /// Records that the attempt had not started and was recalled.
    fn recalled(&self, slot: u64) {
        if !lock(&self.wire.unbegun).take(slot) {
            return;
        }
        lock(&self.outbox).ends.push((slot, End::Recalled));
    }

    /// Requests up to `limit` tasks from these queues, or from all, waiting up to `wait` seconds for the first one. The
    /// reply contains the ids of tasks that were sent before it. `number` is chosen by the caller. Only for a server
    /// that claims on demand.
    #[pyo3(signature = (number, limit, queues, wait))]
    fn take(
        &self,
        py: Python<'_>,
        number: u64,
        limit: usize,
        queues: Option<Vec<String>>,
        wait: f64,
    ) -> PyResult<Reply> {
        let wait_ms = (wait.clamp(0.0, 4e9) * 1_000.0) as u64;
        Ok(Reply::new(self.question(py, "asking for a task", ChildRequest::Take { number, limit, queues, wait_ms })?))
    }

    /// Withdraws the request with this number; it is replied to at once.
    fn waive(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        self.question(py, "waiving a task", ChildRequest::Waive(number)).map(|_| ())
    }

    /// Sends the end of an attempt that was recorded since the last `flush`. The reply is the state that was written,
    /// or `null` if the attempt had lost its lease.
    fn ended(&self, py: Python<'_>, slot: u64) -> PyResult<Reply> {
        let end = {
            let mut outbox = lock(&self.outbox);
            let place = outbox.ends.iter().position(|(other, _)| *other == slot);
            let place =
                place.ok_or_else(|| PyValueError::new_err(format!("no end of the attempt {slot} was put down")))?;
            outbox.ends.remove(place)
        };
        self.say_all(py)?;
        let (slot, end) = fitting(end);
        Ok(Reply::new(self.question(py, "the end of a task", ChildRequest::Ended(slot, end))?))
    }

    /// Sends all notes and ends since the last call; called at the end of a turn of the loop.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.wire.signs.of_life();
        self.say_all(py)
    }

    /// Adds all of the tasks or none; each is a dict.
    fn add(&self, py: Python<'_>, tasks: &Bound<'_, PyList>) -> PyResult<Addition> {
        let drafts = tasks.iter().map(|task| draft(py, task.cast::<PyDict>()?)).collect::<PyResult<Vec<_>>>()?;
        Ok(Addition::there(self.question(py, "an addition", ChildRequest::Client(ClientRequest::Add(drafts)))?))
    }

    /// Sends a query or a control operation.
    fn ask(&self, py: Python<'_>, request: &Request) -> PyResult<Reply> {
        let ask = request.checked(py)?;
        let asked = ask.is_question().then(Question::new);
        let (call, cell) = self.call(py, request.name, ChildRequest::Client(ask))?;
        if let Some(asked) = &asked {
            let wire = Arc::downgrade(&self.wire);
            asked.begun(move || {
                if let Some(wire) = wire.upgrade() {
                    wire.withdraw(call);
                }
            });
        }
        Ok(Reply::of(asked, cell))
    }

    /// Returns a reply that arrives once all notes of this attempt so far are durable.
    fn saved(&self, py: Python<'_>, slot: u64) -> PyResult<Reply> {
        self.say_all(py)?;
        Ok(Reply::new(self.question(py, "saving the context", ChildRequest::Saved(slot))?))
    }

    /// Returns a reply with this attempt's token, which arrives once all its notes so far are durable.
    fn token(&self, py: Python<'_>, slot: u64) -> PyResult<Reply> {
        self.say_all(py)?;
        Ok(Reply::new(self.question(py, "the token", ChildRequest::Token(slot))?))
    }
}
