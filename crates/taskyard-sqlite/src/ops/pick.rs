//! Selects the runnable tasks that a claim takes, in their order.
//!
//! The common partition is read in order and only until enough is found: the cost does not depend on the number of
//! tasks or queues. A task there whose queue was paused or limited meanwhile is moved to that queue's own partition the
//! first time a claim meets it, so pausing a queue with a million tasks costs nothing. Own partitions are visited only
//! if they are not empty; a queue that was freed drains from its own partition, merged by order. All partitions are
//! read in each group of kinds that the server's build has not refused.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, Rows, params};
use taskyard_core::TaskState;
use taskyard_core::store::{ClaimCursor, ClaimRequest};

use crate::codec::int;
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::transitions::alone_lane;
use crate::thread::tx::{Apart, GROUP_BITS, Group, QueueNo, Tx};

/// Maximum number of rows that one step moves to their own partitions: about 20 ms.
pub(crate) const MOVED_MAX: usize = 5_000;
/// Number of the first own partition.
const OWN_LANE_MIN: i64 = 4;

/// A runnable task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The negated priority.
    pub(crate) rank: i64,
    pub(crate) order: i64,
    pub(crate) lane: i64,
}

/// A scan of the common partition.
struct Scan {
    lane: i64,
    wanted: usize,
    found: Vec<Candidate>,
    /// Tasks whose queue was paused or limited since they were added.
    moves: Vec<(Candidate, QueueNo)>,
    /// Start of the scan, if it continues from the head.
    until: Option<(i64, i64)>,
}

/// The filters of a claim.
pub(crate) struct Picker {
    runtime: i64,
    alone: bool,
    queues: Option<HashSet<QueueNo>>,
    cursor: Option<ClaimCursor>,
    /// First partition numbers of the groups that this server's build may take: kinds that it has not refused.
    bases: Vec<i64>,
    /// Position where the scan was cut off: another claim may find more.
    pub(crate) cut: Option<Candidate>,
}

impl Picker {
    /// Creates a picker for a request.
    pub(crate) fn new(tx: &mut Tx<'_>, request: &ClaimRequest, build: Option<i64>) -> Self {
        let queues = request.queues.as_ref().map(|names| names.iter().map(|name| tx.queue(name)).collect());
        let runtime = i64::from(request.runtime.code());
        let takes =
            |group: &&Group| group.runtime == runtime && build.is_none_or(|build| !group.builds.contains(&build));
        let groups = tx.groups().filter(takes).map(|group| group.id << GROUP_BITS);
        Self {
            bases: std::iter::once(0).chain(groups).collect(),
            runtime,
            alone: request.alone,
            // Without a filter, the head of the range is as close as any position in it.
            cursor: request.cursor.filter(|_| queues.is_some()),
            queues,
            cut: None,
        }
    }

    /// Returns the next `wanted` tasks.
    pub(crate) fn pick(&mut self, tx: &mut Tx<'_>, wanted: usize) -> Outcome<Vec<Candidate>> {
        if self.alone {
            let first = self.first_alone(tx, true)?;
            return Ok(first.into_iter().take(wanted).collect());
        }
        let mut found = if self.all_apart(tx) { Vec::new() } else { self.common(tx, wanted)? };
        let common = found.len();
        self.own_lanes(tx, wanted, &mut found)?;
        if found.len() > common {
            found.sort_unstable();
            found.truncate(wanted);
        }
        Ok(found)
    }

    /// Returns whether a task that must run alone is ready.
    pub(crate) fn alone_waiting(&self, tx: &mut Tx<'_>) -> Outcome<bool> {
        Ok(self.first_alone(tx, false)?.is_some())
    }

    fn wants(&self, queue: QueueNo) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.contains(&queue))
    }

    /// Returns whether none of the wanted tasks can be in the common partition.
    fn all_apart(&self, tx: &Tx<'_>) -> bool {
        let apart = |queue| tx.config(queue).is_some_and(|config| config.apart == Apart::Moved);
        self.queues.as_ref().is_some_and(|queues| queues.iter().all(|queue| apart(*queue)))
    }

    fn first_alone(&self, tx: &mut Tx<'_>, within_limit: bool) -> Outcome<Option<Candidate>> {
        let mut first: Option<Candidate> = None;
        for base in &self.bases {
            let found = self.first_alone_in(tx, base + alone_lane(self.runtime), within_limit)?;
            first = first.into_iter().chain(found).min();
        }
        Ok(first)
    }

    fn first_alone_in(&self, tx: &mut Tx<'_>, lane: i64, within_limit: bool) -> Outcome<Option<Candidate>> {
        let mut scan = tx.sql(sql!("ready/scan"))?;
        let mut rows = scan.query([lane])?;
        while let Some(row) = rows.next()? {
            let queue = tx.queue(&crate::codec::text(row, 2));
            let config = tx.config(queue);
            if !self.wants(queue) || config.is_some_and(|config| config.paused) {
                continue;
            }
            if within_limit && self.allowance(tx, queue, 1)? == 0 {
                continue;
            }
            // Waiting for all other tasks to end would not let this one start sooner.
            if let Some(config) = config
                && let Some(rate) = config.rate
                && rate.free(tx.full_at(config)?, tx.now) == 0
            {
                continue;
            }
            return Ok(Some(Candidate { rank: int(row, 0), order: int(row, 1), lane }));
        }
        Ok(None)
    }

    /// Reads the common partition of each group: from the cursor on, and from the head if that is not enough.
    fn common(&mut self, tx: &mut Tx<'_>, wanted: usize) -> Outcome<Vec<Candidate>> {
        let mut found = Vec::new();
        for base in self.bases.clone() {
            found.extend(self.common_in(tx, base + self.runtime, wanted)?);
        }
        if self.bases.len() > 1 {
            found.sort_unstable();
            found.truncate(wanted);
        }
        Ok(found)
    }

    fn common_in(&mut self, tx: &mut Tx<'_>, lane: i64, wanted: usize) -> Outcome<Vec<Candidate>> {
        let mut scan =
            Scan { lane, wanted, found: Vec::with_capacity(wanted.min(1_024)), moves: Vec::new(), until: None };
        if let Some(cursor) = self.cursor {
            let key = (-i64::from(cursor.priority), cursor.order);
            let mut statement = tx.sql(sql!("ready/scan_after"))?;
            self.scan(tx, statement.query(params![lane, key.0, key.1])?, &mut scan)?;
            scan.until = Some(key);
        }
        if scan.found.len() < wanted {
            let mut statement = tx.sql(sql!("ready/scan"))?;
            self.scan(tx, statement.query([lane])?, &mut scan)?;
            if scan.until.is_some() {
                scan.found.sort_unstable();
            }
        }
        for (candidate, queue) in scan.moves {
            move_to_own(tx, candidate, queue)?;
        }
        Ok(scan.found)
    }

    fn scan(&mut self, tx: &mut Tx<'_>, mut rows: Rows<'_>, scan: &mut Scan) -> Outcome<()> {
        while scan.found.len() < scan.wanted {
            let Some(row) = rows.next()? else { break };
            let candidate = Candidate { rank: int(row, 0), order: int(row, 1), lane: scan.lane };
            if scan.until.is_some_and(|until| (candidate.rank, candidate.order) > until) {
                break;
            }
            let queue = tx.queue(row.get_ref(2)?.as_str().unwrap_or_default());
            if tx.config(queue).is_some_and(|config| config.restricted()) {
                scan.moves.push((candidate, queue));
                if scan.moves.len() >= MOVED_MAX {
                    self.cut = Some(candidate);
                    break;
                }
            } else if self.wants(queue) {
                scan.found.push(candidate);
            }
        }
        Ok(())
    }

    fn own_lanes(&mut self, tx: &mut Tx<'_>, wanted: usize, found: &mut Vec<Candidate>) -> Outcome<()> {
        // A queue's partitions in several groups share its allowance.
        let mut shared: HashMap<QueueNo, (usize, Vec<Candidate>)> = HashMap::new();
        for base in &self.bases {
            let (mut lane, end) = (base + OWN_LANE_MIN - 1, base + (1 << GROUP_BITS) - 2);
            let mut next = tx.sql(sql!("ready/next_lane"))?;
            loop {
                let following: Option<i64> = next.query_row([lane, end], |row| row.get(0)).optional()?;
                let Some(following) = following else { break };
                lane = following;
                if lane & 1 != self.runtime {
                    continue;
                }
                let mut scan = tx.sql(sql!("ready/scan"))?;
                let mut rows = scan.query([lane])?;
                let (mut left, mut of) = (wanted, None);
                while left > 0 {
                    let Some(row) = rows.next()? else { break };
                    if of.is_none() {
                        let queue = tx.queue(row.get_ref(2)?.as_str().unwrap_or_default());
                        of = Some(queue);
                        left = self.allowance(tx, queue, wanted)?;
                        if left == 0 {
                            break;
                        }
                        shared.entry(queue).or_insert((left, Vec::new()));
                    }
                    left -= 1;
                    if let Some((_, taken)) = of.and_then(|queue| shared.get_mut(&queue)) {
                        taken.push(Candidate { rank: int(row, 0), order: int(row, 1), lane });
                    }
                }
            }
        }
        for (_, (most, mut taken)) in shared {
            taken.sort_unstable();
            taken.truncate(most);
            found.append(&mut taken);
        }
        Ok(())
    }

    /// Returns how many tasks of a queue may be taken now.
    fn allowance(&self, tx: &Tx<'_>, queue: QueueNo, wanted: usize) -> Outcome<usize> {
        if !self.wants(queue) {
            return Ok(0);
        }
        let Some(config) = tx.config(queue) else { return Ok(wanted) };
        if config.paused {
            return Ok(0);
        }
        let mut free = wanted;
        if let Some(max) = config.running_max {
            let aside: i64 =
                tx.sql(sql!("end_aside/of_queue"))?.query_row([&*tx.queue_name(queue)], |row| row.get(0))?;
            let running = tx.count(queue, TaskState::Doing)? - aside;
            free = free.min(usize::try_from(max - running).unwrap_or(0));
        }
        if let Some(rate) = config.rate {
            let mut starts = rate.free(tx.full_at(config)?, tx.now) as usize;
            let mut alone = false;
            for base in self.bases.iter().filter(|_| !self.alone) {
                let lane = base + alone_lane(self.runtime);
                alone |= tx.any(sql!("ready/any_of_queue"), params![lane, tx.queue_name(queue)])?;
            }
            // One start is reserved for tasks that must run alone, or tasks that are always ready would take each one
            // that becomes free.
            starts = starts.saturating_sub(usize::from(alone));
            free = free.min(starts);
        }
        Ok(free)
    }
}

/// Moves a task from the common partition of a runtime to its queue's own, within its group.
pub(crate) fn move_to_own(tx: &mut Tx<'_>, candidate: Candidate, queue: QueueNo) -> Outcome<()> {
    let Some(config) = tx.config(queue) else { return Ok(()) };
    let name = tx.queue_name(queue);
    let key = params![candidate.lane, candidate.rank, candidate.order];
    let ages_at: Option<i64> = tx.sql(sql!("ready/ages_at"))?.query_row(key, |row| row.get(0)).optional()?.flatten();
    tx.run(sql!("ready/delete"), key)?;
    let key = params![candidate.lane + config.lane(0), candidate.rank, candidate.order, &*name, ages_at];
    tx.run(sql!("ready/add_ageing"), key)?;
    Ok(())
}
