//! The faults of the nemesis: one at a time, drawn from the seed, for some seconds.

use std::thread::JoinHandle;
use std::time::Duration;

use taskyard_faults::rng::SeededRng;
use taskyard_testkit::postgres::Cluster;
use taskyard_testkit::proxy::{Fault as Toxic, Which};

use crate::processes::Processes;

/// The database of a run.
#[derive(Clone)]
pub enum Database {
    Postgres { cluster: &'static Cluster, address: String },
    Sqlite { path: String },
}

impl Database {
    pub fn address(&self) -> &str {
        match self {
            Self::Postgres { address, .. } => address,
            Self::Sqlite { path } => path,
        }
    }
}

/// Purposes of connections, each with an SQL function that is called on it.
const CONNECTIONS: [(&str, &str); 5] = [
    ("heartbeats", "server_beat"),
    ("claims", "task_claim"),
    ("ends", "task_finish"),
    ("additions", "task_add"),
    ("notifications", "LISTEN"),
];
const TOXICS: [Toxic; 4] = [Toxic::BlackHole, Toxic::AnswersLost, Toxic::Cut, Toxic::Reset];
/// Out of memory, an I/O error, an internal error, a serialization failure, a cancelled statement.
const CODES: [&str; 5] = ["53200", "58030", "XX000", "40001", "57014"];
/// Ways in which a trigger of SQLite refuses: the statement, or the whole transaction with everything before it.
const RAISES: [&str; 2] = ["abort", "rollback"];
const STEPS: [&str; 4] = ["add", "claim", "end", "log"];
/// Rows that another transaction may lock.
const LOCKS: [&str; 8] = [
    "task WHERE state = 1 ORDER BY random() LIMIT 50",
    "task WHERE state = 2",
    "ready LIMIT 50",
    "edge WHERE open LIMIT 50",
    "claim",
    "unique_key",
    "queue",
    "server",
];

/// A fault. `place` is an index of [`Processes::slots`].
#[derive(Clone, Debug)]
pub enum Fault {
    /// Existing connections of one kind fail and stay so: bytes swallowed by a black hole do not come back.
    Toxic { place: usize, connections: &'static str, sent: &'static str, toxic: Toxic },
    /// Everything that a process sends and receives is late.
    Late { place: usize, by: Duration },
    /// All connections of a process end, and new ones are refused meanwhile.
    Unreachable { place: usize },
    /// A process gets a signal that kills or ends it.
    Signal { place: usize, signal: &'static str },
    /// A process is suspended meanwhile.
    Frozen { place: usize },
    /// A step of tasks is refused by the database, for one row in `one_in`. `how`: the SQLSTATE of PostgreSQL, or the
    /// action that a trigger of SQLite raises.
    Refused { step: &'static str, how: &'static str, one_in: u64 },
    /// Another transaction holds rows locked.
    Locked { rows: &'static str },
    /// Another transaction holds SQLite's one lock for writing.
    FileLocked,
    /// PostgreSQL is stopped, and started again.
    Restart { immediate: bool },
}

/// Kinds of faults in a deck, each as often as it is to be drawn.
#[derive(Clone, Copy, Debug)]
enum Card {
    Toxic,
    Late,
    Unreachable,
    Kill,
    Terminate,
    Freeze,
    Refuse,
    Lock,
    LockFile,
    Restart(bool),
}

/// Faults in an order that the seed decides, so that a short run meets every kind.
pub struct Deck {
    rng: SeededRng,
    all: Vec<Card>,
    left: Vec<Card>,
    refusals: &'static [&'static str],
}

impl Deck {
    pub fn new(seed: u64, database: &Database) -> Self {
        let processes = [Card::Kill, Card::Kill, Card::Kill, Card::Terminate, Card::Freeze, Card::Freeze];
        let (all, refusals) = match database {
            Database::Sqlite { .. } => {
                ([&processes[..], &[Card::Refuse; 4], &[Card::LockFile; 2]].concat(), &RAISES[..])
            }
            Database::Postgres { .. } => (
                [
                    &processes[..],
                    &[Card::Toxic; 8],
                    &[Card::Refuse; 4],
                    &[Card::Lock; 4],
                    &[Card::Late, Card::Unreachable, Card::Restart(true), Card::Restart(false)],
                ]
                .concat(),
                &CODES[..],
            ),
        };
        Self { rng: SeededRng::new(seed), all, left: Vec::new(), refusals }
    }

    /// Returns the next fault, and its duration.
    pub fn draw(&mut self) -> (Fault, Duration) {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let rng = &mut self.rng;
        let index = |rng: &mut SeededRng, below: usize| usize::try_from(rng.within(0..below as u64)).expect("an index");
        let card = self.left.swap_remove(index(rng, self.left.len()));
        let place = index(rng, 4);
        let fault = match card {
            Card::Toxic => {
                let (connections, sent) = rng.pick(&CONNECTIONS);
                Fault::Toxic { place, connections, sent, toxic: rng.pick(&TOXICS) }
            }
            Card::Late => Fault::Late { place, by: Duration::from_millis(rng.within(20..400)) },
            Card::Unreachable => Fault::Unreachable { place },
            Card::Kill => Fault::Signal { place, signal: "KILL" },
            Card::Terminate => Fault::Signal { place, signal: "TERM" },
            Card::Freeze => Fault::Frozen { place },
            Card::Refuse => {
                Fault::Refused { step: rng.pick(&STEPS), how: rng.pick(self.refusals), one_in: rng.pick(&[1, 20]) }
            }
            Card::Lock => Fault::Locked { rows: rng.pick(&LOCKS) },
            Card::LockFile => Fault::FileLocked,
            Card::Restart(immediate) => Fault::Restart { immediate },
        };
        let time = match card {
            Card::Kill | Card::Terminate | Card::Toxic => rng.within(200..800),
            Card::Restart(_) => rng.within(100..1_000),
            // Beyond the lease, or within it.
            Card::Freeze => rng.within(500..4_000),
            _ => rng.within(500..2_500),
        };
        (fault, Duration::from_millis(time))
    }

    /// Returns the pause until the next fault.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.within(50..500))
    }

    /// Returns, now and then, a process that is to die just before the fault: its successor starts during the fault.
    pub fn victim(&mut self) -> Option<usize> {
        self.rng.chance(20).then(|| usize::try_from(self.rng.within(0..4)).expect("it is small"))
    }
}

impl Fault {
    /// Returns its name in the report.
    pub fn name(&self) -> String {
        let role = |place: usize| if place < 2 { "server" } else { "client" };
        match self {
            Self::Toxic { connections, toxic, .. } => format!("{connections}: {toxic:?}"),
            Self::Late { place, .. } => format!("{}: late", role(*place)),
            Self::Unreachable { place } => format!("{}: unreachable", role(*place)),
            Self::Signal { place, signal } => format!("{}: SIG{signal}", role(*place)),
            Self::Frozen { place } => format!("{}: SIGSTOP", role(*place)),
            Self::Refused { step, how, .. } => format!("{step}: {how}"),
            Self::Locked { rows } => format!("locked: {}", rows.split(' ').next().unwrap_or_default()),
            Self::FileLocked => "locked: the file".into(),
            Self::Restart { immediate: true } => "PostgreSQL: immediate stop".into(),
            Self::Restart { immediate: false } => "PostgreSQL: fast stop".into(),
        }
    }

    /// Applies the fault, lets all processes run for `time`, and lifts it. Returns whether it hit anything.
    pub fn strike(&self, processes: &mut Processes, database: &Database, time: Duration) -> bool {
        let (holder, hit) = match self {
            Self::Toxic { .. } => (None, self.poison(processes) > 0),
            _ => (self.apply(processes, database, time), true),
        };
        processes.run_for(time);
        if let Some(holder) = holder {
            // The lock may have been refused or broken, which ends it.
            let _ = holder.join();
        }
        self.lift(processes, database);
        hit
    }

    /// Applies a toxic, and returns to how many connections. Clients have no heartbeats: if a process has no connection
    /// of the kind, the others are tried.
    fn poison(&self, processes: &Processes) -> usize {
        let Self::Toxic { place, sent, toxic, .. } = self else { return 0 };
        let places = (0..4).map(|step| (place + step) % 4);
        let mut counts =
            places.flat_map(|place| &processes.slots[place].proxy).map(|proxy| proxy.fault(Which::Sent(sent), *toxic));
        counts.find(|count| *count > 0).unwrap_or(0)
    }

    fn apply(&self, processes: &mut Processes, database: &Database, time: Duration) -> Option<JoinHandle<()>> {
        let proxies = |place: usize| processes.slots[place].proxy.iter();
        match (self, database) {
            (Self::Late { place, by }, _) => {
                for proxy in proxies(*place) {
                    proxy.fault(Which::All, Toxic::Delay(*by));
                }
            }
            (Self::Unreachable { place }, _) => {
                for proxy in proxies(*place) {
                    proxy.refuse(true);
                    proxy.fault(Which::All, Toxic::Cut);
                }
            }
            (Self::Signal { place, signal }, _) => processes.signal(*place, signal),
            (Self::Frozen { place }, _) => processes.signal(*place, "STOP"),
            (Self::Refused { step, how, one_in }, Database::Postgres { cluster, address }) => {
                cluster.psql_in(address, &format!("INSERT INTO nemesis.fault VALUES ('{step}', '{how}', {one_in})"));
            }
            (Self::Refused { step, how, one_in }, Database::Sqlite { path }) => {
                let rows = match *step {
                    "add" => "insert on ty_task when",
                    "claim" => "update on ty_task when old.state <> 2 and new.state = 2 and",
                    "end" => "update on ty_task when old.state = 2 and new.state <> 2 and",
                    _ => "insert on ty_task_log when",
                };
                let refusal = format!("select raise({how}, 'the nemesis refuses')");
                run_on(
                    path,
                    &format!("create trigger nemesis before {rows} random() % {one_in} = 0 begin {refusal}; end"),
                );
            }
            (Self::Locked { rows }, Database::Postgres { cluster, address }) => {
                let (cluster, address) = (*cluster, address.clone());
                let sql = format!(
                    "BEGIN; SET LOCAL lock_timeout = '1s'; SELECT 1 FROM taskyard.{rows} FOR UPDATE; \
                     SELECT pg_sleep({}); ROLLBACK",
                    time.as_secs_f64()
                );
                return Some(std::thread::spawn(move || drop(cluster.try_psql_in(&address, &sql))));
            }
            (Self::FileLocked, Database::Sqlite { path }) => {
                let path = path.clone();
                return Some(std::thread::spawn(move || {
                    let Ok(file) = rusqlite::Connection::open(path) else { return };
                    let _ = file.busy_timeout(Duration::from_secs(2));
                    if file.execute_batch("BEGIN IMMEDIATE").is_ok() {
                        std::thread::sleep(time);
                    }
                }));
            }
            (Self::Restart { immediate: true }, Database::Postgres { cluster, .. }) => cluster.stop_immediate(),
            (Self::Restart { immediate: false }, Database::Postgres { cluster, .. }) => cluster.stop_fast(),
            _ => {}
        }
        None
    }

    fn lift(&self, processes: &mut Processes, database: &Database) {
        match (self, database) {
            (Self::Late { place, by }, _) => {
                if let Some(proxy) = &processes.slots[*place].proxy {
                    proxy.fault(Which::Having(Toxic::Delay(*by)), Toxic::None);
                }
            }
            (Self::Unreachable { place }, _) => {
                processes.slots[*place].proxy.iter().for_each(|proxy| proxy.refuse(false));
            }
            (Self::Frozen { place }, _) => processes.signal(*place, "CONT"),
            (Self::Refused { .. }, Database::Postgres { cluster, address }) => {
                cluster.psql_in(address, "DELETE FROM nemesis.fault");
            }
            (Self::Refused { .. }, Database::Sqlite { path }) => run_on(path, "drop trigger nemesis"),
            (Self::Restart { .. }, Database::Postgres { cluster, .. }) => cluster.start_again(),
            _ => {}
        }
    }
}

/// Runs SQL on a file that other programs write to.
fn run_on(path: &str, sql: &str) {
    let file = rusqlite::Connection::open(path).expect("the file is there");
    file.busy_timeout(Duration::from_secs(30)).expect("it is a setting");
    file.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}
