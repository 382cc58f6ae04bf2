//! The processes of a run: two servers and two clients on one database, on PostgreSQL each behind a proxy of its own. A
//! process that has ended is replaced; the peak memory of each is read while it lives.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use taskyard_faults::ledger::{Event, read_file};
use taskyard_testkit::proxy::Proxy;

use crate::deadline;

/// A short lease: a minute shows what an hour shows with the default.
pub const LEASE: &str = "2";
/// Number of tasks of one client process, after which another one starts.
const CLIENT_TASKS: u64 = 3_000;
const TICK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Server,
    Client,
}

/// A position for a process, with the route to the database for all processes in this position.
pub struct Slot {
    pub role: Role,
    pub proxy: Option<Proxy>,
    address: String,
    process: Option<Process>,
}

struct Process {
    child: Child,
    output: PathBuf,
    /// Seed of a client.
    seed: u64,
    tasks: u64,
    /// Whether the process was asked or forced to end.
    doomed: bool,
}

/// Total additions of all clients.
#[derive(Clone, Copy, Debug)]
pub struct Production {
    pub tasks: u64,
    /// Additions per second.
    pub rate: f64,
}

pub struct Processes {
    pub slots: Vec<Slot>,
    directory: PathBuf,
    seed: u64,
    started: u64,
    production: Production,
    /// Number of tasks that clients which have ended had begun to add.
    pub begun: u64,
    /// Times at which servers were killed, by their process id, in seconds of the epoch.
    pub killed: BTreeMap<u32, f64>,
    /// Peak memory by role, in KiB.
    pub peaks: BTreeMap<Role, u64>,
    /// Processes that ended without a cause.
    pub fallen: Vec<String>,
}

impl Processes {
    /// Starts two servers, of which the first also knows the spare tasks, and two clients.
    pub fn start(database: &str, directory: &Path, seed: u64, production: Production) -> Self {
        let slot = |role| {
            let proxied = database.starts_with("postgres").then(|| Proxy::for_url(database));
            let (proxy, address) = proxied.map_or((None, database.to_owned()), |(proxy, url)| (Some(proxy), url));
            Slot { role, proxy, address, process: None }
        };
        let slots = [Role::Server, Role::Server, Role::Client, Role::Client].map(slot).into();
        let mut processes = Self {
            slots,
            directory: directory.to_owned(),
            seed,
            started: 0,
            production,
            begun: 0,
            killed: BTreeMap::new(),
            peaks: BTreeMap::new(),
            fallen: Vec::new(),
        };
        processes.tick();
        processes
    }

    /// Lets all processes run for `time`.
    pub fn run_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            std::thread::sleep(TICK);
            self.tick();
        }
    }

    /// Returns whether every task was added and every client has ended.
    pub fn are_clients_done(&self) -> bool {
        self.clients_running() == 0
    }

    pub fn clients_running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.role == Role::Client && slot.process.is_some()).count()
    }

    /// Starts no further clients.
    pub fn end_production(&mut self) {
        self.production.tasks = 0;
    }

    pub fn signal(&mut self, place: usize, signal: &str) {
        let Slot { role, process: Some(process), .. } = &mut self.slots[place] else { return };
        if signal == "KILL" && *role == Role::Server {
            self.killed.insert(process.child.id(), crate::seconds());
        }
        process.doomed |= ["KILL", "TERM"].contains(&signal);
        // The process may have ended by now.
        let mut kill = Command::new("kill");
        let _ = kill.arg(format!("-{signal}")).arg(process.child.id().to_string()).stderr(Stdio::null()).status();
    }

    fn tick(&mut self) {
        for place in 0..self.slots.len() {
            let role = self.slots[place].role;
            if let Some(process) = &mut self.slots[place].process {
                let peak = self.peaks.entry(role).or_default();
                *peak = (*peak).max(peak_of(process.child.id()).unwrap_or(0));
                let Some(status) = process.child.try_wait().expect("a child of ours") else { continue };
                let written = std::fs::read_to_string(&process.output).unwrap_or_default();
                // A server that has not started yet may find no database.
                let is_up = role == Role::Client || written.starts_with("ready");
                if !process.doomed && (role == Role::Server || !status.success()) && is_up {
                    self.fallen.push(format!("{role:?} {} ended with {status}: {written}", process.child.id()));
                }
                if role == Role::Client {
                    let ledger = self.directory.join(format!("client-{}.ledger", process.seed));
                    let events = read_file(&ledger).unwrap_or_default();
                    self.begun += events.iter().filter(|event| matches!(event, Event::Adding { .. })).count() as u64;
                }
                deadline::ended(process.child.id());
                self.slots[place].process = None;
            }
            self.fill(place);
        }
    }

    fn fill(&mut self, place: usize) {
        let slot = &self.slots[place];
        let (role, address) = (slot.role, slot.address.clone());
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.started);
        let mut tasks = 0;
        let mut command = match role {
            Role::Server => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_faults-server"));
                command.arg(address).arg(&self.directory);
                if place == 0 {
                    command.env("FAULTS_STEPS", "1");
                }
                command
            }
            Role::Client => {
                let running: u64 = self.slots.iter().flat_map(|slot| &slot.process).map(|process| process.tasks).sum();
                let open = self.production.tasks.saturating_sub(self.begun + running);
                if open == 0 {
                    return;
                }
                tasks = (open / 2).clamp(open.min(100), CLIENT_TASKS);
                let mut command = Command::new(env!("CARGO_BIN_EXE_faults-client"));
                command.arg(address).arg(&self.directory).arg(seed.to_string());
                command.arg(tasks.to_string()).arg((self.production.rate / 2.0).to_string());
                command
            }
        };
        let output = self.directory.join(format!("{role:?}-{}.out", self.started));
        let (out, errors) = (File::create(&output), File::create(output.with_extension("err")));
        command
            .env("FAULTS_UNSYNCED", "1")
            .env("TASKYARD_LEASE", LEASE)
            .env("TASKYARD_HEARTBEAT_INTERVAL", "0.4")
            .env("TASKYARD_RESCUE_INTERVAL", "0.5")
            .env("QUEUE_MAX_WORKERS", "2")
            .env("TASKYARD_CONCURRENCY", "40")
            .stdin(Stdio::piped())
            .stdout(out.expect("the directory is ours"))
            .stderr(errors.expect("the directory is ours"));
        let child = command.spawn().expect("a program of this package");
        deadline::started(child.id());
        self.slots[place].process = Some(Process { child, output, seed, tasks, doomed: false });
        self.started += 1;
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.slots.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            let _ = process.child.kill();
            let _ = process.child.wait();
            deadline::ended(process.child.id());
        }
    }
}

/// Returns the peak resident memory of a process, in KiB.
fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
