//! `queue status`: exit code 0 healthy, 1 with anything that keeps tasks from being added or run: no live server, a task that
//! has been runnable for too long, parked tasks, schedules that start nothing, a database that takes no additions or refuses
//! ends of tasks.

use std::time::Duration;

use clap::Args;
use taskyard::{Error, Runtime, Store, TaskState, Timestamp};
use taskyard_core::store::ParkedReason;

use crate::commands::filter::span;
use crate::failure::Failure;
use crate::grid::Grid;
use crate::moment;
use crate::session::{Access, Session};

/// How long a tried addition may take.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// Reasons for parking that are named.
const REASONS_SHOWN: usize = 5;

/// Schedules of one question.
const SCHEDULES_PAGE: usize = 500;

/// Say whether the queue is healthy
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Unhealthy when a task was runnable for longer [default: setting unhealthy_age, 5m]
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
                "the oldest enqueued task has been runnable for {}, over {}",
                moment::span(age),
                moment::span(max_age)
            ));
        }
        if status.ends_held > 0 {
            problems.push(format!(
                "the database refuses {} ends of tasks, which their servers hold (their logs say why)",
                moment::number(status.ends_held)
            ));
        }
        if status.ends_aside > 0 {
            let first = store.ends_aside(None, None, 1).await?.pop();
            let example = first.map_or_else(String::new, |end| format!(", for example {}", end.finish.id));
            problems.push(format!(
                "{} ends of tasks were set aside because the database does not take them (`taskyard task show ID` says \
                 why{example})",
                moment::number(status.ends_aside)
            ));
        }
        if let Some(reason) = &status.upkeep_refused {
            problems.push(format!(
                "the database refuses changes of some tasks, which are tried again every ten seconds or so ({})",
                reason
            ));
        }
        if status.misplaced > 0 {
            problems.push(
                "enqueued tasks are missing from the runnable range, so that nothing runs them (a running server puts them \
                 back; so does `taskyard db check --repair`)"
                    .to_owned(),
            );
        }
        let parked = if status.parked > 0 { parked_reasons(store.as_ref()).await? } else { Vec::new() };
        if status.parked > 0 {
            problems.push(format!(
                "{} {} that no server can run{} (`taskyard task list --state waiting` shows them)",
                moment::number(status.parked),
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
                "estimated": moment::estimated(&status),
                "parked": status.parked,
                "parked_reasons": parked,
                "ends_aside": status.ends_aside,
                "ends_held": status.ends_held,
                "oldest_enqueued_seconds": status.oldest_enqueued.map(|age| age.as_secs_f64()),
            }))?;
        } else {
            let mut grid = Grid::new(["", ""]);
            grid.row(["database", &session.address()]);
            grid.row(["servers alive", &status.servers_alive.to_string()]);
            for state in TaskState::ALL {
                grid.row([state.as_str(), &moment::tasks(&status, state)]);
            }
            grid.row(["parked", &moment::number(status.parked)]);
            if status.ends_aside > 0 {
                grid.row(["ends set aside", &moment::number(status.ends_aside)]);
            }
            grid.row(["oldest enqueued", &status.oldest_enqueued.map_or_else(|| "-".into(), moment::span)]);
            grid.row(["health", &if problems.is_empty() { "good".to_owned() } else { problems.join("; ") }]);
            out.grid(grid)?;
        }
        Ok(u8::from(!problems.is_empty()))
    }
}

/// Why tasks are parked, the most frequent reason first. A role that may not ask sees none.
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

/// The first reasons, as the end of a sentence.
fn listed(reasons: &[ParkedReason]) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let shown = reasons.iter().take(REASONS_SHOWN).map(|reason| match reason.count {
        1 => reason.reason.clone(),
        count => format!("{} ({})", reason.reason, moment::number(count)),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match reasons.len().saturating_sub(REASONS_SHOWN) {
        0 => format!(": {shown}"),
        more => format!(": {shown} and {} more", moment::number(more as u64)),
    }
}

/// Schedules that start nothing: those that were left alone, and those whose time has long come.
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
            "{what}: {} (`taskyard schedule show NAME` says why), for example {first}",
            moment::number(names.len() as u64)
        ))
    };
    let overdue_by = format!("schedules whose time came more than {} ago", moment::span(max_age));
    Ok([said(&aside, "schedules that are left alone until they are changed"), said(&overdue, &overdue_by)]
        .into_iter()
        .flatten()
        .collect())
}

/// Why no task can be added now, if none can. A role that may only read says nothing about that.
async fn unwritable(store: &dyn Store) -> Option<String> {
    match tokio::time::timeout(CHECK_MAX, store.check_writes()).await {
        // A whole database that is read-only by default is no question of rights: nothing can be added.
        Ok(Err(Error::Refused(why))) if !why.contains("default_transaction_read_only") => None,
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("no task can be added: {error}")),
        Err(_) => Some(format!("an addition does not get through within {}", moment::span(CHECK_MAX))),
    }
}
