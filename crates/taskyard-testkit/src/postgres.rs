//! A throw-away PostgreSQL server for tests: its own `initdb`, its own directory, its own port on the loopback.
//!
//! [`Cluster::start`] starts one, [`shared`] returns the one of this test process. Every test uses a database of its
//! own from [`Cluster::create_database`], so tests run side by side. Nothing is left behind: a watchdog process stops
//! the server and deletes the directory as soon as its end of a pipe closes, whether the test process dropped the
//! cluster, exited, or was killed.
//!
//! Invariants: no test ever connects to a PostgreSQL that was there before; a missing PostgreSQL is a panic that names
//! the package to install, never a skipped test. All calls block; they are short.

mod binaries;
#[cfg(test)]
mod tests;
mod watchdog;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use binaries::Binaries;
use watchdog::Watchdog;

/// Options of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Whether to write through to the disk (`fsync`), as in production. Off by default: only crash tests need it, and
    /// without it the data are in memory where there is space.
    pub durable: bool,
    /// Additional lines of postgresql.conf, which take precedence over the defaults of the cluster.
    pub settings: Vec<(String, String)>,
}

/// A running PostgreSQL server of this test process; stopped and deleted when dropped.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    directory: PathBuf,
    port: u16,
    databases: AtomicU32,
    // Last field: dropped after everything else, it removes the directory.
    _watchdog: Watchdog,
}

/// Returns the one cluster of this test process, started at first use.
///
/// # Panics
/// As [`Cluster::start`].
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}

impl Cluster {
    /// Starts a cluster for ordinary tests (no `fsync`).
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start; the message names the package to install, or contains the log.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&ClusterOptions::default())
    }

    /// Starts a cluster with the given options.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_with(options: &ClusterOptions) -> Self {
        let binaries = Binaries::find().unwrap_or_else(|problem| panic!("{problem}"));
        let directory = binaries.make_directory(options.durable);
        let watchdog = Watchdog::over(&directory);
        let data = directory.join("data");
        let mut initdb = binaries.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        if !options.durable {
            initdb.arg("--no-sync");
        }
        run(initdb.arg("-D").arg(&data), "initdb");

        let mut cluster = Self { binaries, directory, port: 0, databases: AtomicU32::new(0), _watchdog: watchdog };
        let pristine = read(&data.join("postgresql.conf"));
        // Another process may take the free port before the server does; another port is tried then.
        for attempt in 1.. {
            cluster.port = free_port();
            let settings = cluster.settings(options);
            std::fs::write(data.join("postgresql.conf"), format!("{pristine}\n{settings}"))
                .expect("the directory of the test cluster can be written");
            match cluster.try_start() {
                Ok(()) => break,
                Err(why) if attempt >= 5 => panic!("the test PostgreSQL does not start: {why}"),
                Err(_) => {}
            }
        }
        cluster
    }

    /// Returns the address of a database of this cluster, over TCP on the loopback.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the address of a database of this cluster, over the unix socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{directory}:{}/{database}", self.port)
    }

    /// Returns the TCP port on 127.0.0.1; it stays the same over [`Cluster::start_again`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database with a new name and returns its address.
    pub fn create_database(&self) -> String {
        self.url(&self.create_database_named_from("template0"))
    }

    /// Creates a copy of a database of this cluster that has no sessions, and returns its address. This is faster than
    /// migrating each database.
    pub fn create_database_from(&self, template: &str) -> String {
        self.url(&self.create_database_named_from(template))
    }

    fn create_database_named_from(&self, template: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql(&format!("create database \"{name}\" template \"{template}\""));
        name
    }

    /// Runs SQL in the database `postgres` and returns the rows, unaligned, one per line.
    ///
    /// # Panics
    /// If the server is not running or refuses the SQL.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// Runs SQL in a database, given by its name or by its address in this cluster.
    ///
    /// # Panics
    /// If the server is not running or refuses the SQL.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        self.try_psql_in(database, sql).unwrap_or_else(|why| panic!("psql failed: {why}"))
    }

    /// Runs SQL that may fail in a database, like [`Cluster::psql_in`].
    ///
    /// # Errors
    /// The error output of `psql`.
    ///
    /// # Panics
    /// If `psql` cannot be run.
    pub fn try_psql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let name = database.rsplit('/').next().unwrap_or(database);
        let mut psql = self.binaries.command("psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--username=postgres",
        ])
        .arg(format!("--host={}", self.directory.display()))
        .arg(format!("--port={}", self.port))
        .arg(format!("--dbname={name}"))
        .args(["--command", sql]);
        let output = psql.output().unwrap_or_else(|error| panic!("psql: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Dumps a database as it was when a snapshot was exported, and restores it as a new database; returns its address.
    ///
    /// # Panics
    /// If the snapshot no longer exists, or a program fails.
    pub fn copy_of_snapshot(&self, database: &str, snapshot: &str) -> String {
        let copy = self.create_database();
        let name = database.rsplit('/').next().unwrap_or(database);
        let dump = self.directory.join("dump.sql");
        let mut pg_dump = self.binaries.command("pg_dump");
        pg_dump
            .args(["--username=postgres", &format!("--snapshot={snapshot}")])
            .arg(format!("--host={}", self.directory.display()))
            .arg(format!("--port={}", self.port))
            .arg("--file")
            .arg(&dump)
            .arg(name);
        run(&mut pg_dump, "pg_dump");
        let mut psql = self.binaries.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--username=postgres"])
            .arg(format!("--host={}", self.directory.display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={}", copy.rsplit('/').next().unwrap_or_default()))
            .arg("--file")
            .arg(&dump);
        run(&mut psql, "psql");
        copy
    }

    /// Ends every other session of a database, as an administrator would, and returns how many there were.
    pub fn terminate_backends(&self, database: &str) -> usize {
        let name = database.rsplit('/').next().unwrap_or(database);
        let count = self.psql(&format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
        ));
        count.parse().expect("a count is a number")
    }

    /// Kills the server without a checkpoint, like a power cut; returns when it has ended.
    pub fn stop_immediate(&self) {
        let mut stop = self.binaries.command("pg_ctl");
        run(stop.args(["stop", "--mode=immediate", "--silent", "-D"]).arg(self.directory.join("data")), "pg_ctl stop");
    }

    /// Stops the server in an orderly way, ending every session; returns when it has ended.
    pub fn stop_fast(&self) {
        let mut stop = self.binaries.command("pg_ctl");
        run(stop.args(["stop", "--mode=fast", "--silent", "-D"]).arg(self.directory.join("data")), "pg_ctl stop");
    }

    /// Starts the server again on the same port, after [`Cluster::stop_immediate`]; returns when it accepts
    /// connections.
    ///
    /// # Panics
    /// If the server does not start.
    pub fn start_again(&self) {
        self.try_start().unwrap_or_else(|why| panic!("the test PostgreSQL does not start again: {why}"));
    }

    /// Creates a standby that has seen everything until now and receives nothing more, like one whose link is cut.
    pub fn back_up(&self) {
        let mut backup = self.binaries.command("pg_basebackup");
        backup
            .args(["--checkpoint=fast", "--no-sync", "--username=postgres"])
            .arg(format!("--host={}", self.directory.display()))
            .arg(format!("--port={}", self.port))
            .arg("-D")
            .arg(self.directory.join("standby"));
        run(&mut backup, "pg_basebackup");
    }

    /// Kills the server and lets the standby of [`Cluster::back_up`] take over at the same address, without the later
    /// commits.
    ///
    /// # Panics
    /// If there is no standby, or it does not start.
    pub fn fail_over(&self) {
        self.stop_immediate();
        let data = self.directory.join("data");
        let switch = || -> std::io::Result<()> {
            std::fs::rename(&data, self.directory.join("lost"))?;
            std::fs::rename(self.directory.join("standby"), &data)?;
            std::fs::write(data.join("standby.signal"), "")
        };
        switch().expect("there is a standby");
        self.start_again();
        let mut promote = self.binaries.command("pg_ctl");
        run(promote.args(["promote", "--wait", "--silent", "-D"]).arg(&data), "pg_ctl promote");
    }

    fn try_start(&self) -> Result<(), String> {
        let log = self.directory.join("log");
        let mut start = self.binaries.command("pg_ctl");
        start
            .args(["start", "--wait", "--timeout=60", "--silent", "-D"])
            .arg(self.directory.join("data"))
            .arg("-l")
            .arg(&log)
            // The server would inherit them and keep the pipe of the process that reads this output open.
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let status = start.status().map_err(|error| format!("pg_ctl: {error}"))?;
        if status.success() { Ok(()) } else { Err(read(&log)) }
    }

    fn settings(&self, options: &ClusterOptions) -> String {
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("port = {}", self.port),
            format!("unix_socket_directories = '{}'", self.directory.display()),
            "max_connections = 600".into(),
            "shared_buffers = '64MB'".into(),
            "jit = off".into(),
            "log_min_messages = warning".into(),
            "timezone = 'UTC'".into(),
        ];
        if !options.durable {
            // The log may be in memory, and a checkpoint costs little.
            lines.extend(["fsync = off", "full_page_writes = off", "max_wal_size = '512MB'"].map(String::from));
        }
        lines.extend(options.settings.iter().map(|(name, value)| format!("{name} = '{}'", value.replace('\'', "''"))));
        lines.join("\n") + "\n"
    }
}

fn run(command: &mut Command, what: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(output.status.success(), "{what} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    output
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
