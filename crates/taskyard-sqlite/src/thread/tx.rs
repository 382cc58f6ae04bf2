//! What an operation sees of a write transaction: the connection, the time, and what is remembered until the commit.
//!
//! The time is read once per operation. Counts of tasks by queue and state, and the bells to ring, are collected here
//! and written (or rung) once per transaction.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use taskyard_core::Rate;
use taskyard_core::TaskState;

use crate::codec::{int, rate};
use crate::fault::Outcome;
use crate::sql::sql;

/// Names of queues remembered between transactions; more are forgotten all at once.
const NAMES_MAX: usize = 50_000;

/// A queue's name as a small number, valid within one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueNo(u32);

/// A queue that someone configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueConfig {
    /// The row's number; its lanes are `2 * id + 2` and the next.
    pub(crate) id: i64,
    /// Claims pass it by.
    pub(crate) paused: bool,
    /// The most tasks that run at once.
    pub(crate) running_max: Option<i64>,
    /// How many start in some time.
    pub(crate) rate: Option<Rate>,
    /// Whether a server has served it apart from others.
    pub(crate) apart: Apart,
    /// After so many microseconds what stands in it moves up by one priority.
    pub(crate) ageing: Option<i64>,
}

/// How far a queue has come to a lane of its own for servers that serve only some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    /// It never was set apart.
    No,
    /// What is added goes to its own lane; what was there before is being moved.
    Moving,
    /// Nothing of it is in the common lane.
    Moved,
}

impl QueueConfig {
    /// Whether its tasks stand in a lane of their own.
    pub(crate) fn has_lane(self) -> bool {
        self.restricted() || self.apart != Apart::No
    }

    /// Whether its tasks may be taken only with regard to others.
    pub(crate) fn restricted(self) -> bool {
        self.paused || self.running_max.is_some() || self.rate.is_some()
    }

    /// Its own lane.
    pub(crate) fn lane(self, runtime: i64) -> i64 {
        2 * self.id + 2 + runtime
    }
}

/// The group's number stands in a lane's upper bits.
pub(crate) const GROUP_BITS: u32 = 32;

/// The group in which a lane is. Lanes of tasks that run alone are -1 and -2 within it.
pub(crate) fn group_of(lane: i64) -> i64 {
    (lane + 2) >> GROUP_BITS
}

/// Whether a lane is for tasks that run alone.
pub(crate) fn is_alone(lane: i64) -> bool {
    lane < group_of(lane) << GROUP_BITS
}

/// Kinds that one set of builds refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: i64,
    pub(crate) runtime: i64,
    /// Those builds, in ascending order.
    pub(crate) builds: Vec<i64>,
    /// No kind has it any more.
    pub(crate) draining: bool,
}

/// Which bells ring after the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rings {
    /// Something became claimable, or a timer came nearer.
    pub(crate) work: bool,
    /// A task became final.
    pub(crate) finished: bool,
    /// A running task is to be cancelled or stopped.
    pub(crate) signal: bool,
    /// A schedule was stored or changed.
    pub(crate) schedules: bool,
}

impl Rings {
    /// All of both.
    pub(crate) fn add(&mut self, other: Self) {
        self.work |= other.work;
        self.finished |= other.finished;
        self.signal |= other.signal;
        self.schedules |= other.schedules;
    }

    /// Whether any rings.
    pub(crate) fn any(self) -> bool {
        self.work || self.finished || self.signal || self.schedules
    }
}

/// What the writer remembers: queue names and their configuration between transactions, changes until the commit.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    numbers: HashMap<Arc<str>, QueueNo>,
    names: Vec<Arc<str>>,
    configs: HashMap<QueueNo, QueueConfig>,
    configs_version: Option<i64>,
    groups: Vec<Group>,
    /// The group of each refused kind, by runtime.
    kinds: [HashMap<String, i64>; 2],
    /// Whether this transaction changed them.
    groups_changed: bool,
    /// Changes of `ty_queue_count`.
    pub(crate) counts: HashMap<(QueueNo, u8), i64>,
    /// Bells to ring.
    pub(crate) rings: Rings,
}

impl Memory {
    /// A transaction begins.
    pub(crate) fn begin(&mut self, connection: &Connection, configs_version: i64) -> Outcome<()> {
        self.counts.clear();
        self.rings = Rings::default();
        self.groups_changed = false;
        if self.names.len() > NAMES_MAX {
            self.numbers.clear();
            self.names.clear();
            self.configs_version = None;
        }
        if self.configs_version != Some(configs_version) {
            self.load_configs(connection)?;
            self.load_groups(connection)?;
            self.configs_version = Some(configs_version);
        }
        Ok(())
    }

    /// The transaction did not commit: what was read in it may not be so.
    /// Answers whether groups of kinds were changed in it.
    pub(crate) fn forget(&mut self) -> bool {
        self.counts.clear();
        self.rings = Rings::default();
        self.configs_version = None;
        self.groups_changed
    }

    /// Reads everything anew.
    pub(crate) fn reload(&mut self, connection: &Connection) -> Outcome<()> {
        self.load_configs(connection)?;
        self.load_groups(connection)
    }

    fn load_groups(&mut self, connection: &Connection) -> Outcome<()> {
        self.groups.clear();
        self.kinds = [HashMap::new(), HashMap::new()];
        let mut statement = connection.prepare_cached(sql!("kind/groups"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let builds = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default();
            self.groups.push(Group { id: int(row, 0), runtime: int(row, 1), builds, draining: int(row, 3) != 0 });
        }
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(sql!("kind/all"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.kinds[usize::from(int(row, 0) == 1)].insert(row.get(1)?, int(row, 2));
        }
        Ok(())
    }

    fn load_configs(&mut self, connection: &Connection) -> Outcome<()> {
        self.configs.clear();
        let mut statement = connection.prepare_cached(sql!("queue/all"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
            let apart = match row.get::<_, i64>(4)? {
                0 => Apart::No,
                1 => Apart::Moving,
                _ => Apart::Moved,
            };
            let (paused, running_max, ageing) = (row.get(2)?, row.get(3)?, row.get(5)?);
            let config = QueueConfig { id, paused, running_max, rate: rate(row, 6), apart, ageing };
            let number = self.number(&name);
            self.configs.insert(number, config);
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> QueueNo {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = QueueNo(u32::try_from(self.names.len()).expect("names are forgotten long before"));
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }
}

/// A write transaction as an operation sees it.
pub(crate) struct Tx<'a> {
    /// The connection.
    pub(crate) connection: &'a Connection,
    /// The database's time, in microseconds.
    pub(crate) now: i64,
    /// What is remembered.
    pub(crate) memory: &'a mut Memory,
}

impl<'a> Tx<'a> {
    /// A statement, prepared once per connection.
    pub(crate) fn sql(&self, text: &'static str) -> Outcome<CachedStatement<'a>> {
        Ok(self.connection.prepare_cached(text)?)
    }

    /// Runs a statement that returns no rows; how many it changed.
    pub(crate) fn run(&self, text: &'static str, params: impl rusqlite::Params) -> Outcome<usize> {
        Ok(self.sql(text)?.execute(params)?)
    }

    /// Whether a statement returns a row.
    pub(crate) fn any(&self, text: &'static str, params: impl rusqlite::Params) -> Outcome<bool> {
        Ok(self.sql(text)?.exists(params)?)
    }

    /// The number of a queue's name.
    pub(crate) fn queue(&mut self, name: &str) -> QueueNo {
        self.memory.number(name)
    }

    /// A queue's name.
    pub(crate) fn queue_name(&self, queue: QueueNo) -> Arc<str> {
        Arc::clone(&self.memory.names[queue.0 as usize])
    }

    /// A queue's configuration, if someone configured it.
    pub(crate) fn config(&self, queue: QueueNo) -> Option<QueueConfig> {
        self.memory.configs.get(&queue).copied()
    }

    /// The queues whose starts are limited.
    pub(crate) fn rated(&self) -> impl Iterator<Item = (QueueNo, QueueConfig)> {
        let all = self.memory.configs.iter().map(|(queue, config)| (*queue, *config));
        all.filter(|(_, config)| config.rate.is_some())
    }

    /// When a queue's bucket of starts is full. One that met a clock that was ahead is put right.
    pub(crate) fn full_at(&self, config: QueueConfig) -> Outcome<i64> {
        let found = self.sql(sql!("queue/full_at"))?.query_row([config.id], |row| Ok(int(row, 0))).optional()?;
        let full_at = found.unwrap_or(0);
        let Some(rebased) = config.rate.and_then(|rate| rate.rebased(full_at, self.now)) else { return Ok(full_at) };
        self.run(sql!("queue/set_full_at"), params![config.id, rebased])?;
        Ok(rebased)
    }

    /// The table of queues was changed by this operation.
    pub(crate) fn queues_changed(&mut self) -> Outcome<()> {
        self.run(sql!("sequence/queues_changed"), [])?;
        self.memory.load_configs(self.connection)?;
        // The next transaction reads the new version number and loads once more.
        self.memory.configs_version = None;
        Ok(())
    }

    /// The groups of refused kinds.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.memory.groups.iter()
    }

    /// The group of a kind; `None` if no build refused it.
    pub(crate) fn kind_group(&self, runtime: i64, kind: &str) -> Option<&Group> {
        let id = self.memory.kinds[usize::from(runtime == 1)].get(kind)?;
        self.memory.groups.iter().find(|group| group.id == *id)
    }

    /// Gives a kind another group.
    pub(crate) fn set_kind(&mut self, runtime: i64, kind: &str, group: i64) -> Outcome<()> {
        self.run(sql!("kind/set"), params![runtime, kind, group])?;
        self.run(sql!("kind/changed"), [])?;
        self.memory.kinds[usize::from(runtime == 1)].insert(kind.to_owned(), group);
        self.note_groups()
    }

    /// The tables of kinds and groups were changed by this operation.
    pub(crate) fn groups_changed(&mut self) -> Outcome<()> {
        self.memory.load_groups(self.connection)?;
        self.note_groups()
    }

    fn note_groups(&mut self) -> Outcome<()> {
        self.memory.groups_changed = true;
        // Other processes load them anew, and the next transaction here.
        self.run(sql!("sequence/queues_changed"), [])?;
        self.memory.configs_version = None;
        Ok(())
    }

    /// A task of a queue left a state or entered one.
    pub(crate) fn counted(&mut self, queue: QueueNo, state: TaskState, by: i64) {
        let code = u8::try_from(state.code()).expect("codes are small");
        *self.memory.counts.entry((queue, code)).or_default() += by;
    }

    /// How many tasks of a queue are in a state.
    pub(crate) fn count(&self, queue: QueueNo, state: TaskState) -> Outcome<i64> {
        let code = u8::try_from(state.code()).expect("codes are small");
        let stored: Option<i64> = self
            .sql(sql!("queue/count_get"))?
            .query_row(params![&*self.queue_name(queue), code], |row| row.get(0))
            .optional()?;
        Ok(stored.unwrap_or(0) + self.memory.counts.get(&(queue, code)).copied().unwrap_or(0))
    }

    /// Writes the counts: the last thing before the commit.
    pub(crate) fn write_counts(&mut self) -> Outcome<()> {
        if self.memory.counts.is_empty() {
            return Ok(());
        }
        let mut statement = self.sql(sql!("queue/count_add"))?;
        for ((queue, state), by) in self.memory.counts.drain().filter(|(_, by)| *by != 0) {
            statement.execute(params![&*self.memory.names[queue.0 as usize], state, by])?;
        }
        Ok(())
    }
}
