//! SQLite's file locks, held so that nothing else in this process can drop them.
//!
//! POSIX record locks belong to a process: two SQLite libraries in one process (Python's `sqlite3` module beside this one) do not
//! see each other's, and closing any descriptor of a file drops all that the process holds on it
//! (<https://sqlite.org/howtocorrupt.html>, sections 2.2 and 2.2.1). Another process then takes the database for unused: it removes
//! the write-ahead log that this process goes on writing to, or writes to it at the same time.
//!
//! So the bundled SQLite is given its own `fcntl` and `close` (`xSetSystemCall`), which turn its record locks into open file
//! description locks (`F_OFD_SETLK`). They conflict with the locks of all other libraries, in this process too, and end with their
//! descriptor only. One descriptor per file, which SQLite does not know, carries all of them, because SQLite's bookkeeping is per
//! file and process: a lock is often released through another descriptor than the one that took it.
//!
//! Record locks stay where these are not to be had: on other systems than Linux, on architectures whose calling conventions may
//! pass a variadic argument in another way (all but x86_64, aarch64 and riscv64), on file systems without them, without `/proc`, and
//! in a Rust program whose own connections used this SQLite before its first store: what they hold are record locks.
//!
//! A lock of this kind is shared with a forked child, unlike record locks. So the child gets a new descriptor at its birth, and on it
//! the locks that say that the database is in use: the copied bookkeeping takes them for held.

/// Changes the locks of this program's SQLite; does something at the first call only.
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

    /// The bytes that a connection holds a shared lock on: of the database (`SHARED_FIRST`, `SHARED_SIZE`), and of the log's index
    /// (`UNIX_SHM_DMS`).
    const IN_USE: [(i64, i64); 2] = [(0x4000_0002, 510), (128, 1)];
    /// A byte that SQLite never locks.
    const PROBE: i64 = 1 << 40;

    /// The device and inode of a file.
    type Key = (u64, u64);

    /// A file that SQLite has locked.
    struct Locked {
        /// Carries the locks; `None` if they are record locks.
        carrier: Option<File>,
        /// Whether this is a forked child that could not get a carrier of its own: each of its locks is refused.
        is_lost: bool,
        /// The descriptors that SQLite has of it.
        users: usize,
        /// Which of [`IN_USE`] is locked.
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
    /// Whether this SQLite had no connection before its locks were changed.
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
                // First `close`: what `fcntl` notes of a descriptor must be forgotten with it.
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

    /// SQLite's `close`.
    unsafe extern "C" fn close(descriptor: c_int) -> c_int {
        with_table(|table| table.forget(descriptor));
        // SAFETY: SQLite closes a descriptor of its own.
        unsafe { libc::close(descriptor) }
    }

    /// SQLite's `fcntl`.
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

    /// Notes whether the lock that says that the file is in use is held.
    fn note(in_use: &mut Option<(i64, i64)>, request: &flock) {
        let (start, length) = (request.l_start, request.l_len);
        if c_int::from(request.l_type) != libc::F_UNLCK {
            *in_use = IN_USE.into_iter().find(|range| *range == (start, length)).or(*in_use);
        } else if in_use.is_some_and(|(first, _)| start <= first && (length == 0 || first < start + length)) {
            *in_use = None;
        }
    }

    impl Table {
        /// The file of a descriptor; `None` if it cannot be found out.
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

        /// SQLite closes this descriptor. With its last one of a file it holds no lock on it.
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

    /// A descriptor of its own for the locks of a file; `None` if they must be record locks. Logs nothing: a subscriber
    /// may use SQLite.
    fn carrier(descriptor: c_int, key: Key) -> Option<File> {
        if !IS_FRESH.load(Ordering::Relaxed) {
            return None;
        }
        let carrier = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{descriptor}")).ok()?;
        let supported = (self::key(carrier.as_raw_fd()) == Some(key)) && {
            let set = |kind| set_lock(carrier.as_raw_fd(), kind, PROBE, 1);
            // A conflict is an answer, too.
            let locked = set(libc::F_RDLCK) == 0 || matches!(errno(), libc::EAGAIN | libc::EACCES);
            set(libc::F_UNLCK) == 0 && locked
        };
        // Closing it drops no lock: SQLite has none on the file yet.
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

    /// In a forked child, before anything else runs there: the parent's locks stay the parent's. Calls nothing that is not
    /// async-signal-safe.
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
                    // Its number is closed, and may soon be another file's.
                    std::mem::forget(file.carrier.take());
                    file.is_lost = true;
                }
            }
        }
        unlock();
    }

    /// Replaces a descriptor by a new one of the same file, under its number. Where no descriptor is to be had, it is closed, and
    /// `false` is returned: the one that was inherited would release the parent's locks.
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
                // A descriptor that can only be read takes no exclusive lock: the child writes nothing.
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
