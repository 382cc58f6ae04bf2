//! `schedule show NAME`: prints a schedule, its next times and the history of its runs.

use clap::Args;
use taskyard::{Overlap, RunOutcome, ScheduleRecord, ScheduleRun, TaskState, shown};
use taskyard_terminal::{Failure, Out, Table, humanize};

use crate::session::{Access, Session};

/// Show a schedule, its next times and the history of its runs
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The schedule's name
    name: String,
    /// Number of next times to show
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    next: u16,
    /// Number of runs to show, the newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    runs: u16,
}

impl Show {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let taskyard = session.taskyard(Access::Read).await?;
        let record = taskyard.schedule(&self.name).await?;
        let runs = taskyard.schedule_runs(&self.name, usize::from(self.runs)).await?;
        let upcoming = record.upcoming(usize::from(self.next));
        let out = session.out();
        if out.is_json() {
            let mut json = record.to_json();
            json.insert("upcoming", shown::value(&upcoming));
            json.insert("history", shown::value(&runs));
            out.json(&json)?;
            return Ok(0);
        }
        let mut table = Table::new(["", ""]);
        for (name, value) in facts(&record) {
            table.row([name, &value]);
        }
        out.table(table)?;
        if !upcoming.is_empty() {
            out.line("next times")?;
            for at in upcoming {
                out.line(format_args!("  {}", humanize::instant(at)))?;
            }
        }
        history(out, &runs)
    }
}

fn facts(record: &ScheduleRecord) -> Vec<(&'static str, String)> {
    let new = &record.definition;
    let mut facts = vec![
        ("name", new.name.clone()),
        ("rule", format!("{} ({})", new.rule, new.zone)),
        ("state", record.state().to_owned()),
        ("kind", format!("{} ({})", new.task.kind, new.task.runtime.as_str())),
        ("arguments", String::from_utf8_lossy(&new.task.payload).into_owned()),
        ("queue", format!("{}, priority {}", new.task.queue, new.task.priority)),
    ];
    let mut put = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    put("problem", record.problem.clone());
    put("overlap", (new.overlap != Overlap::Skip).then(|| new.overlap.to_string()));
    put("catch up", Some(format!("{} within {}", new.catch_up, humanize::span(new.catch_up_window))));
    put("jitter", (!new.jitter.is_zero()).then(|| humanize::span(new.jitter)));
    put("not before", new.starts_at.map(humanize::instant));
    put("not after", new.ends_at.map(humanize::instant));
    let of = new.runs_max.map_or_else(String::new, |most| format!(" of {most}"));
    put("runs", Some(format!("{}{of}", humanize::number(record.runs))));
    put("failed in a row", (record.failures > 0).then(|| record.failures.to_string()));
    put("last run", record.last_at.map(humanize::instant));
    put("last end", record.last_state.map(|state| state.to_string()));
    put("added", Some(humanize::instant(record.created_at)));
    facts
}

fn history(out: Out, runs: &[ScheduleRun]) -> Result<u8, Failure> {
    if runs.is_empty() {
        return Ok(0);
    }
    let mut table = Table::new(["TIME", "OUTCOME", "TASK", "STATE", "?ENDED", "?ERROR"]);
    for run in runs {
        let several = if run.count > 1 { format!(" × {}", humanize::number(run.count.into())) } else { String::new() };
        let asked = if run.manual { ", asked for" } else { "" };
        let state = match (run.outcome, run.state) {
            (_, Some(state)) => state.to_string(),
            (RunOutcome::Enqueued, None) if run.finished_at.is_none() => "open".into(),
            _ => "-".into(),
        };
        table.row([
            humanize::instant(run.fire_at),
            format!("{}{several}{asked}", run.outcome),
            run.task.map_or_else(|| "-".into(), |task| task.to_string()),
            state,
            humanize::maybe(run.finished_at),
            match (&run.error, run.state) {
                (Some(error), Some(TaskState::Failed)) => format!("{}: {}", error.error_type, error.message),
                _ => String::new(),
            },
        ]);
    }
    out.table(table)?;
    Ok(0)
}
