//! Notification of an event loop about replies: a socket that becomes readable, and the tokens of the replies.
//!
//! A single byte wakes the loop for any number of tokens. Notifying does not take the GIL: under a busy interpreter, a call
//! into its loop would block an engine thread for milliseconds.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

#[derive(Default)]
struct Letters {
    tokens: Vec<u64>,
    /// Set while an unread byte is in the socket.
    wake_is_pending: bool,
}

/// The mailbox of one event loop.
#[pyclass(frozen, module = "taskyard._core")]
pub struct Mailbox(Arc<Post>);

/// The engine's side of a mailbox.
pub struct Post {
    letters: Mutex<Letters>,
    wake_sender: UnixStream,
    wake_receiver: UnixStream,
}

impl Post {
    /// Adds a token, and wakes the loop if no wake-up is pending.
    pub fn put(&self, token: u64) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.tokens.push(token);
        let is_first = !std::mem::replace(&mut letters.wake_is_pending, true);
        drop(letters);
        if is_first {
            // If the socket is full or closed, the loop is awake or gone.
            let _ = (&self.wake_sender).write(&[1]);
        }
    }
}

impl Mailbox {
    pub fn post(&self) -> Arc<Post> {
        self.0.clone()
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (wake_sender, wake_receiver) = UnixStream::pair()?;
        wake_sender.set_nonblocking(true)?;
        wake_receiver.set_nonblocking(true)?;
        Ok(Self(Arc::new(Post { letters: Mutex::default(), wake_sender, wake_receiver })))
    }

    /// Returns the descriptor that the event loop watches.
    fn fileno(&self) -> i32 {
        self.0.wake_receiver.as_raw_fd()
    }

    /// Returns the tokens of the replies since the last call.
    fn drain(&self) -> Vec<u64> {
        let mut bytes = [0; 64];
        let _ = (&self.0.wake_receiver).read(&mut bytes);
        let mut letters = self.0.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.wake_is_pending = false;
        std::mem::take(&mut letters.tokens)
    }
}
