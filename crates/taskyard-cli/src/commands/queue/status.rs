//! `queue status`: exit code 0 if the queue is healthy, 1 otherwise.
//!
//! Unhealthy is everything that keeps tasks from being added or run: no live server, a task that has been runnable for too long,
//! parked tasks, schedules that start nothing, a database that refuses additions or ends of tasks.

use std::time::Duration;

use clap::Args;
use taskyard::{Error, Runtime, Store, TaskState, Timestamp};
use taskyard_core::store::ParkedReason;
use taskyard_terminal::{Failure, Table, humanize};

use crate::commands::filter::span;
use crate::session::{Access, Session};

/// Longest time for the check that a task can be added.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// Reasons for parking that are listed.
const REASONS_SHOWN: usize = 5;

/// Schedules per read.
const SCHEDULES_PAGE: usize = 500;

/// Check whether the queue is healthy; exit code 1 if not
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Report a task that has been runnable for longer than this [default: setting unhealthy_age, 5m]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    max_age: Option<Duration>,
}

impl Status {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(Access::Read).await?;
        let status = store.status().await?;
        let max_age = self.max_age.unwrap_or(session.settings().unhealthy_age);
        let mut problems = Vec::new();
        if status.servers_alive == 0 {
            problems.push("no server is alive".to_owned());
        }
        if let Some(age) = status.oldest_enqueued.filter(|age| *age > max_age) {
            problems.push(format!(
                "the oldest enqueued task has been runnable for {}, longer than {}",
                humanize::span(age),
                humanize::span(max_age)
            ));
        }
        if status.ends_held > 0 {
            problems.push(format!(
                "the database refuses the outcomes of {} tasks, which their servers hold in memory (see the servers' logs)",
                humanize::number(status.ends_held)
            ));
        }
        if status.ends_aside > 0 {
            let first = store.ends_aside(None, None, 1).await?.pop();
            let example = first.map_or_else(String::new, |end| format!(", for example {}", end.finish.id));
            problems.push(format!(
                "the outcomes of {} tasks were set aside because the database refuses them (`taskyard task show ID` shows \
                 the reason{example})",
                humanize::number(status.ends_aside)
            ));
        }
        if let Some(reason) = &status.upkeep_refused {
            problems.push(format!(
                "the database refuses changes of some tasks, which are retried about every ten seconds ({})",
                reason
            ));
        }
        if status.misplaced > 0 {
            problems.push(
                "enqueued tasks are missing from the runnable range, so that no server runs them (a running server repairs this; so \
                 does `taskyard db check --repair`)"
                    .to_owned(),
            );
        }
        let parked = if status.parked > 0 { parked_reasons(store.as_ref()).await? } else { Vec::new() };
        if status.parked > 0 {
            problems.push(format!(
                "{} {} that no server can run{} (`taskyard task list --state waiting` shows them)",
                humanize::number(status.parked),
                if status.parked == 1 { "task is parked" } else { "tasks are parked" },
                listed(&parked)
            ));
        }
        problems.extend(unplanned(store.as_ref(), max_age).await?);
        problems.extend(unwritable(store.as_ref()).await);
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({
                "healthy": problems.is_empty(),
                "problems": problems,
                "backend": store.backend(),
                "database": session.address(),
                "servers_alive": status.servers_alive,
                "tasks": TaskState::ALL
                    .iter()
                    .map(|state| (state.as_str().to_owned(), status.by_state[state.code() as usize].into()))
                    .collect::<serde_json::Map<_, _>>(),
                "estimated": humanize::estimated(&status),
                "parked": status.parked,
                "parked_reasons": parked,
                "ends_aside": status.ends_aside,
                "ends_held": status.ends_held,
                "oldest_enqueued_seconds": status.oldest_enqueued.map(|age| age.as_secs_f64()),
            }))?;
        } else {
            let mut table = Table::new(["", ""]);
            table.row(["database", &session.address()]);
            table.row(["servers alive", &status.servers_alive.to_string()]);
            for state in TaskState::ALL {
                table.row([state.as_str(), &humanize::tasks(&status, state)]);
            }
            table.row(["parked", &humanize::number(status.parked)]);
            if status.ends_aside > 0 {
                table.row(["ends set aside", &humanize::number(status.ends_aside)]);
            }
            table.row(["oldest enqueued", &status.oldest_enqueued.map_or_else(|| "-".into(), humanize::span)]);
            table.row(["health", &if problems.is_empty() { "good".to_owned() } else { problems.join("; ") }]);
            out.table(table)?;
        }
        Ok(u8::from(!problems.is_empty()))
    }
}

/// Returns the reasons why tasks are parked, the most frequent first; none if the role may not read them.
async fn parked_reasons(store: &dyn Store) -> Result<Vec<ParkedReason>, Failure> {
    let mut found = Vec::new();
    for runtime in [Runtime::Rust, Runtime::Python] {
        match store.parked(runtime).await {
            Ok(reasons) => found.extend(reasons),
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.reason.cmp(&other.reason)));
    Ok(found)
}

/// Formats the first reasons as the end of a sentence.
fn listed(reasons: &[ParkedReason]) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let shown = reasons.iter().take(REASONS_SHOWN).map(|reason| match reason.count {
        1 => reason.reason.clone(),
        count => format!("{} ({})", reason.reason, humanize::number(count)),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match reasons.len().saturating_sub(REASONS_SHOWN) {
        0 => format!(": {shown}"),
        more => format!(": {shown} and {} more", humanize::number(more as u64)),
    }
}

/// Returns problems of schedules that start nothing: those that are disabled by an error, and those that are overdue.
async fn unplanned(store: &dyn Store, max_age: Duration) -> Result<Vec<String>, Failure> {
    let late = store.now().await?.checked_sub(max_age).unwrap_or(Timestamp::MIN);
    let (mut aside, mut overdue, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.schedules(after.as_deref(), SCHEDULES_PAGE).await?;
        let is_last = page.len() < SCHEDULES_PAGE;
        for record in page.into_iter().map(|due| due.record) {
            after = Some(record.definition.name.clone());
            if record.problem.is_some() {
                aside.push(record.definition.name);
            } else if !record.paused && !record.ended && record.next_at.is_some_and(|next| next < late) {
                overdue.push(record.definition.name);
            }
        }
        if is_last {
            break;
        }
    }
    let said = |names: &[String], what: &str| {
        let first = names.first()?;
        Some(format!(
            "{what}: {} (`taskyard schedule show NAME` shows the reason), for example {first}",
            humanize::number(names.len() as u64)
        ))
    };
    let overdue_by = format!("schedules that are overdue by more than {}", humanize::span(max_age));
    Ok([said(&aside, "broken schedules, which do not run until they are changed"), said(&overdue, &overdue_by)]
        .into_iter()
        .flatten()
        .collect())
}

/// Returns why no task can be added, or `None`. For a role that may only read, this cannot be determined and is `None`.
async fn unwritable(store: &dyn Store) -> Option<String> {
    match tokio::time::timeout(CHECK_MAX, store.check_writes()).await {
        // Missing rights of this role are not a problem of the queue. A database that is read-only by default is one.
        Ok(Err(Error::Refused(why))) if !why.contains("default_transaction_read_only") => None,
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("no task can be added: {error}")),
        Err(_) => Some(format!("an addition did not complete within {}", humanize::span(CHECK_MAX))),
    }
}
