//! Locates PostgreSQL's programs, and runs them as the right user.
//!
//! Searched in `TASKYARD_TEST_POSTGRES_BIN`, then in the directory printed by `pg_config --bindir`, then in
//! `/usr/lib/postgresql/*/bin`, newest first, then along `PATH`. The directory in the variable may contain the server's
//! programs alone; the clients (psql, pg_basebackup) are then those of the other directories. The server refuses to run
//! as root, so root runs all of them as the user `postgres`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const MISSING: &str = "PostgreSQL's server programs (initdb, pg_ctl, psql) were not found: install the package \
                       `postgresql` (Debian: apt-get install postgresql), or set TASKYARD_TEST_POSTGRES_BIN to their directory";

/// Maximum length of the directory, so that the path of the unix socket stays under the system's limit of 107 bytes.
const DIRECTORY_BYTES_MAX: usize = 70;

/// Directory of the programs, and the user to run them as.
#[derive(Debug)]
pub(super) struct Binaries {
    directory: PathBuf,
    become_user: Option<User>,
}

#[derive(Debug)]
struct User {
    uid: u32,
    gid: u32,
    switch: &'static str,
}

impl Binaries {
    pub(super) fn find() -> Result<Self, String> {
        let directory = match std::env::var_os("TASKYARD_TEST_POSTGRES_BIN") {
            Some(path) => {
                let path = PathBuf::from(path);
                if !has(&path, &SERVER) || (!complete(&path) && clients().is_none()) {
                    return Err(format!("TASKYARD_TEST_POSTGRES_BIN is {}, but {MISSING}", path.display()));
                }
                path
            }
            None => places().into_iter().find(|path| complete(path)).ok_or(MISSING)?,
        };
        Ok(Self { directory, become_user: user_for_root()? })
    }

    /// Returns a command for one of the programs, run as the right user in a directory that this user can enter.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut path = self.directory.join(program);
        if !path.is_file()
            && let Some(clients) = clients()
        {
            path = clients.join(program);
        }
        let mut command = match &self.become_user {
            None => Command::new(path),
            Some(user) if user.switch == "setpriv" => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", user.uid))
                    .arg(format!("--regid={}", user.gid))
                    .args(["--clear-groups", "--"])
                    .arg(path);
                command
            }
            Some(_) => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(path);
                command
            }
        };
        // The caller's PG* variables would lead to another server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Creates a directory that only the server's user can enter, with a path short enough for its socket.
    ///
    /// If `lasting` is false, the data may be in memory.
    pub(super) fn make_directory(&self, lasting: bool) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let preferred = if lasting { std::env::temp_dir() } else { memory().unwrap_or_else(std::env::temp_dir) };
        let suits = preferred.as_os_str().len() <= DIRECTORY_BYTES_MAX - 30
            && (self.become_user.is_none() || everyone_may_enter(&preferred));
        let base = if suits { preferred } else { PathBuf::from("/tmp") };
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let nanos = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.subsec_nanos());
            let path = base.join(format!("taskyard-pg-{}-{number}-{nanos:x}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
                        .expect("the mode of an own directory can be set");
                    if let Some(user) = &self.become_user {
                        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))
                            .expect("root may give a directory away");
                    }
                    return path;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no directory for the test PostgreSQL in {}: {error}", base.display()),
            }
        }
    }
}

/// Returns the file system in memory, if it has space for the databases of all tests of a process, about 4 GiB.
///
/// On a disk, removing hundreds of databases of a thousand files each delays all other tests.
fn memory() -> Option<PathBuf> {
    const ROOM: u64 = 12 << 30;
    let path = PathBuf::from("/dev/shm");
    let system = rustix::fs::statvfs(&path).ok()?;
    let available = std::fs::read_to_string("/proc/meminfo")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())?;
    (system.f_bavail * system.f_frsize > ROOM && available > ROOM >> 10).then_some(path)
}

/// Programs that a server needs.
const SERVER: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

fn complete(directory: &Path) -> bool {
    has(directory, &SERVER) && has(directory, &["psql"])
}

fn has(directory: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| directory.join(program).is_file())
}

/// Returns a directory of the machine with client programs, whose server is a different one.
fn clients() -> Option<&'static PathBuf> {
    static CLIENTS: OnceLock<Option<PathBuf>> = OnceLock::new();
    CLIENTS.get_or_init(|| places().into_iter().find(|path| has(path, &["psql"]))).as_ref()
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by(|left, right| right.cmp(left));
    places.extend(versions.into_iter().map(|(_, path)| path));
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places
}

fn user_for_root() -> Result<Option<User>, String> {
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    let (Some(uid), Some(gid)) = (id(&["-u", "postgres"]), id(&["-g", "postgres"])) else {
        return Err("PostgreSQL refuses to run as root and there is no user `postgres`: \
                    add one (useradd --system postgres), or run the tests as another user"
            .into());
    };
    let switch = ["setpriv", "runuser"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()))
        .ok_or(
            "neither setpriv nor runuser was found: install the package `util-linux`, or run the tests as another user",
        )?;
    Ok(Some(User { uid, gid, switch }))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn everyone_may_enter(path: &Path) -> bool {
    path.ancestors().all(|part| std::fs::metadata(part).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}
