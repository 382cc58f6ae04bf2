//! Notifications between processes of one host that share a file: a small file beside the database, `<file>-wake`.
//!
//! Every store writes to a slot of its own there after a commit of interest (at most once per millisecond) and is
//! notified of the others' writes by the system (inotify on Linux), so an idle store costs nothing. A slot holds a
//! counter per kind of notification, so that a commit that only finished tasks does not make every store look for work.
//! The contents are only a hint, which may be lost, doubled or cut short: a store that is woken reads the database, and
//! also polls as a fallback.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use taskyard_core::notifications::Notifications;

use crate::file;
use crate::thread::tx::PendingNotifications;

const SLOT_BYTES: usize = 20;
const SLOTS: usize = 256;
/// Minimum interval between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(1);

/// The store's random mark, and its counters for work, finished, signal and schedules.
type Slot = [u32; 5];

/// State shared by the writer and the watcher.
#[derive(Debug)]
struct Shared {
    file: File,
    at: usize,
    mine: Slot,
    seen: Vec<Slot>,
}

/// Sends and receives the notifications of one store.
pub(crate) struct WakeFile {
    shared: Arc<Mutex<Shared>>,
    hears: Arc<AtomicBool>,
    pending: bool,
    written_at: Instant,
    _watcher: RecommendedWatcher,
}

impl std::fmt::Debug for WakeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WakeFile").field("hears", &self.hears()).finish_non_exhaustive()
    }
}

impl WakeFile {
    /// Creates the file if necessary and starts to listen; `None` if that is not possible here.
    pub(crate) fn start(database: &Path, notifications: Arc<Notifications>) -> Option<Self> {
        match Self::try_start(database, notifications) {
            Ok(wake_file) => Some(wake_file),
            Err(error) => {
                tracing::warn!(path = %database.display(), %error, "cannot listen for other processes; polling instead");
                None
            }
        }
    }

    fn try_start(database: &Path, notifications: Arc<Notifications>) -> notify::Result<Self> {
        let path = file::beside(database, "-wake");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let bytes = (SLOTS * SLOT_BYTES) as u64;
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
        }
        let at = rand::random_range(0..SLOTS);
        let mine = [rand::random::<u32>() | 1, 0, 0, 0, 0];
        let mut shared = Shared { file, at, mine, seen: vec![[0; 5]; SLOTS] };
        shared.seen = shared.read()?;
        shared.seen[at] = mine;
        shared.write()?;
        let shared = Arc::new(Mutex::new(shared));
        let hears = Arc::new(AtomicBool::new(true));
        let (inner, hearing) = (Arc::clone(&shared), Arc::clone(&hears));
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let lost = match &event {
                Ok(event) => matches!(event.kind, EventKind::Remove(_)) || event.need_rescan(),
                Err(_) => true,
            };
            if lost {
                hearing.store(false, Ordering::Relaxed);
            }
            let pending_notifications =
                if lost { all() } else { inner.lock().map_or_else(|_| all(), |mut shared| shared.look()) };
            notify(&notifications, pending_notifications);
        })?;
        watcher.watch(&path, RecursiveMode::NonRecursive)?;
        Ok(Self { shared, hears, pending: false, written_at: Instant::now(), _watcher: watcher })
    }

    /// Returns whether notifications of other processes are received now.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// Notifies the other processes, now or within a millisecond (with [`WakeFile::flush`]).
    pub(crate) fn notify(&mut self, pending_notifications: PendingNotifications) {
        if let Ok(mut shared) = self.shared.lock() {
            for (at, rung) in [
                pending_notifications.work,
                pending_notifications.finished,
                pending_notifications.signal,
                pending_notifications.schedules,
            ]
            .into_iter()
            .enumerate()
            {
                shared.mine[at + 1] = shared.mine[at + 1].wrapping_add(u32::from(rung));
            }
        }
        self.pending = true;
        if self.written_at.elapsed() >= WRITE_EVERY {
            self.write();
        }
    }

    /// Writes a pending notification if its time has come; otherwise returns the time to wait. `None`: nothing is
    /// pending.
    pub(crate) fn flush(&mut self) -> Option<Duration> {
        if !self.pending {
            return None;
        }
        let wait = WRITE_EVERY.saturating_sub(self.written_at.elapsed());
        if !wait.is_zero() {
            return Some(wait);
        }
        self.write();
        None
    }

    fn write(&mut self) {
        self.pending = false;
        self.written_at = Instant::now();
        if let Ok(mut shared) = self.shared.lock()
            && let Err(error) = shared.write()
        {
            tracing::debug!(%error, "other processes could not be notified; they poll");
        }
    }
}

impl Shared {
    fn write(&mut self) -> std::io::Result<()> {
        let mut bytes = [0_u8; SLOT_BYTES];
        for (part, number) in bytes.chunks_exact_mut(4).zip(self.mine) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        self.seen[self.at] = self.mine;
        self.file.write_all_at(&bytes, (self.at * SLOT_BYTES) as u64)
    }

    fn read(&self) -> std::io::Result<Vec<Slot>> {
        let mut bytes = [0_u8; SLOTS * SLOT_BYTES];
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let number = |part: &[u8]| u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
        let slot = |part: &[u8]| std::array::from_fn(|at| number(&part[at * 4..]));
        Ok(bytes.chunks_exact(SLOT_BYTES).map(slot).collect())
    }

    /// Returns the notifications of other stores since the last call.
    fn look(&mut self) -> PendingNotifications {
        let Ok(found) = self.read() else { return all() };
        let mut pending_notifications = PendingNotifications::default();
        for (at, (new, old)) in found.iter().zip(&self.seen).enumerate() {
            if new == old {
                continue;
            }
            if new[0] != old[0] {
                // Another store took this slot. If it is also this store's slot, another one is chosen for the next
                // write.
                pending_notifications.add(all());
            } else {
                pending_notifications.add(PendingNotifications {
                    work: new[1] != old[1],
                    finished: new[2] != old[2],
                    signal: new[3] != old[3],
                    schedules: new[4] != old[4],
                });
            }
            if at == self.at {
                self.at = rand::random_range(0..SLOTS);
            }
        }
        self.seen = found;
        pending_notifications
    }
}

fn all() -> PendingNotifications {
    PendingNotifications { work: true, finished: true, signal: true, schedules: true }
}

fn notify(notifications: &Notifications, pending_notifications: PendingNotifications) {
    if pending_notifications.work {
        notifications.work.notify();
    }
    if pending_notifications.finished {
        notifications.finished.notify();
    }
    if pending_notifications.signal {
        notifications.signal.notify();
    }
    if pending_notifications.schedules {
        notifications.schedules.notify();
    }
}
