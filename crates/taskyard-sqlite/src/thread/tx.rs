//! The view of a write transaction that operations get: the connection, the time, and the state collected until the
//! commit.
//!
//! The time is read once per operation. Counts of tasks by queue and state, and the notifications to send, are
//! collected here and written (or sent) once per transaction.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use taskyard_core::Rate;
use taskyard_core::TaskState;

use crate::codec::{int, rate};
use crate::fault::Outcome;
use crate::sql::sql;

/// Maximum number of queue names cached between transactions; beyond it the whole cache is cleared.
const NAMES_MAX: usize = 50_000;

/// A queue's name as a small number, valid within one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueueNo(u32);

/// Configuration of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueConfig {
    /// Row number; the queue's own partitions are `2 * id + 2` and the next.
    pub(crate) id: i64,
    /// Whether claims skip the queue.
    pub(crate) paused: bool,
    /// Maximum number of tasks that run at once.
    pub(crate) running_max: Option<i64>,
    /// Limit of task starts per interval.
    pub(crate) rate: Option<Rate>,
    /// Whether a server has ever served the queue apart from others.
    pub(crate) apart: Apart,
    /// Interval in microseconds after which a ready task moves up by one priority; `None` if the queue does not age.
    pub(crate) ageing: Option<i64>,
}

/// Progress of moving a queue to a partition of its own, for servers that serve only some queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    /// Never set apart.
    No,
    /// New tasks go to the queue's own partition; earlier ones are being moved.
    Moving,
    /// No task of the queue is in the common partition.
    Moved,
}

impl QueueConfig {
    /// Returns whether its tasks are in a partition of their own.
    pub(crate) fn has_lane(self) -> bool {
        self.restricted() || self.apart != Apart::No
    }

    /// Returns whether claims of its tasks depend on other tasks: the queue is paused or limited.
    pub(crate) fn restricted(self) -> bool {
        self.paused || self.running_max.is_some() || self.rate.is_some()
    }

    /// Returns the queue's own partition for a runtime.
    pub(crate) fn lane(self, runtime: i64) -> i64 {
        2 * self.id + 2 + runtime
    }
}

/// Position of the group's number: the upper bits of a partition's number.
pub(crate) const GROUP_BITS: u32 = 32;

/// Returns the group of a partition. Partitions of tasks that run alone are -1 and -2 within their group.
pub(crate) fn group_of(lane: i64) -> i64 {
    (lane + 2) >> GROUP_BITS
}

/// Returns whether a partition is for tasks that run alone.
pub(crate) fn is_alone(lane: i64) -> bool {
    lane < group_of(lane) << GROUP_BITS
}

/// The kinds that one set of builds has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: i64,
    pub(crate) runtime: i64,
    /// The builds that have refused these kinds, in ascending order.
    pub(crate) builds: Vec<i64>,
    /// Whether no kind belongs to the group any more.
    pub(crate) draining: bool,
}

/// Notifications to send after the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingNotifications {
    /// A task became claimable, or the next timer is due earlier.
    pub(crate) work: bool,
    /// A task reached a final state.
    pub(crate) finished: bool,
    /// A running task is to be cancelled or stopped.
    pub(crate) signal: bool,
    /// A schedule was stored or changed.
    pub(crate) schedules: bool,
}

impl PendingNotifications {
    /// Adds the notifications of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.work |= other.work;
        self.finished |= other.finished;
        self.signal |= other.signal;
        self.schedules |= other.schedules;
    }

    /// Returns whether there is any notification.
    pub(crate) fn any(self) -> bool {
        self.work || self.finished || self.signal || self.schedules
    }
}

/// State of the writer: queue names and their configuration between transactions, changes until the commit.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    numbers: HashMap<Arc<str>, QueueNo>,
    names: Vec<Arc<str>>,
    configs: HashMap<QueueNo, QueueConfig>,
    configs_version: Option<i64>,
    groups: Vec<Group>,
    /// The group of each refused kind, by runtime.
    kinds: [HashMap<String, i64>; 2],
    /// Whether this transaction changed the groups.
    groups_changed: bool,
    /// Pending changes of `ty_queue_count`.
    pub(crate) counts: HashMap<(QueueNo, u8), i64>,
    /// Pending notifications.
    pub(crate) pending_notifications: PendingNotifications,
}

impl Memory {
    /// Prepares for a new transaction.
    pub(crate) fn begin(&mut self, connection: &Connection, configs_version: i64) -> Outcome<()> {
        self.counts.clear();
        self.pending_notifications = PendingNotifications::default();
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

    /// Discards the state of a transaction that did not commit, since what was read in it may not hold. Returns whether
    /// it had changed groups of kinds.
    pub(crate) fn forget(&mut self) -> bool {
        self.counts.clear();
        self.pending_notifications = PendingNotifications::default();
        self.configs_version = None;
        self.groups_changed
    }

    /// Reads the configurations and groups again.
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
    /// Time of the database, in microseconds.
    pub(crate) now: i64,
    /// The writer's state.
    pub(crate) memory: &'a mut Memory,
}

impl<'a> Tx<'a> {
    /// Returns a statement, prepared once per connection.
    pub(crate) fn sql(&self, text: &'static str) -> Outcome<CachedStatement<'a>> {
        Ok(self.connection.prepare_cached(text)?)
    }

    /// Runs a statement that returns no rows, and returns how many rows it changed.
    pub(crate) fn run(&self, text: &'static str, params: impl rusqlite::Params) -> Outcome<usize> {
        Ok(self.sql(text)?.execute(params)?)
    }

    /// Returns whether a statement returns a row.
    pub(crate) fn any(&self, text: &'static str, params: impl rusqlite::Params) -> Outcome<bool> {
        Ok(self.sql(text)?.exists(params)?)
    }

    /// Returns the number of a queue's name.
    pub(crate) fn queue(&mut self, name: &str) -> QueueNo {
        self.memory.number(name)
    }

    /// Returns a queue's name.
    pub(crate) fn queue_name(&self, queue: QueueNo) -> Arc<str> {
        Arc::clone(&self.memory.names[queue.0 as usize])
    }

    /// Returns a queue's configuration, if it has one.
    pub(crate) fn config(&self, queue: QueueNo) -> Option<QueueConfig> {
        self.memory.configs.get(&queue).copied()
    }

    /// Returns the queues with a rate limit.
    pub(crate) fn rated(&self) -> impl Iterator<Item = (QueueNo, QueueConfig)> {
        let all = self.memory.configs.iter().map(|(queue, config)| (*queue, *config));
        all.filter(|(_, config)| config.rate.is_some())
    }

    /// Returns the time at which a queue's bucket of starts is full. A value written while the clock was ahead is
    /// corrected.
    pub(crate) fn full_at(&self, config: QueueConfig) -> Outcome<i64> {
        let found = self.sql(sql!("queue/full_at"))?.query_row([config.id], |row| Ok(int(row, 0))).optional()?;
        let full_at = found.unwrap_or(0);
        let Some(rebased) = config.rate.and_then(|rate| rate.rebased(full_at, self.now)) else { return Ok(full_at) };
        self.run(sql!("queue/set_full_at"), params![config.id, rebased])?;
        Ok(rebased)
    }

    /// Must be called after an operation has changed the table of queues.
    pub(crate) fn queues_changed(&mut self) -> Outcome<()> {
        self.run(sql!("sequence/queues_changed"), [])?;
        self.memory.load_configs(self.connection)?;
        // The next transaction reads the new version number and loads once more.
        self.memory.configs_version = None;
        Ok(())
    }

    /// Returns the groups of refused kinds.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.memory.groups.iter()
    }

    /// Returns the group of a kind; `None` if no build has refused it.
    pub(crate) fn kind_group(&self, runtime: i64, kind: &str) -> Option<&Group> {
        let id = self.memory.kinds[usize::from(runtime == 1)].get(kind)?;
        self.memory.groups.iter().find(|group| group.id == *id)
    }

    /// Assigns a kind to another group.
    pub(crate) fn set_kind(&mut self, runtime: i64, kind: &str, group: i64) -> Outcome<()> {
        self.run(sql!("kind/set"), params![runtime, kind, group])?;
        self.run(sql!("kind/changed"), [])?;
        self.memory.kinds[usize::from(runtime == 1)].insert(kind.to_owned(), group);
        self.note_groups()
    }

    /// Must be called after an operation has changed the tables of kinds and groups.
    pub(crate) fn groups_changed(&mut self) -> Outcome<()> {
        self.memory.load_groups(self.connection)?;
        self.note_groups()
    }

    fn note_groups(&mut self) -> Outcome<()> {
        self.memory.groups_changed = true;
        // Makes other processes, and the next transaction here, load the groups again.
        self.run(sql!("sequence/queues_changed"), [])?;
        self.memory.configs_version = None;
        Ok(())
    }

    /// Counts tasks of a queue that left (`by` negative) or entered a state.
    pub(crate) fn counted(&mut self, queue: QueueNo, state: TaskState, by: i64) {
        let code = u8::try_from(state.code()).expect("codes are small");
        *self.memory.counts.entry((queue, code)).or_default() += by;
    }

    /// Returns the number of tasks of a queue in a state.
    pub(crate) fn count(&self, queue: QueueNo, state: TaskState) -> Outcome<i64> {
        let code = u8::try_from(state.code()).expect("codes are small");
        let stored: Option<i64> = self
            .sql(sql!("queue/count_get"))?
            .query_row(params![&*self.queue_name(queue), code], |row| row.get(0))
            .optional()?;
        Ok(stored.unwrap_or(0) + self.memory.counts.get(&(queue, code)).copied().unwrap_or(0))
    }

    /// Writes the counts, as the last step before the commit.
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
