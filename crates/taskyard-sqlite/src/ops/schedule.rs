//! Schedules: storing, changing and reading them, and the ticks that enqueue their tasks.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};
use taskyard_core::schedule::{
    CatchUp, DueSchedule, NewSchedule, OnConflict, OpenRun, Overlap, RUNS_KEPT, RunOutcome, ScheduleLook,
    ScheduleRecord, ScheduleRun, Tick, stored_task,
};
use taskyard_core::state::Runtime;
use taskyard_core::store::SchedulePut;
use taskyard_core::time::{from_micros, to_micros};
use taskyard_core::{Error, Failure, NewTask, TaskId, TaskState, Timestamp};

use super::add;
use crate::codec::{count, duration, flag, id, id_bits, instant, int, micros, opt_int, opt_text, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::thread::reader::Read;
use crate::thread::tx::Tx;

/// Stores a schedule.
pub(crate) fn put(tx: &mut Tx<'_>, new: &NewSchedule, on_conflict: OnConflict) -> Outcome<SchedulePut> {
    let values = params![
        new.name,
        new.rule,
        new.zone,
        new.task.kind,
        new.task.runtime.code(),
        new.task.queue,
        new.task.priority,
        new.task.payload,
        new.options(),
        new.overlap.code(),
        new.catch_up.code(),
        micros(new.catch_up_window),
        micros(new.jitter),
        new.starts_at.map(to_micros),
        new.ends_at.map(to_micros),
        new.runs_max,
        new.pause_after_failures,
        tx.now,
        new.task.plain_parts(),
    ];
    let put = if tx.run(sql!("schedule/add"), values)? > 0 {
        SchedulePut::Added
    } else {
        match on_conflict {
            OnConflict::Refuse => return Err(Error::DuplicateSchedule(new.name.clone()).into()),
            OnConflict::Keep => return Ok(SchedulePut::Kept),
            OnConflict::Replace if tx.run(sql!("schedule/replace"), values)? == 0 => return Ok(SchedulePut::Kept),
            OnConflict::Replace => SchedulePut::Replaced,
        }
    };
    tx.memory.pending_notifications.schedules = true;
    Ok(put)
}

/// Deletes a schedule with its history.
pub(crate) fn remove(tx: &mut Tx<'_>, name: &str) -> Outcome<bool> {
    tx.run(sql!("schedule_run/delete"), [name])?;
    Ok(tx.run(sql!("schedule/delete"), [name])? > 0)
}

/// Pauses or resumes a schedule.
pub(crate) fn set_paused(tx: &mut Tx<'_>, name: &str, paused: bool) -> Outcome<bool> {
    let changed = if paused {
        tx.run(sql!("schedule/pause"), [name])?
    } else {
        tx.run(sql!("schedule/resume"), params![name, tx.now])?
    };
    tx.memory.pending_notifications.schedules |= changed > 0;
    Ok(changed > 0 || tx.any(sql!("schedule/exists"), [name])?)
}

/// Returns one schedule with its open runs.
pub(crate) fn find(read: &Read<'_>, name: &str) -> Outcome<Option<DueSchedule>> {
    let record = read.sql(sql!("schedule/get"))?.query_row([name], |row| Ok(record(row))).optional()?;
    let Some(record) = record else { return Ok(None) };
    let mut statement = read.sql(sql!("schedule_run/open"))?;
    let open = statement.query_map([name], |row| Ok(open_run(row)))?.collect::<Result<_, _>>()?;
    Ok(Some(DueSchedule { record, open }))
}

/// Returns a page of schedules by name.
pub(crate) fn page(read: &Read<'_>, after: &str, limit: usize) -> Outcome<Vec<DueSchedule>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = read.sql(sql!("schedule/names"))?;
    let names = statement.query_map(params![after, limit], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    all(read, &names)
}

fn all(read: &Read<'_>, names: &[String]) -> Outcome<Vec<DueSchedule>> {
    names.iter().filter_map(|name| find(read, name).transpose()).collect()
}

/// Returns the schedules that need a decision, and the time until the next one is due.
pub(crate) fn look(read: &Read<'_>, limit: usize) -> Outcome<ScheduleLook> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let next = read.sql(sql!("schedule/next_due"))?.query_row([], |row| Ok(opt_int(row, 0)))?;
    let open: bool = read.sql(sql!("schedule_run/any_open"))?.query_row([], |row| row.get(0))?;
    let mut names: Vec<String> = Vec::new();
    let mut due = read.sql(sql!("schedule/due"))?;
    names.extend(due.query_map(params![read.now, limit], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?);
    let mut unplanned = read.sql(sql!("schedule/unplanned"))?;
    names.extend(unplanned.query_map([limit], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?);
    if open {
        let mut ended = read.sql(sql!("schedule/ended"))?;
        names.extend(ended.query_map([limit], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?);
    }
    names.sort_unstable();
    names.dedup();
    Ok(ScheduleLook {
        now: from_micros(read.now).unwrap_or(Timestamp::MAX),
        next_due: next.map(|next| duration(next.saturating_sub(read.now).max(0))),
        open,
        due: all(read, &names)?,
    })
}

/// Returns the history of a schedule, newest first.
pub(crate) fn runs(read: &Read<'_>, name: &str, before: Option<i64>, limit: usize) -> Outcome<Vec<ScheduleRun>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = read.sql(sql!("schedule_run/list"))?;
    let rows = statement.query_map(params![name, before.unwrap_or(i64::MAX), limit], |row| Ok(run(row)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the decisions for schedules.
pub(crate) fn tick(tx: &mut Tx<'_>, ticks: &[Tick]) -> Outcome<Vec<Option<Vec<TaskId>>>> {
    ticks.iter().map(|tick| apply(tx, tick)).collect()
}

fn apply(tx: &mut Tx<'_>, tick: &Tick) -> Outcome<Option<Vec<TaskId>>> {
    let tasks: Vec<NewTask> = tick.tasks().cloned().collect();
    let decided = tx.run(
        sql!("schedule/decide"),
        params![
            tick.name,
            tick.version,
            tick.paused,
            tick.ended,
            tick.problem,
            tick.next_at.map(to_micros),
            tick.last_at.map(to_micros),
            tasks.len() as i64,
            tick.failures,
            tick.last_state.map(TaskState::code),
            tick.planned,
        ],
    )?;
    if decided == 0 {
        return Ok(None);
    }
    let added = add::add(tx, &tasks)?;
    let ids: HashMap<TaskId, TaskId> = tasks.iter().zip(&added).map(|(task, added)| (task.id, added.id)).collect();
    let bits = |task: &NewTask| id_bits(ids.get(&task.id).copied().unwrap_or(task.id));
    for run in &tick.settled {
        let error = run.error.as_ref();
        tx.run(
            sql!("schedule_run/settle"),
            params![
                run.sequence,
                run.state.map(TaskState::code),
                run.finished_at.map(to_micros),
                error.map(|error| &error.error_type),
                error.map(|error| &error.message),
            ],
        )?;
    }
    for (sequence, task) in &tick.released {
        tx.run(sql!("schedule_run/release"), params![sequence, bits(task)])?;
    }
    for sequence in &tick.dropped {
        tx.run(sql!("schedule_run/drop"), [sequence])?;
    }
    for run in &tick.runs {
        tx.run(
            sql!("schedule_run/add"),
            params![
                tick.name,
                to_micros(run.fire_at),
                run.until.map(to_micros),
                run.count,
                run.outcome.code(),
                run.manual,
                matches!(run.outcome, RunOutcome::Enqueued | RunOutcome::Held),
                run.task.as_ref().map(bits),
                tx.now,
            ],
        )?;
    }
    if !tick.cancel.is_empty() {
        super::control::cancel(tx, &tick.cancel, None)?;
    }
    if !tick.runs.is_empty() {
        tx.run(sql!("schedule_run/prune"), params![tick.name, RUNS_KEPT as i64])?;
    }
    Ok(Some(added.iter().map(|added| added.id).collect()))
}

fn record(row: &Row<'_>) -> ScheduleRecord {
    let runtime = i16::try_from(int(row, 4)).ok().and_then(Runtime::from_code).unwrap_or_default();
    let payload = row.get(7).unwrap_or_default();
    let plain = i16::try_from(int(row, 29)).unwrap_or(0);
    let priority = i32::try_from(int(row, 6)).unwrap_or(0);
    let (task, unreadable) = stored_task(text(row, 3), runtime, text(row, 5), priority, payload, plain, &text(row, 8));
    let span = |at| -> Duration { duration(int(row, at)) };
    let small = |at| opt_int(row, at).map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX));
    let code = |at| i16::try_from(int(row, at)).unwrap_or(0);
    ScheduleRecord {
        definition: NewSchedule {
            name: text(row, 0),
            rule: text(row, 1),
            zone: text(row, 2),
            task,
            overlap: Overlap::from_code(code(9)).unwrap_or_default(),
            catch_up: CatchUp::from_code(code(10)).unwrap_or_default(),
            catch_up_window: span(11),
            jitter: span(12),
            starts_at: instant(row, 13),
            ends_at: instant(row, 14),
            runs_max: small(15),
            pause_after_failures: small(16),
        },
        version: int(row, 17),
        planned: flag(row, 18),
        paused: flag(row, 19),
        ended: flag(row, 20),
        problem: opt_text(row, 21).or(unreadable),
        created_at: instant(row, 22).unwrap_or(Timestamp::UNIX_EPOCH),
        planned_from: instant(row, 23).unwrap_or(Timestamp::UNIX_EPOCH),
        next_at: instant(row, 24),
        last_at: instant(row, 25),
        runs: u64::try_from(int(row, 26)).unwrap_or(0),
        failures: count(row, 27),
        last_state: state(row, 28),
    }
}

fn state(row: &Row<'_>, at: usize) -> Option<TaskState> {
    opt_int(row, at).and_then(|code| i16::try_from(code).ok()).and_then(TaskState::from_code)
}

/// Decodes an error from two columns; the traceback is stored with the task only.
fn short_failure(row: &Row<'_>, at: usize) -> Option<Failure> {
    opt_text(row, at).map(|error_type| Failure::new(error_type, opt_text(row, at + 1).unwrap_or_default()))
}

fn open_run(row: &Row<'_>) -> OpenRun {
    OpenRun {
        sequence: int(row, 0),
        fire_at: instant(row, 1).unwrap_or(Timestamp::UNIX_EPOCH),
        task: id(row, 2),
        state: state(row, 3),
        finished_at: instant(row, 4),
        error: short_failure(row, 5),
    }
}

fn run(row: &Row<'_>) -> ScheduleRun {
    ScheduleRun {
        sequence: int(row, 0),
        fire_at: instant(row, 1).unwrap_or(Timestamp::UNIX_EPOCH),
        until: instant(row, 2),
        count: count(row, 3),
        outcome: i16::try_from(int(row, 4)).ok().and_then(RunOutcome::from_code).unwrap_or(RunOutcome::Missed),
        manual: flag(row, 5),
        task: id(row, 6),
        state: state(row, 7),
        created_at: instant(row, 8).unwrap_or(Timestamp::UNIX_EPOCH),
        finished_at: instant(row, 9),
        error: short_failure(row, 10),
    }
}
