//! Refused kinds: the groups that hold their tasks, so that no build claims again a task whose kind it does not know.
//!
//! A group's set of builds only ever loses builds without servers, so a task is hidden from no build that has not
//! refused its kind. Everything here happens in the transactions of the one writer.

use rusqlite::{OptionalExtension, params};
use taskyard_core::state::Runtime;
use taskyard_core::store::{RegroupReport, STEP_ROWS_MAX, Serves};
use taskyard_core::{ServerId, WaitReason};

use crate::codec::{int, opt_int, opt_text, text};
use crate::fault::Outcome;
use crate::sql::sql;
use crate::task::row::Row;
use crate::task::transitions;
use crate::thread::reader::Read;
use crate::thread::tx::{GROUP_BITS, Group, Tx, group_of};

/// Maximum length of a kind in bytes; tasks of longer kinds are parked at once, and a server that knows the kind finds
/// them by their reason.
const KIND_BYTES_MAX: usize = 1_000;

/// Records the builds and queues that a server serves.
pub(crate) fn serve(tx: &mut Tx<'_>, server: ServerId, serves: &Serves) -> Outcome<()> {
    let mut builds = [None::<i64>; 2];
    for (runtime, fingerprint) in &serves.builds {
        let runtime = i64::from(runtime.code());
        let id = tx
            .sql(sql!("build/enter"))?
            .query_row(params![runtime, fingerprint, tx.now], |row| row.get::<_, i64>(0))?;
        builds[usize::from(runtime == i64::from(Runtime::Python.code()))] = Some(id);
    }
    let queues = serves.queues.as_ref().map(|queues| serde_json::json!(queues).to_string());
    tx.run(sql!("server/serve"), params![server.0.into_bytes(), builds[0], builds[1], queues])?;
    Ok(())
}

/// Returns whether the build of a server has refused this kind.
pub(crate) fn has_refused(read: &Read<'_>, server: ServerId, runtime: Runtime, kind: &str) -> Outcome<bool> {
    Ok(read.sql(sql!("kind/has_refused"))?.exists(params![server.0.into_bytes(), runtime.code(), kind])?)
}

/// Records that the task's kind was refused by a build. Returns whether the task is to be parked, because every live
/// build has refused the kind.
pub(crate) fn refuse(tx: &mut Tx<'_>, row: &mut Row, fingerprint: &str) -> Outcome<bool> {
    let build: Option<i64> = tx
        .sql(sql!("build/find"))?
        .query_row(params![row.runtime, fingerprint], |row| Ok(opt_int(row, 0)))
        .optional()?
        .flatten();
    let kind = kind_of(tx, row.order)?.filter(|kind| kind.len() <= KIND_BYTES_MAX);
    let (Some(build), Some(kind)) = (build, kind) else { return Ok(true) };
    let mut builds = tx.kind_group(row.runtime, &kind).map_or_else(Vec::new, |group| group.builds.clone());
    if !builds.contains(&build) {
        builds.push(build);
        builds.sort_unstable();
        let group = group_with(tx, row.runtime, &builds)?;
        tx.set_kind(row.runtime, &kind, group)?;
    }
    row.group = tx.kind_group(row.runtime, &kind).map_or(0, |group| group.id);
    let queue = tx.queue_name(row.queue);
    Ok(!tx.any(sql!("kind/has_server"), params![row.runtime, &*queue, json(&builds)])?)
}

fn kind_of(tx: &Tx<'_>, order: i64) -> Outcome<Option<String>> {
    Ok(tx.sql(sql!("kind/of_task"))?.query_row([order], |row| Ok(opt_text(row, 1))).optional()?.flatten())
}

fn json(builds: &[i64]) -> String {
    serde_json::json!(builds).to_string()
}

/// Returns the group of this set of builds, creating it if necessary.
fn group_with(tx: &mut Tx<'_>, runtime: i64, builds: &[i64]) -> Outcome<i64> {
    let found = tx.groups().find(|group| !group.draining && group.runtime == runtime && group.builds == builds);
    if let Some(found) = found {
        return Ok(found.id);
    }
    let id = tx.sql(sql!("kind/group_add"))?.query_row(params![runtime, json(builds)], |row| row.get(0))?;
    tx.groups_changed()?;
    Ok(id)
}

/// Returns whether any build is recorded, so that there is something to maintain.
pub(crate) fn any(read: &Read<'_>) -> Outcome<bool> {
    Ok(read.sql(sql!("build/any"))?.exists([])?)
}

/// Runs one step of maintaining the groups.
pub(crate) fn regroup(tx: &mut Tx<'_>) -> Outcome<RegroupReport> {
    let mut report = RegroupReport::default();
    tx.run(sql!("build/seen"), [tx.now])?;
    forget_builds(tx)?;
    if tx.run(sql!("kind/unused"), [])? > 0 {
        tx.groups_changed()?;
    }
    let groups: Vec<Group> = tx.groups().cloned().collect();
    for group in &groups {
        if group.draining { drain(tx, group, &mut report)? } else { park(tx, group, &mut report)? }
    }
    walk(tx, &mut report)?;
    report.groups = tx.groups().count();
    tx.memory.pending_notifications.work |= report.moved > 0;
    Ok(report)
}

/// Deletes builds that had no server for a minute: one that returns sooner keeps its refusals.
fn forget_builds(tx: &mut Tx<'_>) -> Outcome<()> {
    let gone: Vec<i64> = {
        let mut statement = tx.sql(sql!("build/gone"))?;
        let rows = statement.query_map([tx.now], |row| row.get(0))?;
        rows.collect::<Result<_, _>>()?
    };
    for build in gone {
        let groups: Vec<Group> = tx.groups().filter(|group| group.builds.contains(&build)).cloned().collect();
        for group in groups {
            let left: Vec<i64> = group.builds.iter().copied().filter(|other| *other != build).collect();
            let mut draining = group.draining;
            if left.is_empty() {
                tx.run(sql!("kind/forget"), [group.id])?;
                draining = true;
            } else if !draining {
                let twin = tx
                    .groups()
                    .find(|other| !other.draining && other.runtime == group.runtime && other.builds == left)
                    .map(|twin| twin.id);
                if let Some(twin) = twin {
                    tx.run(sql!("kind/move"), [group.id, twin])?;
                    draining = true;
                }
            }
            tx.run(sql!("kind/group_set"), params![group.id, json(&left), draining])?;
            tx.groups_changed()?;
        }
        tx.run(sql!("build/delete"), [build])?;
    }
    Ok(())
}

/// A row of the runnable range.
struct Standing {
    lane: i64,
    rank: i64,
    order: i64,
    queue: String,
    ages_at: Option<i64>,
}

fn rows(tx: &Tx<'_>, text_of: &'static str, params: impl rusqlite::Params) -> Outcome<Vec<Standing>> {
    let mut statement = tx.sql(text_of)?;
    let found = statement.query_map(params, |row| {
        Ok(Standing {
            lane: int(row, 0),
            rank: int(row, 1),
            order: int(row, 2),
            queue: text(row, 3),
            ages_at: opt_int(row, 4),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Returns the partitions of a group: the first, and the end (exclusive).
fn lanes(group: i64) -> (i64, i64) {
    ((group << GROUP_BITS) - 2, ((group + 1) << GROUP_BITS) - 2)
}

/// Moves a row to the group of its task's kind. Returns whether it was in another one.
fn put_right(tx: &Tx<'_>, row: &Standing) -> Outcome<bool> {
    let found =
        tx.sql(sql!("kind/of_task"))?.query_row([row.order], |row| Ok((int(row, 0) & 1, text(row, 1)))).optional()?;
    let group = found.and_then(|(runtime, kind)| tx.kind_group(runtime, &kind)).map_or(0, |group| group.id);
    let stands_in = group_of(row.lane);
    if group == stands_in {
        return Ok(false);
    }
    tx.run(sql!("ready/delete"), params![row.lane, row.rank, row.order])?;
    let lane = row.lane + ((group - stands_in) << GROUP_BITS);
    tx.run(sql!("ready/add_ageing"), params![lane, row.rank, row.order, row.queue, row.ages_at])?;
    Ok(true)
}

/// Empties a group to which no kind belongs any more, and deletes it.
fn drain(tx: &mut Tx<'_>, group: &Group, report: &mut RegroupReport) -> Outcome<()> {
    let (first, end) = lanes(group.id);
    let found = rows(tx, sql!("ready/between"), params![first, end, STEP_ROWS_MAX as i64])?;
    for row in &found {
        report.moved += usize::from(put_right(tx, row)?);
    }
    if found.len() == STEP_ROWS_MAX {
        report.more = true;
        return Ok(());
    }
    tx.run(sql!("kind/group_delete"), [group.id])?;
    tx.groups_changed()
}

/// Parks the tasks of a group that no live server serves.
fn park(tx: &mut Tx<'_>, group: &Group, report: &mut RegroupReport) -> Outcome<()> {
    let builds = json(&group.builds);
    if tx.any(sql!("kind/takes_all"), params![group.runtime, builds])? {
        return Ok(());
    }
    let (mut first, end) = lanes(group.id);
    while report.parked < STEP_ROWS_MAX {
        let lane: Option<i64> =
            tx.sql(sql!("ready/lane_from"))?.query_row([first, end], |row| row.get(0)).optional()?;
        let Some(lane) = lane else { return Ok(()) };
        first = lane + 1;
        let mut parked = 0;
        for standing in rows(tx, sql!("ready/between"), params![lane, lane + 1, STEP_ROWS_MAX as i64])? {
            let open = |tx: &Tx<'_>, refused: &str| {
                tx.any(sql!("kind/has_server"), params![group.runtime, standing.queue, refused])
            };
            if !open(tx, "[]")? || open(tx, &builds)? {
                continue;
            }
            if let Some(mut row) = Row::find_by_order(tx, standing.order)?
                && let Some(kind) = kind_of(tx, standing.order)?
                && row.state() == taskyard_core::TaskState::Enqueued
            {
                tx.run(sql!("ready/delete"), params![standing.lane, standing.rank, standing.order])?;
                transitions::wait(tx, &mut row, WaitReason::Parked, None, Some(&format!("kind `{kind}`")))?;
                row.save(tx)?;
                parked += 1;
            }
        }
        report.parked += parked;
        report.more |= parked == STEP_ROWS_MAX;
    }
    report.more = true;
    Ok(())
}

/// Runs one step of the pass through the range that becomes necessary when a kind's group changes.
fn walk(tx: &mut Tx<'_>, report: &mut RegroupReport) -> Outcome<()> {
    let key = tx
        .sql(sql!("kind/walk"))?
        .query_row([], |row| {
            let part = |at| opt_int(row, at).unwrap_or(i64::MIN);
            Ok((part(0), part(1), part(2)))
        })
        .optional()?;
    let Some((lane, rank, order)) = key else { return Ok(()) };
    let found = rows(tx, sql!("ready/after"), params![lane, rank, order, STEP_ROWS_MAX as i64])?;
    for row in &found {
        report.moved += usize::from(put_right(tx, row)?);
    }
    match found.last() {
        Some(last) if found.len() == STEP_ROWS_MAX => {
            tx.run(sql!("kind/walk_to"), params![last.lane, last.rank, last.order])?;
            report.more = true;
        }
        _ => {
            tx.run(sql!("kind/walk_done"), [])?;
        }
    }
    Ok(())
}
