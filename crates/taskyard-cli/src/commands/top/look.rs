//! Reads the data that `top` shows: states, queues, servers, running tasks, dead letters, schedules.

use std::time::Instant;

use serde_json::{Value, json};
use taskyard::{
    Error, Progress, QueueStatus, Result, ScheduleRecord, TaskFilter, TaskRecord, TaskState, Taskyard, Timestamp, store,
};
use taskyard_terminal::humanize;

use super::order::Order;

/// Running tasks that are read and sorted, the newest first.
const ORDERED_MAX: usize = 100;
/// Running tasks that are shown.
const RUNNING_MAX: usize = 15;
/// Dead letters that are shown.
const DEAD_MAX: usize = 5;
/// Schedules that are shown.
const SCHEDULES_MAX: usize = 5;

/// The data of one refresh.
pub(super) struct Frame {
    pub(super) address: String,
    pub(super) now: Timestamp,
    taken: Instant,
    pub(super) status: store::StoreStatus,
    pub(super) throughput: Option<Throughput>,
    pub(super) queues: Vec<QueueStatus>,
    pub(super) servers: Vec<store::ServerRecord>,
    pub(super) running: Vec<(TaskRecord, Option<Progress>)>,
    pub(super) dead: Vec<TaskRecord>,
    pub(super) schedules: Vec<(Timestamp, ScheduleRecord)>,
}

/// Tasks per second since the previous refresh; `None` for states that the database only estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Throughput {
    pub(super) added: Option<f64>,
    pub(super) done: Option<f64>,
    pub(super) failed: Option<f64>,
}

/// The counts with which the next refresh is compared.
pub(super) struct Before {
    taken: Instant,
    by_state: [u64; 7],
    estimated: [bool; 7],
}

impl Before {
    /// Returns the throughput between this refresh and a later one. Tasks that were pruned in between reduce the counts, so that
    /// as many additions or ends are not seen.
    pub(super) fn throughput(&self, frame: &Frame) -> Option<Throughput> {
        self.throughput_to(&frame.before())
    }

    fn throughput_to(&self, later: &Self) -> Option<Throughput> {
        let seconds = later.taken.duration_since(self.taken).as_secs_f64();
        let is_counted = |at: usize| !self.estimated[at] && !later.estimated[at];
        let grown = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let state = |state: TaskState| {
            let at = state.code() as usize;
            is_counted(at).then(|| grown(later.by_state[at], self.by_state[at]))
        };
        let added = (0..later.by_state.len())
            .all(is_counted)
            .then(|| grown(later.by_state.iter().sum(), self.by_state.iter().sum()));
        (seconds > 0.0).then(|| Throughput { added, done: state(TaskState::Done), failed: state(TaskState::Failed) })
    }
}

/// Reads everything once.
///
/// # Errors
/// [`Error`] if the database cannot be read.
pub(super) async fn look(taskyard: &Taskyard, address: String, order: Order) -> Result<Frame> {
    let store = taskyard.store();
    let of = |state, limit| TaskFilter { states: vec![state], limit, ..TaskFilter::default() };
    let (now, status) = (store.now().await?, store.status().await?);
    let taken = Instant::now();
    let mut running = Vec::new();
    let mut doing = store.list(&of(TaskState::Doing, ORDERED_MAX)).await?;
    order.running.sort(&mut doing);
    doing.truncate(RUNNING_MAX);
    for record in doing {
        let progress = match taskyard.get::<Value>(record.id).progress().await {
            Ok(progress) => progress,
            // The task ended and was removed in between, or its context contains no valid progress.
            Err(Error::NotFound(_) | Error::InvalidArgument { .. } | Error::NotRepresentable { .. }) => None,
            Err(error) => return Err(error),
        };
        running.push((record, progress));
    }
    let mut schedules: Vec<_> = taskyard
        .schedules()
        .await?
        .into_iter()
        .filter_map(|record| Some((record.upcoming(1).first().copied()?, record)))
        .collect();
    schedules.sort_by_key(|(at, _)| *at);
    schedules.truncate(SCHEDULES_MAX);
    Ok(Frame {
        address,
        now,
        taken,
        throughput: None,
        status,
        queues: store.queues().await?,
        servers: store.servers().await?.into_iter().filter(|server| server.is_running).collect(),
        running,
        dead: store.list(&of(TaskState::Failed, DEAD_MAX)).await?,
        schedules,
    })
}

impl Frame {
    /// Returns the counts for the comparison with the next refresh.
    pub(super) fn before(&self) -> Before {
        Before { taken: self.taken, by_state: self.status.by_state, estimated: self.status.estimated }
    }

    /// Returns the object that `--json` prints.
    pub(super) fn to_json(&self) -> Value {
        let states = TaskState::ALL
            .iter()
            .map(|state| (state.as_str().to_owned(), Value::from(self.status.by_state[state.code() as usize])));
        let running = self.running.iter().map(|(task, progress)| {
            json!({
                "id": task.id, "name": task.name, "kind": task.kind, "queue": task.queue, "priority": task.priority,
                "attempt": task.attempt, "server": task.server, "started_at": task.started_at,
                "progress": progress.as_ref().map(|progress| json!({
                    "completed": progress.completed, "total": progress.total,
                    "percentage": progress.percentage, "message": progress.message,
                })),
            })
        });
        let dead = self.dead.iter().map(|task| {
            json!({
                "id": task.id, "name": task.name, "kind": task.kind, "queue": task.queue, "error": task.error,
                "finished_at": task.finished_at,
            })
        });
        let schedules = self.schedules.iter().map(|(at, schedule)| {
            json!({"name": schedule.definition.name, "kind": schedule.definition.task.kind, "next_at": at})
        });
        json!({
            "at": self.now,
            "database": self.address,
            "states": states.collect::<serde_json::Map<_, _>>(),
            "estimated": humanize::estimated(&self.status),
            "parked": self.status.parked,
            "oldest_enqueued_seconds": self.status.oldest_enqueued.map(|age| age.as_secs_f64()),
            "per_second": self.throughput.map(|throughput| json!({"added": throughput.added, "done": throughput.done, "failed": throughput.failed})),
            "queues": self.queues.iter().map(QueueStatus::to_json).collect::<Vec<_>>(),
            "servers": self.servers,
            "running": running.collect::<Vec<_>>(),
            "dead": dead.collect::<Vec<_>>(),
            "schedules": schedules.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_pace_is_what_came_per_second() {
        let taken = Instant::now();
        let at =
            |seconds, by_state, estimated| Before { taken: taken + Duration::from_secs(seconds), by_state, estimated };
        let before = at(0, [0, 10, 1, 0, 100, 5, 0], [false; 7]);
        let throughput = before.throughput_to(&at(2, [0, 8, 3, 0, 104, 4, 1], [false; 7])).unwrap();
        assert_eq!(throughput, Throughput { added: Some(2.0), done: Some(2.0), failed: Some(0.0) });
        let mut estimated = [false; 7];
        estimated[TaskState::Done.code() as usize] = true;
        let throughput = before.throughput_to(&at(2, [0, 8, 3, 0, 104, 7, 1], estimated)).unwrap();
        assert_eq!(throughput, Throughput { added: None, done: None, failed: Some(1.0) });
        assert_eq!(before.throughput_to(&at(0, [0; 7], [false; 7])), None);
    }
}
