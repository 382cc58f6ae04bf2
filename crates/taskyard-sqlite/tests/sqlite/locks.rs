//! Other code of the same process opens and closes the database's files, as another SQLite library in it does, or as
//! copying the file does: the locks of the store stay.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskyard_core::{Store, TaskId};
use taskyard_sqlite::SqliteStore;

use crate::child;
use crate::deleted_files::seen;
use crate::sandbox::{Sandbox, add, task};

const SECONDS: u64 = 2;

/// A part: repeatedly opens the file with SQLite, reads and closes it.
pub fn look(path: &Path) -> ! {
    loop {
        if let Ok(raw) = rusqlite::Connection::open(path) {
            let _ = raw.query_row("select count(*) from sqlite_schema", [], |_| Ok(()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A part: adds from eight tasks at once, while the files of the database are opened and closed by other code.
pub async fn add_among_closes(store: &Arc<SqliteStore>, path: &Path, say: impl Fn(String) + Copy + Send + 'static) {
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let files = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", path.display()));
    let other = OtherLibrary::load();
    say(format!("other library: {}", other.is_some()));
    let closer = std::thread::spawn(move || {
        while Instant::now() < until {
            for file in &files {
                drop(File::open(file));
            }
            if let Some(other) = &other {
                other.look(&files[0]);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let adders: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                while Instant::now() < until {
                    match store.add(&[task()]).await {
                        Ok(added) => say(format!("added={}", added[0].id)),
                        Err(error) => say(format!("refused={error}")),
                    }
                }
            })
        })
        .collect();
    for adder in adders {
        adder.await.unwrap();
    }
    closer.join().unwrap();
}

/// The system's SQLite, beside the one that this program was linked with: as in Python, whose module `sqlite3` brings
/// its own.
struct OtherLibrary {
    open: Open,
    exec: Exec,
    close: Close,
}

type Open = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int;
type Exec = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void, *mut c_void, *mut *mut c_char) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void) -> c_int;

#[allow(unsafe_code, reason = "functions of a library that is loaded here")]
impl OtherLibrary {
    /// Loads the library; `None` if there is none.
    fn load() -> Option<Self> {
        // SAFETY: SQLite's documented signatures; the library is never unloaded.
        unsafe {
            let library = libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            let symbol = |name: &CStr| if library.is_null() { library } else { libc::dlsym(library, name.as_ptr()) };
            let found = [c"sqlite3_open", c"sqlite3_exec", c"sqlite3_close"].map(symbol);
            if found.iter().any(|symbol| symbol.is_null()) {
                return None;
            }
            Some(Self {
                open: std::mem::transmute::<*mut c_void, Open>(found[0]),
                exec: std::mem::transmute::<*mut c_void, Exec>(found[1]),
                close: std::mem::transmute::<*mut c_void, Close>(found[2]),
            })
        }
    }

    /// Opens the file, reads it and closes it.
    fn look(&self, path: &str) {
        let path = CString::new(path).unwrap();
        let (mut connection, null) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: valid pointers; `sqlite3_close` takes what `sqlite3_open` has made.
        unsafe {
            if (self.open)(path.as_ptr(), &raw mut connection) == 0 {
                let sql = c"select count(*) from sqlite_master";
                (self.exec)(connection, sql.as_ptr(), null, null, std::ptr::null_mut());
            }
            (self.close)(connection);
        }
    }
}

/// A part: waits within a transaction, with a forked child that outlives it. Without `descriptors` the child can open
/// no file.
#[allow(unsafe_code, reason = "the fork, and the limit")]
pub async fn fork_within_a_transaction(store: &Arc<SqliteStore>, path: &Path, descriptors: bool, say: impl Fn(String)) {
    add(store, task()).await;
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch("begin immediate").unwrap();
    if !descriptors {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a limit that outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
    }
    // SAFETY: the child calls nothing but `sleep` and `_exit`.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        unsafe {
            libc::sleep(60);
            libc::_exit(0);
        }
    }
    say(format!("forked={forked}"));
    std::thread::sleep(Duration::from_secs(60));
}

/// Returns the additions that a process has acknowledged until it ends.
fn acknowledged(child: &mut Child) -> HashSet<TaskId> {
    let mut added = HashSet::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        assert!(!line.contains("refused="), "{line}");
        added.extend(line.split_once("added=").map(|(_, id)| id.parse::<TaskId>().unwrap()));
    }
    assert!(child.wait().unwrap().success());
    added
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn closes_in_the_same_process_lose_nothing() {
    for adders in [1, 2] {
        let sandbox = Sandbox::new();
        sandbox.store().await.close().await;
        let mut looker = child::spawn("look", &sandbox.file());
        let mut children: Vec<Child> = (0..adders).map(|_| child::spawn("add_among_closes", &sandbox.file())).collect();
        let threads: Vec<_> =
            children.drain(..).map(|mut child| std::thread::spawn(move || acknowledged(&mut child))).collect();
        let added: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
        looker.kill().unwrap();
        looker.wait().unwrap();
        let added: HashSet<TaskId> = added.into_iter().flat_map(Result::unwrap).collect();
        assert!(added.len() > 100, "only {}", added.len());
        let seen = seen(&sandbox.file(), &added).await;
        assert_eq!(seen, added.len(), "with {adders} that add");
        let check: String = sandbox.raw().query_row("pragma quick_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_forked_child_keeps_no_lock_of_a_killed_process() {
    child_keeps_no_lock("fork_within_a_transaction").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_forked_child_that_can_open_nothing_keeps_no_lock_either() {
    child_keeps_no_lock("fork_without_descriptors").await;
}

async fn child_keeps_no_lock(part: &str) {
    let sandbox = Sandbox::new();
    sandbox.store().await.close().await;
    let mut child = child::spawn(part, &sandbox.file());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let forked: i32 = lines.find_map(|line| line.split_once("forked=")?.1.parse().ok()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let store = sandbox.store().await;
    let added = tokio::time::timeout(Duration::from_secs(20), store.add(&[task()])).await;
    let still_there = Path::new(&format!("/proc/{forked}")).exists();
    std::process::Command::new("kill").arg(forked.to_string()).status().unwrap();
    assert!(still_there, "the forked process outlives the other one");
    assert!(added.unwrap().is_ok());
}
