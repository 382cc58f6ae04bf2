//! Compares the records of the processes with the contents of the database, when everything has ended.
//!
//! An operation whose reply was lost stays unknown: its task may exist or not. Everything else is exact.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use taskyard::Attempt;
use taskyard::{ServerId, Store, TaskFilter, TaskId, TaskRecord, TaskState, Timestamp};
use taskyard_core::task::AttemptOutcome;
use taskyard_faults::ledger::{Event, read_all};
use taskyard_faults::tasks::Proof;

use crate::faults::Database;

/// Counts, and each promise that was broken.
#[derive(Debug, Default)]
pub struct Findings {
    /// Additions that were begun, acknowledged, refused permanently, merged into the holder of their key.
    pub begun: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub merged: usize,
    /// Begun without a reply, and stored.
    pub unknown_stored: usize,
    /// Number of tasks by final state, in the order of [`TaskState::ALL`].
    pub by_state: [usize; 7],
    pub runs: usize,
    pub runs_repeated: usize,
    pub lost: usize,
    pub invented: usize,
    pub decided_twice: usize,
    /// Times at which tasks were done, in seconds of the epoch, in order.
    pub done_at: Vec<f64>,
    /// Servers with which attempts were lost, and the times at which their tasks were free again, in seconds of the
    /// epoch.
    pub freed_at: Vec<(ServerId, f64)>,
    /// A sentence for each of the first broken promises.
    pub broken: Vec<String>,
    pub broken_count: usize,
}

impl Findings {
    fn break_promise(&mut self, what: impl FnOnce() -> String) {
        self.broken_count += 1;
        if self.broken.len() < 20 {
            self.broken.push(what());
        }
    }
}

/// Contents of the ledgers.
#[derive(Default)]
struct Told {
    begun: HashSet<TaskId>,
    added: HashSet<TaskId>,
    refused: HashSet<TaskId>,
    merged: HashMap<TaskId, TaskId>,
    cancelled: HashSet<TaskId>,
    /// Tokens of the runs of each task.
    runs: HashMap<TaskId, HashSet<String>>,
    observed: HashMap<TaskId, (String, Option<String>)>,
}

#[derive(Deserialize)]
struct Payload {
    args: Vec<u64>,
}

pub async fn check(store: &dyn Store, directory: &Path, database: &Database) -> Findings {
    let mut findings = Findings::default();
    let told = Told::read(directory, &mut findings);
    let records = all_records(store).await;
    findings.begun = told.begun.len();
    (findings.acknowledged, findings.refused) = (told.added.len(), told.refused.len());
    (findings.merged, findings.runs) = (told.merged.len(), told.runs.values().map(HashSet::len).sum());
    findings.runs_repeated = told.runs.values().map(|tokens| tokens.len() - 1).sum();
    for id in told.added.iter().chain(told.merged.values()) {
        if !records.contains_key(id) {
            findings.lost += 1;
            findings.break_promise(|| format!("{id} was acknowledged and is not there"));
        }
    }
    for id in told.refused.iter().chain(told.merged.keys()).filter(|id| records.contains_key(id)) {
        findings.invented += 1;
        findings.break_promise(|| format!("{id} was refused and is there"));
    }
    for (id, record) in &records {
        findings.by_state[record.state as usize] += 1;
        if !told.begun.contains(id) {
            findings.invented += 1;
            findings.break_promise(|| format!("{id} was never added"));
        }
        let has_answer = told.added.contains(id) || told.refused.contains(id) || told.merged.contains_key(id);
        findings.unknown_stored += usize::from(!has_answer);
        task(&told, &records, record, &mut findings);
        if record.attempt > 1 {
            let attempts = store.attempts(*id).await.expect("the database is there");
            history(record, &attempts, &mut findings);
            let lost = attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Lost);
            findings.freed_at.extend(lost.filter_map(|attempt| Some((attempt.server?, seconds(attempt.ended_at?)))));
        }
    }
    if !has_logs(store, &records).await {
        findings.break_promise(|| "no log line is there: what refuses them refuses nothing".into());
    }
    let done = records.values().filter(|record| record.state == TaskState::Done);
    findings.done_at = done.filter_map(|record| Some(seconds(record.finished_at?))).collect();
    findings.done_at.sort_by(f64::total_cmp);
    unique_keys(&records, &mut findings);
    if let Database::Postgres { cluster, address } = database {
        rows(&|sql| cluster.psql_in(address, sql), &records, &mut findings);
    }
    let status = store.status().await.expect("the database is there");
    if status.misplaced + status.ends_aside + status.ends_held + status.parked > 0 {
        findings.break_promise(|| format!("the queue is not clean: {status:?}"));
    }
    findings
}

fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

impl Told {
    fn read(directory: &Path, findings: &mut Findings) -> Self {
        let mut told = Self::default();
        for event in read_all(directory).expect("the ledgers are ours") {
            match event {
                Event::Adding { task } => drop(told.begun.insert(task)),
                Event::Added { task } => drop(told.added.insert(task)),
                Event::Refused { task } => drop(told.refused.insert(task)),
                Event::Merged { task, holder } => drop(told.merged.insert(task, holder)),
                Event::Cancelling { task } => drop(told.cancelled.insert(task)),
                Event::Started { task, token, .. } => {
                    if !told.runs.entry(task).or_default().insert(token) {
                        findings.break_promise(|| format!("one claim of {task} began two runs"));
                    }
                }
                Event::Ended { .. } => {}
                Event::Observed { task, state, result } => {
                    if let Some(before) = told.observed.insert(task, (state.clone(), result.clone()))
                        && before != (state, result)
                    {
                        findings.decided_twice += 1;
                        findings.break_promise(|| format!("two observers saw different ends of {task}"));
                    }
                }
            }
        }
        told
    }
}

async fn all_records(store: &dyn Store) -> HashMap<TaskId, TaskRecord> {
    let mut records = HashMap::new();
    let mut before = None;
    loop {
        let filter = TaskFilter { limit: 10_000, before, ..TaskFilter::default() };
        let page = store.list(&filter).await.expect("the database is there");
        let Some(last) = page.last() else { return records };
        before = Some(last.id);
        records.extend(page.into_iter().map(|record| (record.id, record)));
    }
}

/// Checks that one task ended as it had to, once, and by the run with its token.
fn task(told: &Told, records: &HashMap<TaskId, TaskRecord>, record: &TaskRecord, findings: &mut Findings) {
    let (id, state) = (record.id, record.state);
    let runs = told.runs.get(&id);
    let result = record.result.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if told.observed.get(&id).is_some_and(|seen| *seen != (state.to_string(), result.clone())) {
        findings.decided_twice += 1;
        findings.break_promise(|| format!("{id} was seen to end otherwise: {:?}, {record:?}", told.observed.get(&id)));
    }
    if record.at_most_once && runs.is_some_and(|runs| runs.len() > 1) {
        findings.break_promise(|| format!("{id} was to run at most once: {runs:?}"));
    }
    let payload: Option<Payload> = serde_json::from_slice(&record.payload).ok();
    // An effect's own connection may fail any number of times.
    let fails = payload.and_then(|payload| payload.args.get(1).copied()).unwrap_or(0);
    let error = record.error.as_ref().map_or("", |error| error.error_type.as_str());
    let is_cancelled = |id: TaskId| told.cancelled.contains(&id);
    let fine = match state {
        TaskState::Done => {
            let proof: Option<Proof> = result.as_deref().and_then(|text| serde_json::from_str(text).ok());
            proof.is_some_and(|proof| {
                proof.attempt == record.attempt && runs.is_some_and(|runs| runs.contains(&proof.token))
            })
        }
        TaskState::Failed => match (record.fallen_from, error) {
            (Some(root), _) => records.get(&root).is_some_and(|root| root.state == TaskState::Failed),
            (None, "WorkerDied") => record.at_most_once || record.crashes >= 3,
            (None, "CutShort" | "ServerLost") => record.at_most_once,
            (None, _) => fails > u64::from(record.retry.max_retries) || record.kind.ends_with("effect"),
        },
        TaskState::Cancelled => match record.fallen_from {
            Some(root) => is_cancelled(root),
            None => is_cancelled(id),
        },
        _ => false,
    };
    if !fine {
        findings.break_promise(|| format!("a wrong end: {record:?}, runs {runs:?}"));
    }
    if record.failures > record.retry.max_retries + 1 || record.crashes > 3 || record.attempt < record.failures {
        findings.break_promise(|| format!("counters: {record:?}"));
    }
}

/// Returns whether one of many tasks has a log line. A quarter of them logs, and lines may have been refused.
async fn has_logs(store: &dyn Store, records: &HashMap<TaskId, TaskRecord>) -> bool {
    let may_log = |record: &&TaskRecord| record.kind.ends_with("deed") && record.state == TaskState::Done;
    for record in records.values().filter(may_log).take(200) {
        if !store.logs(record.id, 0, 1).await.expect("the database is there").is_empty() {
            return true;
        }
    }
    false
}

/// Checks that the attempts of a task are numbered, one ended it, and its counters match them.
fn history(record: &TaskRecord, attempts: &[Attempt], findings: &mut Findings) {
    let count = |outcome| attempts.iter().filter(|attempt| attempt.outcome == outcome).count();
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    let fine = numbers == (1..=record.attempt).collect::<Vec<_>>()
        && count(AttemptOutcome::Done) == usize::from(record.state == TaskState::Done)
        && count(AttemptOutcome::Failed) == record.failures as usize
        && count(AttemptOutcome::Lost) == record.lost as usize
        && count(AttemptOutcome::Crashed) == record.crashes as usize;
    if !fine {
        findings.break_promise(|| format!("history: {record:?}, {attempts:?}"));
    }
}

/// Checks that no two tasks with one unique key ran at the same time.
fn unique_keys(records: &HashMap<TaskId, TaskRecord>, findings: &mut Findings) {
    let mut by_key: HashMap<&str, Vec<&TaskRecord>> = HashMap::new();
    for record in records.values() {
        if let Some(key) = &record.unique_key {
            by_key.entry(key).or_default().push(record);
        }
    }
    for holders in by_key.values_mut() {
        holders.sort_by_key(|record| record.finished_at);
        for pair in holders.windows(2) {
            if pair[1].started_at.is_some() && pair[1].started_at < pair[0].finished_at {
                findings.break_promise(|| format!("two held one key: {:?}, {:?}", pair[0], pair[1]));
            }
        }
    }
}

/// Checks PostgreSQL's own rows: the trigger's record of every end, callers' transactions, and tables that must be
/// empty.
fn rows(psql: &dyn Fn(&str) -> String, records: &HashMap<TaskId, TaskRecord>, findings: &mut Findings) {
    let twice = psql(
        "SELECT t.id FROM taskyard.task t LEFT JOIN nemesis.decision d ON d.task = t.id \
         GROUP BY t.id HAVING count(d.task) <> 1 OR bool_or(d.was_final)",
    );
    findings.decided_twice += twice.lines().count();
    for id in twice.lines().take(5) {
        findings.break_promise(|| format!("{id} was not decided once, by its row's own changes"));
    }
    let empty = [
        (
            "half a transaction",
            "nemesis.note n FULL JOIN (SELECT id FROM taskyard.task) t ON t.id = n.task WHERE t.id IS NULL",
        ),
        (
            "an effect without its end",
            "nemesis.effect e LEFT JOIN taskyard.task t ON t.id = e.task AND t.state = 4 WHERE t.id IS NULL",
        ),
        ("an effect that happened twice", "(SELECT FROM nemesis.effect GROUP BY task HAVING count(*) > 1) e"),
        ("a row of the runnable range", "taskyard.ready"),
        ("a row of what waits", "taskyard.waiting"),
        ("a unique key", "taskyard.unique_key"),
        ("an open edge", "taskyard.edge e JOIN taskyard.task t ON t.id = e.parent_id WHERE e.open AND t.state = 4"),
        ("a cascade", "taskyard.cascade"),
        (
            "a claim of a server that is gone",
            "taskyard.claim c JOIN taskyard.server s ON s.id = c.server_id WHERE s.dead_at IS NOT NULL",
        ),
    ];
    for (what, from) in empty {
        let count = psql(&format!("SELECT count(*) FROM {from}"));
        if count != "0" {
            findings.break_promise(|| format!("{what} is left ({count})"));
        }
    }
    let effects: usize = psql("SELECT count(*) FROM nemesis.effect").parse().unwrap_or(0);
    let is_done = |record: &&TaskRecord| record.kind.ends_with("effect") && record.state == TaskState::Done;
    let done = records.values().filter(is_done).count();
    if effects != done {
        findings.break_promise(|| format!("{effects} effects of {done} tasks"));
    }
}
