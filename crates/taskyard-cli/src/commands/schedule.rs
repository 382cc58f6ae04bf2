//! `schedule …`: commands on schedules, which enqueue tasks at the times of a rule.

mod add;
mod next;
mod show;

use clap::{Args, Subcommand};
use taskyard::Error;
use taskyard_terminal::{Failure, Table, humanize};

use crate::confirm::confirm;
use crate::session::{Access, Session};

/// Schedules
#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// List all schedules
    List,
    /// Show a schedule, its next times and the history of its runs
    Show(show::Show),
    /// Add a schedule, or change the one of that name
    Add(Box<add::Add>),
    /// Give a schedule another rule; its other options stay
    Reschedule(add::Reschedule),
    /// Remove schedules with their history; the tasks that they enqueued are not affected
    Remove(Remove),
    /// Pause schedules; times that pass meanwhile are not made up for
    Pause(Names),
    /// Resume paused schedules from now on
    Resume(Names),
    /// Run a schedule's task now and print the task's id
    Run(Name),
    /// Show the next times of a rule, without a database
    Next(next::Next),
}

/// A schedule's name.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The schedule's name
    name: String,
}

/// Names of schedules.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The schedules' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Remove schedules
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    names: Names,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Schedule {
    pub(crate) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::List => list(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Add(add) => add.run(session).await,
            Self::Reschedule(reschedule) => reschedule.run(session).await,
            Self::Remove(remove) => {
                let store = session.store(Access::Existing).await?;
                confirm(remove.yes, &format!("Remove {} with the history?", remove.names.names.join(", ")))?;
                remove.names.each(session, "removed", async |name| store.schedule_remove(name).await).await
            }
            Self::Pause(names) => {
                let store = session.store(Access::Existing).await?;
                names.each(session, "paused", async |name| store.schedule_set_paused(name, true).await).await
            }
            Self::Resume(names) => {
                let store = session.store(Access::Existing).await?;
                names.each(session, "resumed", async |name| store.schedule_set_paused(name, false).await).await
            }
            Self::Run(Name { name }) => {
                let id = session.taskyard(Access::Existing).await?.run_schedule(name).await?;
                let out = session.out();
                if out.is_json() {
                    out.json(&serde_json::json!({ "schedule": name, "task": id }))?;
                } else {
                    out.line(id)?;
                }
                Ok(0)
            }
            Self::Next(next) => next.run(session.out()),
        }
    }
}

impl Names {
    /// Applies `change` to each schedule and prints each that was changed; stops at the first that does not exist.
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`] for the first schedule that does not exist; [`Error`] if the database cannot be changed.
    async fn each(
        &self,
        session: &Session,
        done: &str,
        change: impl AsyncFn(&str) -> taskyard::Result<bool>,
    ) -> Result<u8, Failure> {
        let out = session.out();
        let mut changed = Vec::new();
        for name in &self.names {
            if !change(name).await? {
                return Err(Error::UnknownSchedule(name.clone()).into());
            }
            changed.push(name);
            if !out.is_json() {
                out.line(format_args!("{done} {name}"))?;
            }
        }
        if out.is_json() {
            out.json(&serde_json::json!({ done: changed }))?;
        }
        Ok(0)
    }
}

async fn list(session: &Session) -> Result<u8, Failure> {
    let taskyard = session.taskyard(Access::Read).await?;
    let schedules = taskyard.schedules().await?;
    let out = session.out();
    if out.is_json() {
        out.json(&schedules.iter().map(taskyard::ScheduleRecord::to_json).collect::<Vec<_>>())?;
        return Ok(0);
    }
    if schedules.is_empty() {
        out.line("there are no schedules; `taskyard schedule add NAME RULE KIND` adds one")?;
        return Ok(0);
    }
    let now = taskyard.store().now().await?;
    let mut table =
        Table::new(["NAME", "RULE", "?ZONE", "KIND", "STATE", "NEXT", "?LAST", "?>RUNS", "?>FAILED", "LAST END"]);
    for record in &schedules {
        let new = &record.definition;
        table.row([
            new.name.clone(),
            new.rule.clone(),
            new.zone.clone(),
            new.task.kind.clone(),
            record.problem.clone().map_or_else(|| record.state().to_owned(), |problem| format!("broken: {problem}")),
            record.upcoming(1).first().map_or_else(|| "-".into(), |at| humanize::ago(now, *at)),
            record.last_at.map_or_else(|| "-".into(), |at| humanize::ago(now, at)),
            humanize::number(record.runs),
            record.failures.to_string(),
            record.last_state.map_or_else(|| "-".into(), |state| state.to_string()),
        ]);
    }
    out.table(table)?;
    Ok(0)
}
