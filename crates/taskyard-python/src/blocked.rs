//! Detects that the event loop of a worker is blocked, and replies to the server in its place.
//!
//! The server sends a `Ping` twice a second to a worker that runs a task. An event loop that has left messages unread
//! for a second, and has done nothing else meanwhile, is blocked. The server is then notified, a Python thread is woken
//! to report the blocking code, and all attempts that have not begun are given back. Until the loop runs again, this
//! thread reads its messages and stores them for it. The thread never takes the GIL, so it works while a C function
//! holds that.
//!
//! Invariant: an attempt either begins or is given back. Both are decided under the lock of [`Unbegun`]. The server may
//! have been notified of its start already: several starts are reported at once, and the first attempt may be the one
//! that blocks.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use taskyard_server::children::frame::{End, FromChild, ToChild};

use crate::channel::{Wire, lock};

/// Interval between checks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time after which a loop that has read nothing counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of bytes read at once.
const READ_MAX: usize = 256 << 10;

/// Received data that was not passed to Python yet.
#[derive(Default)]
pub struct Unread {
    bytes: Vec<u8>,
    /// Messages read while the loop was blocked; their attempts are registered in [`Unbegun`].
    kept: VecDeque<ToChild>,
}

impl Unread {
    /// Reads the available bytes without waiting; returns false at the end of the stream.
    pub fn read(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        loop {
            let begin = self.bytes.len();
            self.bytes.resize(begin + READ_MAX, 0);
            let got = rustix::net::recv(socket, &mut self.bytes[begin..], RecvFlags::DONTWAIT);
            let count = got.as_ref().map_or(0, |(count, _)| *count);
            self.bytes.truncate(begin + count);
            match got {
                Ok(_) if count == 0 => return Ok(false),
                Ok(_) if count == READ_MAX => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the messages that were read in place of the loop.
    pub fn take_kept(&mut self) -> VecDeque<ToChild> {
        std::mem::take(&mut self.kept)
    }

    /// Takes the complete messages, in order.
    pub fn take(&mut self) -> Result<Vec<ToChild>, rmp_serde::decode::Error> {
        let mut messages = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some(body) = after.get(..length) else { break };
            messages.push(rmp_serde::from_slice(body)?);
            rest = &after[length..];
        }
        let done = self.bytes.len() - rest.len();
        self.bytes.drain(..done);
        Ok(messages)
    }
}

/// The attempts that were sent to this worker and whose bodies have not begun.
#[derive(Default)]
pub struct Unbegun {
    /// Attempts are recorded only if the loop is watched.
    is_watched: bool,
    slots: HashSet<u64>,
    /// Attempts that were given back in the loop's place and that the loop still has.
    given_back: HashSet<u64>,
}

impl Unbegun {
    /// Registers the attempts in a message.
    pub fn sent(&mut self, message: &ToChild) {
        if let ToChild::Run(runs) = message
            && self.is_watched
        {
            self.slots.extend(runs.iter().map(|run| run.slot));
        }
    }

    /// Removes the attempts from `slots` that were given back.
    pub fn keep(&mut self, slots: &mut Vec<u64>) {
        if !self.given_back.is_empty() {
            slots.retain(|slot| !self.given_back.remove(slot));
        }
    }

    /// Removes an attempt that the loop begins, parks or gives back; returns false if it was given back before.
    pub fn take(&mut self, slot: u64) -> bool {
        self.slots.remove(&slot);
        self.given_back.is_empty() || !self.given_back.remove(&slot)
    }

    fn give_back(&mut self) -> Vec<(u64, End)> {
        self.given_back.extend(&self.slots);
        self.slots.drain().map(|slot| (slot, End::Recalled)).collect()
    }
}

/// The activity of the loop, as observed from outside.
#[derive(Default)]
pub struct Signs {
    /// Incremented whenever the loop uses the channel.
    life: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Set if the loop is blocked and the waiting thread has not been notified.
    untold: bool,
    ended: bool,
}

impl Signs {
    pub fn of_life(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the loop is blocked and returns true, once each time; returns false after the end.
    pub fn until_blocked(&self) -> bool {
        let waiting = self.changed.wait_while(lock(&self.state), |state| !state.untold && !state.ended);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.untold) && !state.ended
    }

    pub fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    fn is_ended(&self) -> bool {
        lock(&self.state).ended
    }

    fn tell(&self) {
        lock(&self.state).untold = true;
        self.changed.notify_all();
    }
}

/// Watches the loop of this worker until its channel ends.
pub fn start(wire: &Arc<Wire>) -> io::Result<()> {
    lock(&wire.unbegun).is_watched = true;
    let wire = Arc::downgrade(wire);
    std::thread::Builder::new().name("taskyard-watch".into()).spawn(move || watch(&wire)).map(|_| ())
}

fn watch(wire: &Weak<Wire>) {
    let (mut seen, mut looked) = (0, Instant::now());
    // Since when there is data that the loop does not read.
    let mut since: Option<Instant> = None;
    let mut blocked = false;
    loop {
        std::thread::sleep(LOOK_EVERY);
        let Some(wire) = wire.upgrade().filter(|wire| !wire.signs.is_ended()) else { return };
        let now = Instant::now();
        // The whole process or the machine was suspended.
        let stood_still = now.duration_since(looked) > LOOK_EVERY * 3;
        looked = now;
        let life = wire.signs.life.load(Ordering::Relaxed);
        if life != seen {
            seen = life;
            since = None;
            if std::mem::take(&mut blocked) && wire.tell(&FromChild::Blocked(false)).is_err() {
                return;
            }
        } else if stood_still {
            since = None;
        }
        let ready = ready(&wire.socket);
        if ready.contains(PollFlags::HUP) {
            // The server is gone, which the loop detects by itself, if it still runs.
            wire.signs.end();
            return;
        }
        if !ready.contains(PollFlags::IN) {
            since = None;
            continue;
        }
        let waits_since = *since.get_or_insert(now);
        if !blocked && now.duration_since(waits_since) >= BLOCKED_AFTER {
            blocked = true;
            if wire.tell(&FromChild::Blocked(true)).is_err() || give_back(&wire).is_err() {
                return;
            }
            wire.signs.tell();
        }
        // A message that has just arrived is left to the loop.
        if blocked && now > waits_since && read(&wire).is_err() {
            return;
        }
    }
}

/// Returns the state of the socket without waiting.
fn ready(socket: &OwnedFd) -> PollFlags {
    let mut looked = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut looked, Some(&Timespec::default())) {
        Ok(_) => looked[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Reads in place of the loop.
fn read(wire: &Wire) -> Result<(), Errno> {
    {
        let mut unread = lock(&wire.unread);
        // The end of the stream and read errors are left to the loop.
        if !unread.read(&wire.socket).unwrap_or(false) {
            return Ok(());
        }
        let Ok(messages) = unread.take() else { return Ok(()) };
        let mut unbegun = lock(&wire.unbegun);
        for message in messages {
            // Recalled attempts are given back in any case.
            if !matches!(message, ToChild::Ping | ToChild::Recall(_)) {
                unbegun.sent(&message);
                unread.kept.push_back(message);
            }
        }
    }
    give_back(wire)
}

fn give_back(wire: &Wire) -> Result<(), Errno> {
    let back = lock(&wire.unbegun).give_back();
    if back.is_empty() { Ok(()) } else { wire.tell(&FromChild::Ended(back)) }
}
