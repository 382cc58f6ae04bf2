//! Protects SQLite's file locks from other code of this process.
//!
//! POSIX record locks belong to a process: two SQLite libraries in one process (Python's `sqlite3` module beside this
//! one) do not see each other's, and closing any descriptor of a file drops all that the process holds on it
//! (<https://sqlite.org/howtocorrupt.html>, sections 2.2 and 2.2.1). Another process then takes the database for
//! unused: it removes the write-ahead log that this process is still writing to, or writes to it at the same time.
//!
//! So the bundled SQLite gets its own `fcntl` and `close` (`xSetSystemCall`), which turn its record locks into open
//! file description locks (`F_OFD_SETLK`). They conflict with the locks of all other libraries, in this process too,
//! and end only with their descriptor. One descriptor per file, unknown to SQLite, carries all of them, because
//! SQLite's bookkeeping is per file and process: a lock is often released through another descriptor than the one that
//! took it.
//!
//! Record locks remain where the others are not available: on other systems than Linux, on architectures whose calling
//! conventions may pass a variadic argument in another way (all but x86_64, aarch64 and riscv64), on file systems
//! without them, without `/proc`, and in a Rust program whose own connections used this SQLite before its first store:
//! those hold record locks.
//!
//! Unlike record locks, a lock of this kind is shared with a forked child. So the child gets a new descriptor at its
//! start, and on it the locks that mark the database as in use: the copied bookkeeping assumes that they are held.

/// Replaces the locks of this program's SQLite. Only the first call has an effect.
pub(crate) fn install() {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
    linux::install();
}

// With these calling conventions a function of three arguments may be called as a variadic one, which `fcntl` is.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
#[allow(unsafe_code, reason = "functions that SQLite and the C library call, and calls of theirs")]
mod linux {
    use std::cell::UnsafeCell;
    use std::collections::HashMap;
    use std::fs::{File, OpenOptions};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use libc::{c_int, c_void, flock};
    use rusqlite::ffi;

    /// Byte ranges (start, length) of the shared lock of a connection: of the database (`SHARED_FIRST`, `SHARED_SIZE`),
    /// and of the log's index (`UNIX_SHM_DMS`).
    const IN_USE: [(i64, i64); 2] = [(0x4000_0002, 510), (128, 1)];
    /// A byte that SQLite never locks.
    const PROBE: i64 = 1 << 40;

    /// Device and inode of a file.
    type Key = (u64, u64);

    /// A file that SQLite has locked.
    struct Locked {
        /// Descriptor that carries the locks; `None` if they are record locks.
        carrier: Option<File>,
        /// Whether this is a forked child that could not get a carrier of its own: each of its locks is refused.
        is_lost: bool,
        /// Number of descriptors of the file that SQLite has.
        users: usize,
        /// The range of [`IN_USE`] that is locked.
        in_use: Option<(i64, i64)>,
    }

    #[derive(Default)]
    struct Table {
        files: HashMap<Key, Locked>,
        /// By SQLite's descriptors.
        keys: HashMap<c_int, Key>,
    }

    /// The table, behind a mutex that can be held across a fork.
    struct Shared {
        mutex: UnsafeCell<libc::pthread_mutex_t>,
        table: UnsafeCell<Option<Table>>,
    }

    // SAFETY: the table is only used between `lock` and `unlock`.
    unsafe impl Sync for Shared {}

    static SHARED: Shared =
        Shared { mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER), table: UnsafeCell::new(None) };
    /// Whether this SQLite had no connection before its locks were replaced.
    static IS_FRESH: AtomicBool = AtomicBool::new(false);

    extern "C" fn lock() {
        // SAFETY: an initialised mutex; no function holds it while it calls another one that takes it.
        unsafe { libc::pthread_mutex_lock(SHARED.mutex.get()) };
    }

    extern "C" fn unlock() {
        // SAFETY: this thread holds it, or it is a forked child's copy of the thread that did.
        unsafe { libc::pthread_mutex_unlock(SHARED.mutex.get()) };
    }

    fn with_table<T>(work: impl FnOnce(&mut Table) -> T) -> T {
        lock();
        // SAFETY: the mutex is held.
        let result = work(unsafe { &mut *SHARED.table.get() }.get_or_insert_default());
        unlock();
        result
    }

    pub(super) fn install() {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            // SAFETY: calls of SQLite's interface with valid pointers. Both calls of `sqlite3_config` are refused once the
            // library is in use; the second one changes nothing. A function pointer is replaced by one that does the same as far as SQLite can see.
            unsafe {
                // Without its statistics the allocator needs no mutex, which a forked child might find locked.
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
                let mut allocator = std::mem::zeroed::<ffi::sqlite3_mem_methods>();
                let found = ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut allocator);
                IS_FRESH.store(found == ffi::SQLITE_OK, Ordering::Relaxed);
                let vfs = ffi::sqlite3_vfs_find(c"unix".as_ptr());
                let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) else { return };
                if libc::pthread_atfork(Some(lock), Some(unlock), Some(renew)) != 0 {
                    return;
                }
                let close: unsafe extern "C" fn(c_int) -> c_int = close;
                let fcntl: unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int = fcntl;
                // `close` first: what `fcntl` records about a descriptor must be dropped with it.
                for (name, call) in [
                    (c"close", std::mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(close as *const ())),
                    (c"fcntl", std::mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(fcntl as *const ())),
                ] {
                    if set(vfs, name.as_ptr(), call) != ffi::SQLITE_OK {
                        tracing::warn!(
                            "SQLite keeps its record locks: do not open the file by other means in this process"
                        );
                        return;
                    }
                }
            }
        });
    }

    /// Replacement for SQLite's `close`.
    unsafe extern "C" fn close(descriptor: c_int) -> c_int {
        with_table(|table| table.forget(descriptor));
        // SAFETY: SQLite closes a descriptor of its own.
        unsafe { libc::close(descriptor) }
    }

    /// Replacement for SQLite's `fcntl`.
    unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
        let ours = match command {
            libc::F_SETLK => libc::F_OFD_SETLK,
            libc::F_SETLKW => libc::F_OFD_SETLKW,
            libc::F_GETLK => libc::F_OFD_GETLK,
            // SAFETY: passed on as it came.
            _ => return unsafe { libc::fcntl(descriptor, command, argument) },
        };
        let (result, error) = with_table(|table| {
            // SAFETY: these commands have a pointer to a `flock`.
            let request = unsafe { &mut *argument.cast::<flock>() };
            let result = match table.file(descriptor) {
                Some(Locked { is_lost: true, .. }) => {
                    set_errno(libc::EIO);
                    -1
                }
                Some(Locked { carrier: Some(carrier), in_use, .. }) => {
                    request.l_pid = 0;
                    // SAFETY: an open descriptor, and a `flock`.
                    let result = unsafe { libc::fcntl(carrier.as_raw_fd(), ours, std::ptr::from_mut(request)) };
                    if result == 0 && command != libc::F_GETLK {
                        note(in_use, request);
                    }
                    result
                }
                // SAFETY: passed on as it came.
                _ => unsafe { libc::fcntl(descriptor, command, argument) },
            };
            (result, errno())
        });
        // SQLite reads the error number of the lock, not that of the mutex.
        set_errno(error);
        result
    }

    /// Records whether the lock that marks the file as in use is held.
    fn note(in_use: &mut Option<(i64, i64)>, request: &flock) {
        let (start, length) = (request.l_start, request.l_len);
        if c_int::from(request.l_type) != libc::F_UNLCK {
            *in_use = IN_USE.into_iter().find(|range| *range == (start, length)).or(*in_use);
        } else if in_use.is_some_and(|(first, _)| start <= first && (length == 0 || first < start + length)) {
            *in_use = None;
        }
    }

    impl Table {
        /// Returns the file of a descriptor; `None` if it cannot be determined.
        fn file(&mut self, descriptor: c_int) -> Option<&mut Locked> {
            let key = match self.keys.get(&descriptor) {
                Some(key) => *key,
                None => {
                    let key = key(descriptor)?;
                    self.keys.insert(descriptor, key);
                    let carrier = || carrier(descriptor, key);
                    let new = || Locked { carrier: carrier(), is_lost: false, users: 0, in_use: None };
                    self.files.entry(key).or_insert_with(new).users += 1;
                    key
                }
            };
            self.files.get_mut(&key)
        }

        /// Forgets a descriptor that SQLite closes. With the last one of a file, SQLite holds no lock on it.
        fn forget(&mut self, descriptor: c_int) {
            let Some(key) = self.keys.remove(&descriptor) else { return };
            if let Some(file) = self.files.get_mut(&key) {
                file.users -= 1;
                if file.users == 0 {
                    self.files.remove(&key);
                }
            }
        }
    }

    fn key(descriptor: c_int) -> Option<Key> {
        // SAFETY: all bytes may be zero; `fstat` fills them.
        let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
        // SAFETY: a descriptor and room for the answer.
        (unsafe { libc::fstat(descriptor, &raw mut found) } == 0).then_some((found.st_dev, found.st_ino))
    }

    /// Opens a separate descriptor for the locks of a file; `None` if they must be record locks. Logs nothing, because
    /// a subscriber may use SQLite.
    fn carrier(descriptor: c_int, key: Key) -> Option<File> {
        if !IS_FRESH.load(Ordering::Relaxed) {
            return None;
        }
        let carrier = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{descriptor}")).ok()?;
        let supported = (self::key(carrier.as_raw_fd()) == Some(key)) && {
            let set = |kind| set_lock(carrier.as_raw_fd(), kind, PROBE, 1);
            // A conflict shows that the kind of lock is supported, too.
            let locked = set(libc::F_RDLCK) == 0 || matches!(errno(), libc::EAGAIN | libc::EACCES);
            set(libc::F_UNLCK) == 0 && locked
        };
        // Closing the carrier drops no lock: SQLite has none on the file yet.
        supported.then_some(carrier)
    }

    fn set_lock(descriptor: c_int, kind: c_int, start: i64, length: i64) -> c_int {
        // SAFETY: all bytes may be zero.
        let mut request = unsafe { std::mem::zeroed::<flock>() };
        (request.l_type, request.l_whence) = (kind as _, libc::SEEK_SET as _);
        (request.l_start, request.l_len) = (start, length);
        // SAFETY: a `flock` that outlives the call.
        unsafe { libc::fcntl(descriptor, libc::F_OFD_SETLK, &raw mut request) }
    }

    /// Runs in a forked child before anything else: the parent's locks stay the parent's. Calls only async-signal-safe
    /// functions.
    extern "C" fn renew() {
        // SAFETY: the mutex was taken before the fork, by the thread whose copy this is.
        if let Some(table) = unsafe { (*SHARED.table.get()).as_mut() } {
            for file in table.files.values_mut() {
                let Some(carrier) = &file.carrier else { continue };
                if renew_one(carrier.as_raw_fd()) {
                    if let Some((start, length)) = file.in_use {
                        set_lock(carrier.as_raw_fd(), libc::F_RDLCK, start, length);
                    }
                } else {
                    // The descriptor is closed, and its number may soon be another file's.
                    std::mem::forget(file.carrier.take());
                    file.is_lost = true;
                }
            }
        }
        unlock();
    }

    /// Replaces a descriptor by a new one of the same file, under its number. If no descriptor is available, it is
    /// closed, and `false` is returned: the inherited one would release the parent's locks.
    fn renew_one(carrier: c_int) -> bool {
        let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        let (mut number, mut digits, mut at) = (carrier, [0_u8; 10], 10);
        while number > 0 || at == 10 {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        path[14..14 + 10 - at].copy_from_slice(&digits[at..]);
        // SAFETY: a path that ends with a zero; `File` closes what was opened.
        unsafe {
            let mut new = libc::open(path.as_ptr().cast(), libc::O_RDWR | libc::O_CLOEXEC);
            if new < 0 {
                // A read-only descriptor takes no exclusive lock, so the child writes nothing.
                new = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            }
            let is_replaced = new >= 0 && libc::dup3(new, carrier, libc::O_CLOEXEC) >= 0;
            if new >= 0 {
                drop(File::from_raw_fd(new));
            }
            if !is_replaced {
                libc::close(carrier);
            }
            is_replaced
        }
    }

    fn errno() -> c_int {
        // SAFETY: the address of this thread's variable.
        unsafe { *libc::__errno_location() }
    }

    fn set_errno(error: c_int) {
        // SAFETY: the address of this thread's variable.
        unsafe { *libc::__errno_location() = error };
    }
}
